// dx = dy − exp(y) · Σ dy along rows
// log_softmax_vjp: one invocation per row. log_softmax_vjp_workgroup: one workgroup per row; lanes stride the columns.

#import shared/exponential
#import shared/index
#import shared/reduce

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

@group(0) @binding(0) var<storage, read> y: array<Elem>;
@group(0) @binding(1) var<storage, read> dy: array<Elem>;
@group(0) @binding(2) var<storage, read_write> dx: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn log_softmax_vjp(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var total = 0.0f;
    for (var c = start; c < start + params.cols; c++) {
        total += Acc(dy[params.dy_offset + c]);
    }
    for (var c = start; c < start + params.cols; c++) {
        let upstream = Acc(dy[params.dy_offset + c]);
        dx[params.dx_offset + c] = Elem(upstream - exp_f32(Acc(y[params.y_offset + c])) * total);
    }
}

@compute @workgroup_size(WG)
fn log_softmax_vjp_workgroup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    let end = start + params.cols;
    var lane_total = 0.0f;
    for (var c = start + local; c < end; c += WG) {
        lane_total += Acc(dy[params.dy_offset + c]);
    }
    let total = workgroup_sum(lane_total, local);
    for (var c = start + local; c < end; c += WG) {
        let upstream = Acc(dy[params.dy_offset + c]);
        dx[params.dx_offset + c] = Elem(upstream - exp_f32(Acc(y[params.y_offset + c])) * total);
    }
}
