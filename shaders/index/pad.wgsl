// y = x from `before` on, on one axis at every step-th place, and `fill` elsewhere
// One invocation per element of y. Axes are counted from the innermost; x may be strided.

#import shared/index

override WG: u32 = 64u;

struct Params {
    lengths: array<vec4<u32>, 2>,
    x_lengths: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    before: array<vec4<u32>, 2>,
    n_axes: u32,
    n: u32,
    axis: u32,
    step: u32,
    fill: u32,
    x_offset: u32,
    y_offset: u32,
    lanes: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn pad(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    var place = params.x_offset;
    var inside = true;
    var rest = i;
    for (var axis = 0u; axis < params.n_axes; axis++) {
        let length = params.lengths[axis / 4u][axis % 4u];
        var at = rest;
        // Divisions cost most here; the outermost axis needs none.
        if axis + 1u < params.n_axes {
            let beyond = rest / length;
            at = rest - beyond * length;
            rest = beyond;
        }
        // Before the start this wraps around to a number beyond every length.
        var coordinate = at - params.before[axis / 4u][axis % 4u];
        if params.step > 1u && axis == params.axis {
            let distance = coordinate;
            coordinate = distance / params.step;
            inside = inside && distance == coordinate * params.step;
            // After division what wrapped around may be within the length again.
            inside = inside && at >= params.before[axis / 4u][axis % 4u];
        }
        inside = inside && coordinate < params.x_lengths[axis / 4u][axis % 4u];
        place += coordinate * params.x_strides[axis / 4u][axis % 4u];
    }
    if inside {
        y[params.y_offset + i] = x[place];
    } else {
        y[params.y_offset + i] = Elem(bitcast<Acc>(params.fill));
    }
}
