// y = x; y[.., index[.., i], ..] += src[.., i, ..] on one axis, by quads of rows that have one index each
// Axes are taken as [outer, axis, inner]; inner is contiguous and a multiple of 4. An invocation owns a quad of every row of
// a part of the axis: it copies them from x, then walks over all of the index and adds what falls into its part, in the order
// of src. Nobody else writes there, so there are no atomics and the bits are the same every time.

#import shared/index

override WG: u32 = 64u;

struct Params {
    n: u32,
    // Of a row.
    quads: u32,
    // Of the axis, and rows of each.
    parts: u32,
    part_length: u32,
    axis_length: u32,
    n_indices: u32,
    indices_are_signed: u32,
    // 1 where x is one number everywhere; offsets and strides of x, src and y count quads, except for its offset then.
    x_is_one: u32,
    x_offset: u32,
    x_outer: u32,
    x_axis: u32,
    index_offset: u32,
    index_outer: u32,
    index_axis: u32,
    src_offset: u32,
    src_outer: u32,
    src_axis: u32,
    y_offset: u32,
    // Long parts are worked through in several dispatches: which rows of a part this one copies.
    first_copied: u32,
    end_copied: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> x_one: array<Elem>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> src: array<vec4<Elem>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn scatter_add_rows(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let params = params;
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let row = i / params.quads;
    let quad = i - row * params.quads;
    let outer = row / params.parts;
    let start = (row - outer * params.parts) * params.part_length;
    let end = min(start + params.part_length, params.axis_length);
    let line = params.y_offset + outer * params.axis_length * params.quads + quad;

    let first = start + params.first_copied;
    let last = min(start + params.end_copied, end);
    if params.x_is_one == 1u {
        let one = vec4<Elem>(x_one[params.x_offset]);
        for (var k = first; k < last; k++) {
            y[line + k * params.quads] = one;
        }
    } else {
        let from_x = params.x_offset + outer * params.x_outer + quad;
        for (var k = first; k < last; k++) {
            y[line + k * params.quads] = x[from_x + k * params.x_axis];
        }
    }

    let indices = params.index_offset + outer * params.index_outer;
    let from_src = params.src_offset + outer * params.src_outer + quad;
    for (var k = 0u; k < params.n_indices; k++) {
        var chosen = index[indices + k * params.index_axis];
        if params.indices_are_signed == 1u && bitcast<i32>(chosen) < 0i {
            chosen += params.axis_length;
        }
        if chosen >= start && chosen < end {
            y[line + chosen * params.quads] += src[from_src + k * params.src_axis];
        }
    }
}
