// y[row, i] = gain[i] sum over the places p that i stands for of sum_t window[p - t hop] x[row, t, p - t hop]
// One invocation per sample of y, which gathers what the frames over it have, in the order of time.
//
// i stands for i + pad and, where the signal was continued by its mirror image or its ends, for the places beyond the
// ends that copied it.

#import shared/index

override WG: u32 = 64u;

struct Params {
    total: u32,
    frames: u32,
    n_fft: u32,
    hop: u32,
    pad: u32,
    length: u32,
    // 0 zeros, 1 mirror image, 2 ends.
    mode: u32,
    // 1 where there is a gain.
    gained: u32,
    x_offset: u32,
    window_offset: u32,
    gain_offset: u32,
    y_offset: u32,
    // Samples of this dispatch in a row, and where a gap in their numbers begins and how wide it is.
    per_row: u32,
    gap_at: u32,
    gap: u32,
    padding0: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> window: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// What the frames have at place p of the continued signal.
fn at_place(row: u32, p: u32) -> f32 {
    var first = 0u;
    if p >= params.n_fft {
        first = (p - params.n_fft) / params.hop + 1u;
    }
    let last = min(p / params.hop, params.frames - 1u);
    var sum = 0.0f;
    for (var t = first; t <= last; t++) {
        let i = p - t * params.hop;
        let sample = x[params.x_offset + (row * params.frames + t) * params.n_fft + i];
        sum += window[params.window_offset + i] * sample;
    }
    return sum;
}

@compute @workgroup_size(WG)
fn istft_overlap(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = linear_invocation(workgroup, workgroups, local, WG);
    if number >= params.total {
        return;
    }
    let row = number / params.per_row;
    var i = number % params.per_row;
    i += select(0u, params.gap, i >= params.gap_at);
    let last = params.length - 1u;
    var sum = at_place(row, params.pad + i);
    if params.mode == 1u {
        if i >= 1u && i <= params.pad {
            sum += at_place(row, params.pad - i);
        }
        if i < last && last - i <= params.pad {
            sum += at_place(row, params.pad + 2u * last - i);
        }
    }
    if params.mode == 2u && i == 0u {
        for (var p = 0u; p < params.pad; p++) {
            sum += at_place(row, p);
        }
    }
    if params.mode == 2u && i == last {
        for (var p = 1u; p <= params.pad; p++) {
            sum += at_place(row, params.pad + last + p);
        }
    }
    if params.gained == 1u {
        sum *= gain[params.gain_offset + i];
    }
    y[params.y_offset + row * params.length + i] = sum;
}
