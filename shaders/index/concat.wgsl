// Copies x into a part of y: what concat does once per input.
// One invocation per element of x. Axes are counted from the innermost; both may be strided.

#import shared/index

override WG: u32 = 64u;

struct Params {
    lengths: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
    n_axes: u32,
    n: u32,
    x_offset: u32,
    y_offset: u32,
    lanes: u32,
    quads: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn concat(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    var from_x = params.x_offset;
    var to_y = params.y_offset;
    var rest = i;
    for (var axis = 0u; axis < params.n_axes; axis++) {
        let length = params.lengths[axis / 4u][axis % 4u];
        var coordinate = rest;
        // Divisions cost most here; the outermost axis needs none.
        if axis + 1u < params.n_axes {
            let beyond = rest / length;
            coordinate = rest - beyond * length;
            rest = beyond;
        }
        from_x += coordinate * params.x_strides[axis / 4u][axis % 4u];
        to_y += coordinate * params.y_strides[axis / 4u][axis % 4u];
    }
    y[to_y] = x[from_x];
}
