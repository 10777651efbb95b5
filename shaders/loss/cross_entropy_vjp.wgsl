// dx[c] = dl · ((1 − ε) w[t] (p[c] − [c = t]) + ε/C (p[c] Σw − w[c])), p = exp(x − max x − ln Σ exp(x − max x))
// One invocation per row, or one workgroup whose lanes stride the classes.

#import shared/exponential
#import shared/index
#import shared/reduce

struct Params {
    rows: u32,
    cols: u32,
    smoothing: f32,
    ignored: u32,
    weighted: u32,
    x_offset: u32,
    target_offset: u32,
    weight_offset: u32,
    stats_offset: u32,
    y_offset: u32,
    padding0: u32,
    padding1: u32,
}

struct VjpParams {
    forward: Params,
    dy_offset: u32,
    dx_offset: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<Elem>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<Elem>;
@group(1) @binding(0) var<uniform> params: VjpParams;

fn weight_of(c: u32) -> f32 {
    if params.forward.weighted == 1u {
        return Acc(weight[params.forward.weight_offset + c]);
    }
    return 1.0f;
}

// What all classes of a row share.
struct Row {
    start: u32,
    label: u32,
    largest: f32,
    log_total: f32,
    sharp: f32,
    even: f32,
}

fn row_of(row: u32) -> Row {
    let p = params.forward;
    let label = labels[p.target_offset + row];
    return Row(
        row * p.cols,
        label,
        stats[p.stats_offset + 2u * row],
        stats[p.stats_offset + 2u * row + 1u],
        (1.0f - p.smoothing) * weight_of(min(label, p.cols - 1u)),
        p.smoothing / f32(p.cols),
    );
}

// The derivative for class c, where `weights` is the sum over all classes.
fn slope(row: Row, c: u32, weights: f32) -> f32 {
    if row.label == params.forward.ignored {
        return 0.0f;
    }
    let probability = exp_f32((Acc(x[params.forward.x_offset + row.start + c]) - row.largest) - row.log_total);
    return row.sharp * (probability - f32(c == row.label)) + row.even * (probability * weights - weight_of(c));
}

@compute @workgroup_size(WG)
fn cross_entropy_vjp(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    let cols = params.forward.cols;
    if row >= params.forward.rows {
        return;
    }
    let shared_by_row = row_of(row);
    let upstream = dy[params.dy_offset + row];
    var weights = 0.0f;
    for (var c = 0u; c < cols; c++) {
        weights += weight_of(c);
    }
    for (var c = 0u; c < cols; c++) {
        dx[params.dx_offset + row * cols + c] = Elem(upstream * slope(shared_by_row, c, weights));
    }
}

@compute @workgroup_size(WG)
fn cross_entropy_vjp_workgroup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    let cols = params.forward.cols;
    if row >= params.forward.rows {
        return;
    }
    let shared_by_row = row_of(row);
    let upstream = dy[params.dy_offset + row];
    var lane_weights = 0.0f;
    for (var c = local; c < cols; c += WG) {
        lane_weights += weight_of(c);
    }
    let weights = workgroup_sum(lane_weights, local);
    for (var c = local; c < cols; c += WG) {
        dx[params.dx_offset + row * cols + c] = Elem(upstream * slope(shared_by_row, c, weights));
    }
}
