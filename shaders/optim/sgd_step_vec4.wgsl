// y = x − lr · d, d = b′ (or g + μ b′ with Nesterov), b′ = μ b + (1 − τ) g (g on the first step), g = dx + λ x
// One invocation per quad of elements. clip is (norm, factor, non-finite flag, index): with the flag set nothing changes.

#import shared/index

override WG: u32 = 64u;

struct Params {
    n: u32,
    clipped: u32,
    started: u32,
    nesterov: u32,
    lr: f32,
    momentum: f32,
    fresh: f32,
    weight_decay: f32,
    x_offset: u32,
    dx_offset: u32,
    momentum_offset: u32,
    clip_offset: u32,
    y_offset: u32,
    momentum_out_offset: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dx: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> momentum: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> clip: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> momentum_out: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn sgd_step_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Read before the first branch: behind it software drivers read uniforms lane by lane.
    let params = params;
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n / 4u {
        return;
    }
    var weight = x[params.x_offset / 4u + i];
    var b = vec4<f32>();
    if params.started == 1u {
        b = momentum[params.momentum_offset / 4u + i];
    }
    var factor = 1.0f;
    var skip = false;
    if params.clipped == 1u {
        factor = clip[params.clip_offset + 1u];
        skip = clip[params.clip_offset + 2u] != 0.0f;
    }
    if !skip {
        let g = dx[params.dx_offset / 4u + i] * factor + params.weight_decay * weight;
        if params.started == 1u {
            b = params.momentum * b + params.fresh * g;
        } else {
            b = g;
        }
        if params.nesterov == 1u {
            weight -= params.lr * (g + params.momentum * b);
        } else {
            weight -= params.lr * b;
        }
    }
    y[params.y_offset / 4u + i] = weight;
    momentum_out[params.momentum_out_offset / 4u + i] = b;
}
