// dx = dy − exp(y) · Σ dy along rows whose length is a multiple of 4
// One invocation per row; for software drivers, where a load of four costs as much as a load of one.

#import shared/exponential
#import shared/index

override WG: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
    dx_offset: u32,
    y_offset: u32,
    dy_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> y: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<Elem>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn log_softmax_vjp_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let quads = params.cols / 4u;
    let from_y = params.y_offset / 4u + row * quads;
    let from_dy = params.dy_offset / 4u + row * quads;
    let to_dx = params.dx_offset / 4u + row * quads;
    var totals = vec4<f32>();
    for (var c = 0u; c < quads; c++) {
        totals += vec4<f32>(dy[from_dy + c]);
    }
    let total = totals.x + totals.y + totals.z + totals.w;
    for (var c = 0u; c < quads; c++) {
        let v = vec4<f32>(y[from_y + c]);
        let likely = vec4(exp_f32(v.x), exp_f32(v.y), exp_f32(v.z), exp_f32(v.w));
        dx[to_dx + c] = vec4<Elem>(vec4<f32>(dy[from_dy + c]) - likely * total);
    }
}
