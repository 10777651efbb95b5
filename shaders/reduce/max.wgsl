// y = max x over the reduced axes; NaN among the elements gives NaN
// One invocation per result and part.

#import shared/index
#import shared/axes
#import shared/nan

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn max_over(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let result = invocation / params.n_parts;
    if result >= params.n_results {
        return;
    }
    let lengths = params.reduced_lengths;
    let strides = params.reduced_strides;
    // The last part can lie wholly beyond the end; it then looks at the last element again.
    let first = min((invocation % params.n_parts) * params.part, lengths.z - 1u);
    let last = min(first + select(lengths.z, params.part, params.n_parts > 1u), lengths.z);
    let start = kept_place(result, params);
    var largest = Acc(x[start + first * strides.z]);
    for (var i0 = 0u; i0 < lengths.x; i0++) {
        for (var i1 = 0u; i1 < lengths.y; i1++) {
            let line = start + i0 * strides.x + i1 * strides.y;
            for (var i2 = first; i2 < last; i2++) {
                let value = Acc(x[line + i2 * strides.z]);
                if value > largest || is_nan(value) {
                    largest = value;
                }
            }
        }
    }
    y[params.y_offset + invocation] = Elem(largest);
}
