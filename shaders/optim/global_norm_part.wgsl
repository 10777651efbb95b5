// parts[first_part + workgroup] = (Σ x² over 4096 elements, 0 if that is finite or the number of the tensor plus 1)
// One workgroup per part; lanes stride its elements.

#import shared/index
#import shared/reduce

struct Params {
    n: u32,
    number: u32,
    first_part: u32,
    x_offset: u32,
    parts_offset: u32,
    y_offset: u32,
    max_norm: f32,
    padding0: u32,
}

const PART: u32 = 4096u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn global_norm_part(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = linear_workgroup(workgroup, workgroups);
    // An empty tensor has one part, of nothing.
    if part > 0u && part * PART >= params.n {
        return;
    }
    let end = min((part + 1u) * PART, params.n);
    var lane_sum = 0.0f;
    for (var i = part * PART + local; i < end; i += WG) {
        let g = x[params.x_offset + i];
        lane_sum += g * g;
    }
    let sum = workgroup_sum(lane_sum, local);
    if local == 0u {
        let to = params.parts_offset + 2u * (params.first_part + part);
        // Infinite and NaN have all bits of the exponent.
        let finite = (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
        parts[to] = select(0.0f, sum, finite);
        parts[to + 1u] = select(f32(params.number + 1u), 0.0f, finite);
    }
}
