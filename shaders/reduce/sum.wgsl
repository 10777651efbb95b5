// y = Σ x over the reduced axes
// One invocation per result and part. Blocks of 64 are summed first: the error of a sum grows with the length of a
// block and the number of blocks, not with their product.

#import shared/index
#import shared/axes

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

const BLOCK: u32 = 64u;

@compute @workgroup_size(WG)
fn sum(
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
    let first = (invocation % params.n_parts) * params.part;
    let last = min(first + select(lengths.z, params.part, params.n_parts > 1u), lengths.z);
    let start = kept_place(result, params);
    var total = Acc(0);
    for (var i0 = 0u; i0 < lengths.x; i0++) {
        for (var i1 = 0u; i1 < lengths.y; i1++) {
            let line = start + i0 * strides.x + i1 * strides.y;
            for (var block = first; block < last; block += BLOCK) {
                var partial = Acc(0);
                let end = min(block + BLOCK, last);
                for (var i2 = block; i2 < end; i2++) {
                    partial += Acc(x[line + i2 * strides.z]);
                }
                total += partial;
            }
        }
    }
    y[params.y_offset + invocation] = Elem(total);
}
