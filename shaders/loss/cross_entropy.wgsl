// y[row] = (loss, w[t]), loss = (1 − ε) w[t] (−ln p[t]) + ε/C Σ_c w[c] (−ln p[c]); stats[row] = (max x, ln Σ exp(x − max x))
// cross_entropy: one invocation per row, for few classes. cross_entropy_workgroup: one workgroup per row; lanes stride
// the classes.

#import shared/exponential
#import shared/index
#import shared/logarithm
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

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<Elem>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

fn weight_of(c: u32) -> f32 {
    if params.weighted == 1u {
        return Acc(weight[params.weight_offset + c]);
    }
    return 1.0f;
}

@compute @workgroup_size(WG)
fn cross_entropy(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let from_x = params.x_offset + row * params.cols;
    var largest = Acc(x[from_x]);
    for (var c = 1u; c < params.cols; c++) {
        largest = max(largest, Acc(x[from_x + c]));
    }
    var total = 0.0f;
    for (var c = 0u; c < params.cols; c++) {
        total += exp_f32(Acc(x[from_x + c]) - largest);
    }
    let log_total = log_f32(total);
    stats[params.stats_offset + 2u * row] = largest;
    stats[params.stats_offset + 2u * row + 1u] = log_total;
    let label = labels[params.target_offset + row];
    var loss = 0.0f;
    var norm = 0.0f;
    if label != params.ignored {
        if label < params.cols {
            norm = weight_of(label);
            loss = (1.0f - params.smoothing) * norm * (log_total + (largest - Acc(x[from_x + label])));
            if params.smoothing > 0.0f {
                var spread = 0.0f;
                for (var c = 0u; c < params.cols; c++) {
                    spread += weight_of(c) * (log_total + (largest - Acc(x[from_x + c])));
                }
                loss += params.smoothing / f32(params.cols) * spread;
            }
        } else {
            // No such class: NaN, made of bits that the compiler does not know.
            norm = bitcast<f32>(label | 0x7fc00000u);
            loss = norm;
        }
    }
    y[params.y_offset + 2u * row] = loss;
    y[params.y_offset + 2u * row + 1u] = norm;
}

@compute @workgroup_size(WG)
fn cross_entropy_workgroup(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if row >= params.rows {
        return;
    }
    let from_x = params.x_offset + row * params.cols;
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
    var lane_spread = 0.0f;
    if params.smoothing > 0.0f {
        for (var c = local; c < params.cols; c += WG) {
            lane_spread += weight_of(c) * (log_total + (largest - Acc(x[from_x + c])));
        }
    }
    let spread = workgroup_sum(lane_spread, local);
    if local > 0u {
        return;
    }
    stats[params.stats_offset + 2u * row] = largest;
    stats[params.stats_offset + 2u * row + 1u] = log_total;
    let label = labels[params.target_offset + row];
    var loss = 0.0f;
    var norm = 0.0f;
    if label != params.ignored {
        if label < params.cols {
            norm = weight_of(label);
            loss = (1.0f - params.smoothing) * norm * (log_total + (largest - Acc(x[from_x + label])))
                + params.smoothing / f32(params.cols) * spread;
        } else {
            // No such class: NaN, made of bits that the compiler does not know.
            norm = bitcast<f32>(label | 0x7fc00000u);
            loss = norm;
        }
    }
    y[params.y_offset + 2u * row] = loss;
    y[params.y_offset + 2u * row + 1u] = norm;
}
