// y = (x − mean) / √(var + eps) · weight + bias along rows; stats[row] = (mean, 1/√(var + eps))
// layer_norm: one invocation per row. layer_norm_workgroup: one workgroup per row; lanes stride the columns.
// The variance is made from differences to the mean: E[x²] − E[x]² cancels for rows far from zero.

#import shared/index
#import shared/reduce

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    x_offset: u32,
    weight_offset: u32,
    bias_offset: u32,
    y_offset: u32,
    stats_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> weight: array<Elem>;
@group(0) @binding(2) var<storage, read> bias: array<Elem>;
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn normalised(value: f32, c: u32, mean: f32, r: f32) -> Elem {
    let scale = Acc(weight[params.weight_offset + c]);
    return Elem((value - mean) * r * scale + Acc(bias[params.bias_offset + c]));
}

@compute @workgroup_size(WG)
fn layer_norm(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let from_x = params.x_offset + row * params.cols;
    let n = f32(params.cols);
    // Sums are taken of the differences to the first element: a mean of 1000 would cost three digits.
    let origin = Acc(x[from_x]);
    var total = 0.0f;
    for (var c = 0u; c < params.cols; c++) {
        total += Acc(x[from_x + c]) - origin;
    }
    let mean = origin + total / n;
    var squares = 0.0f;
    for (var c = 0u; c < params.cols; c++) {
        let d = Acc(x[from_x + c]) - mean;
        squares += d * d;
    }
    let r = 1.0f / sqrt(squares / n + params.eps);
    for (var c = 0u; c < params.cols; c++) {
        y[params.y_offset + row * params.cols + c] = normalised(Acc(x[from_x + c]), c, mean, r);
    }
    stats[params.stats_offset + 2u * row] = mean;
    stats[params.stats_offset + 2u * row + 1u] = r;
}

@compute @workgroup_size(WG)
fn layer_norm_workgroup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if row >= params.rows {
        return;
    }
    let from_x = params.x_offset + row * params.cols;
    let n = f32(params.cols);
    let origin = Acc(x[from_x]);
    var lane_total = 0.0f;
    for (var c = local; c < params.cols; c += WG) {
        lane_total += Acc(x[from_x + c]) - origin;
    }
    let mean = origin + workgroup_sum(lane_total, local) / n;
    var lane_squares = 0.0f;
    for (var c = local; c < params.cols; c += WG) {
        let d = Acc(x[from_x + c]) - mean;
        lane_squares += d * d;
    }
    let r = 1.0f / sqrt(workgroup_sum(lane_squares, local) / n + params.eps);
    for (var c = local; c < params.cols; c += WG) {
        y[params.y_offset + row * params.cols + c] = normalised(Acc(x[from_x + c]), c, mean, r);
    }
    if local == 0u {
        stats[params.stats_offset + 2u * row] = mean;
        stats[params.stats_offset + 2u * row + 1u] = r;
    }
}
