// y = x − lr · m′ / (1 − β₁ᵗ) / (√(v′ / (1 − β₂ᵗ)) + ε), m′ = β₁ m + (1 − β₁) g, v′ = β₂ v + (1 − β₂) g²
// One invocation per quad of elements. clip is (norm, factor, non-finite flag, index): with the flag set nothing changes.

#import shared/index

override WG: u32 = 64u;

struct Params {
    n: u32,
    clipped: u32,
    decoupled: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    step_size: f32,
    spread: f32,
    eps: f32,
    decay: f32,
    x_offset: u32,
    dx_offset: u32,
    m_offset: u32,
    v_offset: u32,
    clip_offset: u32,
    y_offset: u32,
    m_out_offset: u32,
    v_out_offset: u32,
    padding0: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dx: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> m: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> clip: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> m_out: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> v_out: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn adam_step_vec4(
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
    var first = m[params.m_offset / 4u + i];
    var second = v[params.v_offset / 4u + i];
    var factor = 1.0f;
    var skip = false;
    if params.clipped == 1u {
        factor = clip[params.clip_offset + 1u];
        skip = clip[params.clip_offset + 2u] != 0.0f;
    }
    if !skip {
        var g = dx[params.dx_offset / 4u + i] * factor;
        if params.decoupled == 1u {
            weight -= params.decay * weight;
        } else {
            g += params.decay * weight;
        }
        first = params.beta1 * first + params.rest1 * g;
        second = params.beta2 * second + params.rest2 * g * g;
        weight -= params.step_size * first / (sqrt(second) * params.spread + params.eps);
    }
    y[params.y_offset / 4u + i] = weight;
    m_out[params.m_out_offset / 4u + i] = first;
    v_out[params.v_out_offset / 4u + i] = second;
}
