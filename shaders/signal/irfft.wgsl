// z[row, k] = E + i conj(W^k) O for an even length, E, O = c (x[k] +- conj x[h - k]) / 2, W = exp(-2 pi i / (2 h));
// c x[k], and conj c x[n - k] in the other half, for an odd one
//
// One invocation per number of z. Imaginary parts of bins without a mirror image do not count.

#import shared/index

override WG: u32 = 64u;

struct Params {
    total: u32,
    bins: u32,
    z_length: u32,
    // 1 for an even length.
    packed: u32,
    // c; of the bins that have a mirror image.
    scale: f32,
    interior: f32,
    x_offset: u32,
    z_offset: u32,
    factors_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> factors: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> z: array<vec2<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn bin(start: u32, k: u32) -> vec2<f32> {
    let value = x[start + k];
    if k == 0u || (params.packed == 1u && k + 1u == params.bins) {
        return vec2(value.x * params.scale, 0.0f);
    }
    return value * params.interior;
}

@compute @workgroup_size(WG)
fn irfft(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Read before the first branch: behind it software drivers read uniforms lane by lane.
    let params = params;
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.total {
        return;
    }
    let k = i % params.z_length;
    let start = params.x_offset + i / params.z_length * params.bins;
    if params.packed == 1u {
        let a = bin(start, k);
        let b = bin(start, params.z_length - k);
        let w = factors[params.factors_offset + k];
        let e = 0.5f * vec2(a.x + b.x, a.y - b.y);
        let d = 0.5f * vec2(a.x - b.x, a.y + b.y);
        // i conj(w) d
        let o = vec2(w.y * d.x - w.x * d.y, w.x * d.x + w.y * d.y);
        z[params.z_offset + i] = e + o;
    } else if k < params.bins {
        z[params.z_offset + i] = bin(start, k);
    } else {
        let mirrored = bin(start, params.z_length - k);
        z[params.z_offset + i] = vec2(mirrored.x, -mirrored.y);
    }
}
