// partials[0, p, c] = Σ dy · x̂ and partials[1, p, c] = Σ dy over the rows of part p
// One invocation per part and column: neighbouring lanes read neighbouring columns. `sum` adds the parts.

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

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> dy: array<Elem>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn layer_norm_vjp_parameters(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let n_parts = (params.rows + params.part - 1u) / params.part;
    if invocation >= n_parts * params.cols {
        return;
    }
    let c = invocation % params.cols;
    let first = invocation / params.cols * params.part;
    let last = min(first + params.part, params.rows);
    var dweight = 0.0f;
    var dbias = 0.0f;
    for (var row = first; row < last; row++) {
        let mean = stats[params.stats_offset + 2u * row];
        let r = stats[params.stats_offset + 2u * row + 1u];
        let g = Acc(dy[params.dy_offset + row * params.cols + c]);
        dweight += g * (Acc(x[params.x_offset + row * params.cols + c]) - mean) * r;
        dbias += g;
    }
    partials[params.partials_offset + invocation] = dweight;
    partials[params.partials_offset + n_parts * params.cols + invocation] = dbias;
}
