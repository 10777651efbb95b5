// y = x; y[.., index[.., i, ..], ..] += src[.., i, ..] on one axis
// One invocation per line along the axis: it copies its line of x and adds what falls into it, in the order of src.
// Nobody else writes there, so there are no atomics and the bits are the same every time.

#import shared/index

override WG: u32 = 64u;

struct Params {
    lengths: array<vec4<u32>, 2>,
    index_lengths: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
    index_strides: array<vec4<u32>, 2>,
    src_strides: array<vec4<u32>, 2>,
    n_lines: u32,
    axis: u32,
    axis_length: u32,
    n_indices: u32,
    indices_are_signed: u32,
    x_offset: u32,
    index_offset: u32,
    src_offset: u32,
    y_offset: u32,
    // A long line is worked through in several dispatches: which elements of x this one copies.
    first_copied: u32,
    end_copied: u32,
    padding0: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> src: array<Elem>;
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn scatter_add(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let line = linear_invocation(workgroup, workgroups, local, WG);
    if line >= params.n_lines {
        return;
    }
    var x_place = params.x_offset;
    var y_place = params.y_offset;
    var index_place = params.index_offset;
    var src_place = params.src_offset;
    // Lines of x beyond the index on another axis are only copied.
    var inside = true;
    var rest = line;
    for (var axis = 0u; axis < 6u; axis++) {
        let length = params.lengths[axis / 4u][axis % 4u];
        let coordinate = rest % length;
        rest = rest / length;
        x_place += coordinate * params.x_strides[axis / 4u][axis % 4u];
        y_place += coordinate * params.y_strides[axis / 4u][axis % 4u];
        index_place += coordinate * params.index_strides[axis / 4u][axis % 4u];
        src_place += coordinate * params.src_strides[axis / 4u][axis % 4u];
        inside = inside && (axis == params.axis || coordinate < params.index_lengths[axis / 4u][axis % 4u]);
    }
    let x_stride = params.x_strides[params.axis / 4u][params.axis % 4u];
    let y_stride = params.y_strides[params.axis / 4u][params.axis % 4u];
    for (var i = params.first_copied; i < params.end_copied; i++) {
        y[y_place + i * y_stride] = x[x_place + i * x_stride];
    }
    if !inside {
        return;
    }
    let index_stride = params.index_strides[params.axis / 4u][params.axis % 4u];
    let src_stride = params.src_strides[params.axis / 4u][params.axis % 4u];
    for (var i = 0u; i < params.n_indices; i++) {
        var chosen = index[index_place + i * index_stride];
        if params.indices_are_signed == 1u && bitcast<i32>(chosen) < 0i {
            chosen += params.axis_length;
        }
        if chosen < params.axis_length {
            y[y_place + chosen * y_stride] += src[src_place + i * src_stride];
        }
    }
}
