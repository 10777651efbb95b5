// y[.., i, ..] = x[.., index[.., i, ..], ..] on one axis
// One invocation per element of y. Axes are counted from the innermost; x and index may be strided.

#import shared/index

override WG: u32 = 64u;

struct Params {
    lengths: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
    index_strides: array<vec4<u32>, 2>,
    n: u32,
    rank: u32,
    axis: u32,
    axis_length: u32,
    indices_are_signed: u32,
    invalid: f32,
    x_offset: u32,
    index_offset: u32,
    y_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn gather(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    var index_place = params.index_offset;
    var left = i;
    for (var axis = 0u; axis < params.rank; axis++) {
        let length = params.lengths[axis / 4u][axis % 4u];
        index_place += (left % length) * params.index_strides[axis / 4u][axis % 4u];
        left = left / length;
    }
    // A negative index is a large number; adding the length wraps it around into range.
    var chosen = index[index_place];
    if params.indices_are_signed == 1u && bitcast<i32>(chosen) < 0i {
        chosen += params.axis_length;
    }
    if chosen >= params.axis_length {
        y[params.y_offset + i] = Elem(params.invalid);
        return;
    }
    var place = params.x_offset;
    var rest = i;
    for (var axis = 0u; axis < params.rank; axis++) {
        let length = params.lengths[axis / 4u][axis % 4u];
        let coordinate = select(rest % length, chosen, axis == params.axis);
        place += coordinate * params.strides[axis / 4u][axis % 4u];
        rest = rest / length;
    }
    y[params.y_offset + i] = x[place];
}
