// y[.., i, ..] = x[.., index[.., i, ..], ..] on one axis, by quads of what lies within the axis
// gather_quads: along inner the index is contiguous too; gather_rows: it is the same all along, and rows are copied.
// Axes are taken as [outer, axis, inner]; inner is contiguous in x and y and a multiple of 4. `lanes` invocations share
// a row of inner and take its quads in turns, so that one pair of divisions serves several quads.

#import shared/index

override WG: u32 = 64u;

struct Params {
    n: u32,
    lanes: u32,
    // Of a row of y.
    quads: u32,
    n_indices: u32,
    // Offsets and strides of x and y count quads.
    x_offset: u32,
    x_outer: u32,
    x_axis: u32,
    y_offset: u32,
    // Those of the index count quads, and elements for gather_rows.
    index_offset: u32,
    index_outer: u32,
    index_axis: u32,
    axis_length: u32,
    indices_are_signed: u32,
    invalid: f32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> index: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

// A negative index is a large number; adding the length wraps it around into range.
fn wrapped(chosen: vec4<u32>) -> vec4<u32> {
    let is_negative = bitcast<vec4<i32>>(chosen) < vec4<i32>(0i);
    let shift = select(0u, params.axis_length, params.indices_are_signed == 1u);
    return chosen + select(vec4<u32>(0u), vec4<u32>(shift), is_negative);
}

// Where an invocation reads and writes.
struct Place {
    lane: u32,
    x: u32,
    index: u32,
    y: u32,
}

fn place(i: u32) -> Place {
    let row = i / params.lanes;
    let outer = row / params.n_indices;
    let at = row - outer * params.n_indices;
    return Place(
        i - row * params.lanes,
        params.x_offset + outer * params.x_outer,
        params.index_offset + outer * params.index_outer + at * params.index_axis,
        params.y_offset + row * params.quads,
    );
}

@compute @workgroup_size(WG)
fn gather_quads(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let here = place(i);
    let nothing = vec4<Elem>(Elem(params.invalid));
    for (var q = here.lane; q < params.quads; q += params.lanes) {
        let chosen = wrapped(index[here.index + q]);
        var value = nothing;
        if all(chosen < vec4<u32>(params.axis_length)) {
            let at = here.x + q + chosen * params.x_axis;
            value = vec4<Elem>(x[at.x].x, x[at.y].y, x[at.z].z, x[at.w].w);
        } else {
            if chosen.x < params.axis_length {
                value.x = x[here.x + q + chosen.x * params.x_axis].x;
            }
            if chosen.y < params.axis_length {
                value.y = x[here.x + q + chosen.y * params.x_axis].y;
            }
            if chosen.z < params.axis_length {
                value.z = x[here.x + q + chosen.z * params.x_axis].z;
            }
            if chosen.w < params.axis_length {
                value.w = x[here.x + q + chosen.w * params.x_axis].w;
            }
        }
        y[here.y + q] = value;
    }
}

@compute @workgroup_size(WG)
fn gather_rows(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let here = place(i);
    let nothing = vec4<Elem>(Elem(params.invalid));
    let chosen = wrapped(vec4<u32>(index[here.index / 4u][here.index % 4u])).x;
    if chosen >= params.axis_length {
        for (var q = here.lane; q < params.quads; q += params.lanes) {
            y[here.y + q] = nothing;
        }
        return;
    }
    let start = here.x + chosen * params.x_axis;
    for (var q = here.lane; q < params.quads; q += params.lanes) {
        y[here.y + q] = x[start + q];
    }
}
