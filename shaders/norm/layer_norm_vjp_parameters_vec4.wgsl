// partials[0, p, c] = Σ dy · x̂ and partials[1, p, c] = Σ dy over the rows of part p
// One invocation per part and four columns, for rows whose length is a multiple of 4; for software drivers, where a load of
// four costs as much as a load of one. `sum` adds the parts.

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
    partials_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<Elem>>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn layer_norm_vjp_parameters_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let n_parts = (params.rows + params.part - 1u) / params.part;
    let quads = params.cols / 4u;
    if invocation >= n_parts * quads {
        return;
    }
    let c = invocation % quads;
    let first = invocation / quads * params.part;
    let last = min(first + params.part, params.rows);
    var dweight = vec4<f32>();
    var dbias = vec4<f32>();
    for (var row = first; row < last; row++) {
        let mean = stats[params.stats_offset + 2u * row];
        let r = stats[params.stats_offset + 2u * row + 1u];
        let g = vec4<f32>(dy[params.dy_offset / 4u + row * quads + c]);
        dweight += g * (vec4<f32>(x[params.x_offset / 4u + row * quads + c]) - mean) * r;
        dbias += g;
    }
    partials[params.partials_offset / 4u + invocation] = dweight;
    partials[params.partials_offset / 4u + n_parts * quads + invocation] = dbias;
}
