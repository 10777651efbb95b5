// dx = y · (dy − Σ y · dy) along rows
// softmax_vjp: one invocation per row. softmax_vjp_workgroup: one workgroup per row; lanes stride the columns.

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
fn softmax_vjp(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var dot = 0.0f;
    for (var c = start; c < start + params.cols; c++) {
        dot += Acc(y[params.y_offset + c]) * Acc(dy[params.dy_offset + c]);
    }
    for (var c = start; c < start + params.cols; c++) {
        let upstream = Acc(dy[params.dy_offset + c]);
        dx[params.dx_offset + c] = Elem(Acc(y[params.y_offset + c]) * (upstream - dot));
    }
}

@compute @workgroup_size(WG)
fn softmax_vjp_workgroup(
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
    var lane_dot = 0.0f;
    for (var c = start + local; c < end; c += WG) {
        lane_dot += Acc(y[params.y_offset + c]) * Acc(dy[params.dy_offset + c]);
    }
    let dot = workgroup_sum(lane_dot, local);
    for (var c = start + local; c < end; c += WG) {
        let upstream = Acc(dy[params.dy_offset + c]);
        dx[params.dx_offset + c] = Elem(Acc(y[params.y_offset + c]) * (upstream - dot));
    }
}
