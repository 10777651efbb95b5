// y = Σ x over the reduced axes, by quads of elements
// sum_lines_vec4: the reduced axis is one and lies together; an invocation reads four elements of a result at once.
// sum_columns_vec4: the reduced axis is one, and the innermost kept axis lies together; an invocation makes four results side by side.
// Blocks of 64 elements are summed first, as in sum.
//
// Tried: columns over three reduced axes, as sum has them. lavapipe (Mesa 22.3.6) then takes 130 KB of host memory for every
// dispatch, 0.4 ms instead of 0.04, and gives nothing back.

#import shared/index
#import shared/axes

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

const BLOCK: u32 = 64u;

@compute @workgroup_size(WG)
fn sum_lines_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let result = invocation / params.n_parts;
    if result >= params.n_results {
        return;
    }
    // Counted in quads; parts are multiples of four.
    let length = params.reduced_lengths.z / 4u;
    let part = params.part / 4u;
    let first = min((invocation % params.n_parts) * part, length);
    let last = min(first + select(length, part, params.n_parts > 1u), length);
    let start = kept_place(result, params) / 4u;
    var total = vec4<Acc>();
    for (var block = first; block < last; block += BLOCK / 4u) {
        var partial = vec4<Acc>();
        let end = min(block + BLOCK / 4u, last);
        for (var i = block; i < end; i++) {
            partial += vec4<Acc>(x[start + i]);
        }
        total += partial;
    }
    y[params.y_offset + invocation] = Elem((total.x + total.y) + (total.z + total.w));
}

@compute @workgroup_size(WG)
fn sum_columns_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let result = invocation / params.n_parts * 4u;
    if result >= params.n_results {
        return;
    }
    let length = params.reduced_lengths.z;
    let stride = params.reduced_strides.z / 4u;
    let index = invocation % params.n_parts;
    let first = index * params.part;
    let last = min(first + select(length, params.part, params.n_parts > 1u), length);
    let start = kept_place(result, params) / 4u;
    var total = vec4<Acc>();
    for (var block = first; block < last; block += BLOCK) {
        var partial = vec4<Acc>();
        let end = min(block + BLOCK, last);
        for (var i = block; i < end; i++) {
            partial += vec4<Acc>(x[start + i * stride]);
        }
        total += partial;
    }
    let to = params.y_offset + result * params.n_parts + index;
    y[to] = Elem(total.x);
    y[to + params.n_parts] = Elem(total.y);
    y[to + 2u * params.n_parts] = Elem(total.z);
    y[to + 3u * params.n_parts] = Elem(total.w);
}
