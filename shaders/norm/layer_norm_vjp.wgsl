// dx = r · (g − mean g − x̂ · mean(g · x̂)), g = dy · weight, x̂ = (x − mean) · r, (mean, r) = stats[row]
// layer_norm_vjp: one invocation per row. layer_norm_vjp_workgroup: one workgroup per row; lanes stride the columns.

#import shared/index
#import shared/reduce

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

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> weight: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

// (g, x̂) of one element.
fn scaled(row: u32, c: u32, mean: f32, r: f32) -> vec2<f32> {
    let at = row * params.cols + c;
    let g = Acc(dy[params.dy_offset + at]) * Acc(weight[params.weight_offset + c]);
    return vec2(g, (Acc(x[params.x_offset + at]) - mean) * r);
}

@compute @workgroup_size(WG)
fn layer_norm_vjp(
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
    var total = 0.0f;
    var dot = 0.0f;
    for (var c = 0u; c < params.cols; c++) {
        let s = scaled(row, c, mean, r);
        total += s.x;
        dot += s.x * s.y;
    }
    let n = f32(params.cols);
    for (var c = 0u; c < params.cols; c++) {
        let s = scaled(row, c, mean, r);
        dx[params.dx_offset + row * params.cols + c] = Elem(r * (s.x - total / n - s.y * (dot / n)));
    }
}

@compute @workgroup_size(WG)
fn layer_norm_vjp_workgroup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if row >= params.rows {
        return;
    }
    let mean = stats[params.stats_offset + 2u * row];
    let r = stats[params.stats_offset + 2u * row + 1u];
    var lane_total = 0.0f;
    var lane_dot = 0.0f;
    for (var c = local; c < params.cols; c += WG) {
        let s = scaled(row, c, mean, r);
        lane_total += s.x;
        lane_dot += s.x * s.y;
    }
    let n = f32(params.cols);
    let total = workgroup_sum(lane_total, local);
    let dot = workgroup_sum(lane_dot, local);
    for (var c = local; c < params.cols; c += WG) {
        let s = scaled(row, c, mean, r);
        dx[params.dx_offset + row * params.cols + c] = Elem(r * (s.x - total / n - s.y * (dot / n)));
    }
}
