// y = the index of the largest (argmax) or smallest (argmin) element along the one reduced axis, the first of equal ones
// One invocation per result and part; of parts the best are then compared.

#import shared/index
#import shared/axes
#import shared/nan

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn argmax(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let result = invocation / params.n_parts;
    if result >= params.n_results {
        return;
    }
    let start = kept_place(result, params);
    // The last part can lie wholly beyond the end; it then looks at the last element again.
    let first = min((invocation % params.n_parts) * params.part, params.reduced_lengths.z - 1u);
    let last = min(first + params.part, params.reduced_lengths.z);
    var best = Acc(x[start + first * params.reduced_strides.z]);
    var place = first;
    // Nothing is better than NaN, and the first one stays.
    for (var i = first + 1u; i < last && !is_nan(best); i++) {
        let value = Acc(x[start + i * params.reduced_strides.z]);
        if value > best || is_nan(value) {
            best = value;
            place = i;
        }
    }
    y[params.y_offset + invocation] = place;
}

@compute @workgroup_size(WG)
fn argmin(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let result = invocation / params.n_parts;
    if result >= params.n_results {
        return;
    }
    let start = kept_place(result, params);
    // The last part can lie wholly beyond the end; it then looks at the last element again.
    let first = min((invocation % params.n_parts) * params.part, params.reduced_lengths.z - 1u);
    let last = min(first + params.part, params.reduced_lengths.z);
    var best = Acc(x[start + first * params.reduced_strides.z]);
    var place = first;
    // Nothing is better than NaN, and the first one stays.
    for (var i = first + 1u; i < last && !is_nan(best); i++) {
        let value = Acc(x[start + i * params.reduced_strides.z]);
        if value < best || is_nan(value) {
            best = value;
            place = i;
        }
    }
    y[params.y_offset + invocation] = place;
}
