// dx = r · (g − mean g − x̂ · mean(g · x̂)), g = dy · weight, x̂ = (x − mean) · r, (mean, r) = stats[row]
// One invocation per row whose length is a multiple of 4; for software drivers, where a load of four costs as much as a
// load of one.

#import shared/index

override WG: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
    part: u32,
    x_offset: u32,
    weight_offset: u32,
    dy_offset: u32,
    stats_offset: u32,
    dx_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<Elem>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<Elem>>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

fn sum_of(v: vec4<f32>) -> f32 {
    return v.x + v.y + v.z + v.w;
}

@compute @workgroup_size(WG)
fn layer_norm_vjp_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let mean = stats[params.stats_offset + 2u * row];
    let r = stats[params.stats_offset + 2u * row + 1u];
    let quads = params.cols / 4u;
    let from_x = params.x_offset / 4u + row * quads;
    let from_dy = params.dy_offset / 4u + row * quads;
    let to_dx = params.dx_offset / 4u + row * quads;
    var totals = vec4<f32>();
    var dots = vec4<f32>();
    for (var c = 0u; c < quads; c++) {
        let g = vec4<f32>(dy[from_dy + c]) * vec4<f32>(weight[params.weight_offset / 4u + c]);
        totals += g;
        dots += g * (vec4<f32>(x[from_x + c]) - mean) * r;
    }
    let n = f32(params.cols);
    let mean_g = sum_of(totals) / n;
    let mean_dot = sum_of(dots) / n;
    for (var c = 0u; c < quads; c++) {
        let g = vec4<f32>(dy[from_dy + c]) * vec4<f32>(weight[params.weight_offset / 4u + c]);
        let scaled = (vec4<f32>(x[from_x + c]) - mean) * r;
        dx[to_dx + c] = vec4<Elem>(r * (g - mean_g - scaled * mean_dot));
    }
}
