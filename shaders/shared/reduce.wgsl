// Reductions across one workgroup in workgroup memory, in a fixed order: the same bits on every run.
//
// `WG` is the workgroup size, a power of two. Both functions end with a barrier, so `scratch` may be used again.

override WG: u32 = 64u;
var<workgroup> scratch: array<f32, WG>;

fn workgroup_sum(value: f32, local: u32) -> f32 {
    scratch[local] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half = half / 2u) {
        if local < half {
            scratch[local] = scratch[local] + scratch[local + half];
        }
        workgroupBarrier();
    }
    let total = scratch[0];
    workgroupBarrier();
    return total;
}

fn workgroup_max(value: f32, local: u32) -> f32 {
    scratch[local] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half = half / 2u) {
        if local < half {
            scratch[local] = max(scratch[local], scratch[local + half]);
        }
        workgroupBarrier();
    }
    let largest = scratch[0];
    workgroupBarrier();
    return largest;
}
