// y[row, i] = gain[i] sum_t window[p - t hop] x[row, t, p - t hop], p = i + pad
// One invocation per four neighbouring samples that stand for their own places alone. Frames, hops, the pad and rows are made
// of quads, so that the same frames lie over all four, and one walk serves them. Sizes and offsets count quads.

#import shared/index

override WG: u32 = 64u;

struct Params {
    // Quads of this dispatch, of a row of it, and the first of each row.
    total: u32,
    per_row: u32,
    first: u32,
    length: u32,
    frames: u32,
    n_fft: u32,
    hop: u32,
    pad: u32,
    // 1 where there is a gain.
    gained: u32,
    x_offset: u32,
    window_offset: u32,
    gain_offset: u32,
    y_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> window: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn istft_overlap_quads(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let params = params;
    let number = linear_invocation(workgroup, workgroups, local, WG);
    if number >= params.total {
        return;
    }
    let row = number / params.per_row;
    let i = params.first + number - row * params.per_row;
    let p = i + params.pad;
    let after = p / params.hop + 1u;
    let before = max(p + params.hop, params.n_fft) - params.n_fft;
    let first = before / params.hop;
    // Place p in frame t, and in all frames of all rows.
    var place = p - first * params.hop;
    var at = params.x_offset + (row * params.frames + first) * params.n_fft + place;
    var sum = vec4<f32>();
    for (var t = first; t < min(after, params.frames); t++) {
        sum += window[params.window_offset + place] * x[at];
        place -= params.hop;
        at += params.n_fft - params.hop;
    }
    if params.gained == 1u {
        sum *= gain[params.gain_offset + i];
    }
    y[params.y_offset + row * params.length + i] = sum;
}
