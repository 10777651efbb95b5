// dx[c] = dl · ((1 − ε) w[t] (p[c] − [c = t]) + ε/C (p[c] Σw − w[c])), p = exp(x − max x − ln Σ exp(x − max x))
// One invocation per row.

#import shared/exponential
#import shared/index

override WG: u32 = 64u;

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

@compute @workgroup_size(WG)
fn cross_entropy_vjp(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    let p = params.forward;
    if row >= p.rows {
        return;
    }
    let start = row * p.cols;
    let label = labels[p.target_offset + row];
    let largest = stats[p.stats_offset + 2u * row];
    let log_total = stats[p.stats_offset + 2u * row + 1u];
    let upstream = dy[params.dy_offset + row];
    var weights = 0.0f;
    for (var c = 0u; c < p.cols; c++) {
        weights += weight_of(c);
    }
    let sharp = (1.0f - p.smoothing) * weight_of(min(label, p.cols - 1u));
    let even = p.smoothing / f32(p.cols);
    for (var c = 0u; c < p.cols; c++) {
        var slope = 0.0f;
        if label != p.ignored {
            let probability = exp_f32((Acc(x[p.x_offset + start + c]) - largest) - log_total);
            slope = sharp * (probability - f32(c == label)) + even * (probability * weights - weight_of(c));
        }
        dx[params.dx_offset + start + c] = Elem(upstream * slope);
    }
}
