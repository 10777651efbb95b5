// y[row, t, i] = window[i] x[row, t hop + i - pad], x continued beyond its ends by zeros, its mirror image or its ends
// One invocation per sample of y.

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
    x_offset: u32,
    window_offset: u32,
    y_offset: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> window: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn stft_frames(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.total {
        return;
    }
    let place = i % params.n_fft;
    let frame = i / params.n_fft;
    let row = frame / params.frames;
    var at = i32(frame % params.frames * params.hop + place) - i32(params.pad);
    let last = i32(params.length) - 1;
    if params.mode == 1u {
        at = abs(at);
        at = min(at, 2 * last - at);
    } else if params.mode == 2u {
        at = clamp(at, 0, last);
    }
    var sample = 0.0f;
    if at >= 0 && at <= last {
        sample = x[params.x_offset + row * params.length + u32(at)];
    }
    y[params.y_offset + i] = sample * window[params.window_offset + place];
}
