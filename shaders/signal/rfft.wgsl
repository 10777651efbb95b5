// y[row, k] = c[k] (E - i W^k D) for an even length, E, D = (z[k] +- conj z[h - k]) / 2, W = exp(-2 pi i / (2 h));
// c[k] z[k] for an odd one, where z is the transform of the whole row
//
// One invocation per number of y. z is the transform of the samples taken as complex numbers in pairs.

#import shared/index

override WG: u32 = 64u;

struct Params {
    total: u32,
    bins: u32,
    z_length: u32,
    // 1 for an even length.
    packed: u32,
    // c[k]; of the bins that have a mirror image.
    scale: f32,
    interior: f32,
    z_offset: u32,
    y_offset: u32,
    factors_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> z: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> factors: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn rfft(
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
    let k = i % params.bins;
    let start = params.z_offset + i / params.bins * params.z_length;
    let single = k == 0u || (params.packed == 1u && k + 1u == params.bins);
    let scale = select(params.interior, params.scale, single);
    var value = z[start + k % params.z_length];
    if params.packed == 1u {
        let mirrored = z[start + (params.z_length - k) % params.z_length];
        let w = factors[params.factors_offset + k];
        let e = 0.5f * vec2(value.x + mirrored.x, value.y - mirrored.y);
        let d = 0.5f * vec2(value.x - mirrored.x, value.y + mirrored.y);
        value = vec2(e.x + w.x * d.y + w.y * d.x, e.y - w.x * d.x + w.y * d.y);
    }
    y[params.y_offset + i] = value * scale;
}
