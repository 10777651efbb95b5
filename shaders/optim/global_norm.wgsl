// y = (norm, factor, non-finite flag, number of the first tensor that is not finite or −1) from the sums of all parts
// One workgroup; lanes stride the parts, so the order of the sum is fixed.

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

// More than any number of a tensor, and exact in f32.
const NONE: f32 = 16777216.0f;

@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn global_norm(@builtin(local_invocation_index) local: u32) {
    var lane_sum = 0.0f;
    var lane_first = NONE;
    for (var i = local; i < params.n; i += WG) {
        lane_sum += parts[params.x_offset + 2u * i];
        let bad = parts[params.x_offset + 2u * i + 1u];
        if bad != 0.0f {
            lane_first = min(lane_first, bad);
        }
    }
    let sum = workgroup_sum(lane_sum, local);
    let first = -workgroup_max(-lane_first, local);
    if local == 0u {
        let known = first < NONE;
        let bad = known || (bitcast<u32>(sum) & 0x7f800000u) == 0x7f800000u;
        let norm = sqrt(sum);
        y[params.y_offset] = select(norm, 0.0f, bad);
        y[params.y_offset + 1u] = select(min(1.0f, params.max_norm / (norm + 1e-6f)), 0.0f, bad);
        y[params.y_offset + 2u] = select(0.0f, 1.0f, bad);
        y[params.y_offset + 3u] = select(-1.0f, first - 1.0f, known);
    }
}
