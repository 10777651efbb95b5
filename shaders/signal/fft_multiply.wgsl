// y[row, i] = x[row, i] factor[i] for i below both lengths, and 0 beyond x
// One invocation per number of y. A scale has a negative imaginary part where the number is to be conjugated.

#import shared/index

override WG: u32 = 64u;

struct Params {
    x_scale: vec2<f32>,
    y_scale: vec2<f32>,
    total: u32,
    x_length: u32,
    y_length: u32,
    x_offset: u32,
    y_offset: u32,
    factors_offset: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> factors: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn fft_multiply(
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
    let row = i / params.y_length;
    let place = i % params.y_length;
    var product = vec2<f32>();
    if place < params.x_length {
        let v = x[params.x_offset + row * params.x_length + place] * params.x_scale;
        let w = factors[params.factors_offset + place];
        product = vec2(v.x * w.x - v.y * w.y, v.x * w.y + v.y * w.x) * params.y_scale;
    }
    y[params.y_offset + i] = product;
}
