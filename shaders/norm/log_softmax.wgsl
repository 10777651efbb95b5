// y = x − max x − ln Σ exp(x − max x) along rows
// log_softmax: one invocation per row. log_softmax_workgroup: one workgroup per row; lanes stride the columns.

#import shared/exponential
#import shared/index
#import shared/logarithm
#import shared/reduce

struct Params {
    rows: u32,
    cols: u32,
    x_offset: u32,
    y_offset: u32,
    dy_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn log_softmax(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let from_x = params.x_offset + row * params.cols;
    let to_y = params.y_offset + row * params.cols;
    var largest = Acc(x[from_x]);
    for (var c = 1u; c < params.cols; c++) {
        largest = max(largest, Acc(x[from_x + c]));
    }
    var total = 0.0f;
    for (var c = 0u; c < params.cols; c++) {
        total += exp_f32(Acc(x[from_x + c]) - largest);
    }
    let log_total = log_f32(total);
    for (var c = 0u; c < params.cols; c++) {
        y[to_y + c] = Elem((Acc(x[from_x + c]) - largest) - log_total);
    }
}

@compute @workgroup_size(WG)
fn log_softmax_workgroup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if row >= params.rows {
        return;
    }
    let from_x = params.x_offset + row * params.cols;
    let to_y = params.y_offset + row * params.cols;
    var lane_largest = Acc(x[from_x + min(local, params.cols - 1u)]);
    for (var c = local + WG; c < params.cols; c += WG) {
        lane_largest = max(lane_largest, Acc(x[from_x + c]));
    }
    let largest = workgroup_max(lane_largest, local);
    var lane_total = 0.0f;
    for (var c = local; c < params.cols; c += WG) {
        lane_total += exp_f32(Acc(x[from_x + c]) - largest);
    }
    let log_total = log_f32(workgroup_sum(lane_total, local));
    for (var c = local; c < params.cols; c += WG) {
        y[to_y + c] = Elem((Acc(x[from_x + c]) - largest) - log_total);
    }
}
