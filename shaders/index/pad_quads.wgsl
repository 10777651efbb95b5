// y = x from `before` on, on one axis at every step-th place, and `fill` elsewhere
// `lanes` invocations share a row of y, whose length is a multiple of 4, and take its quads in turns, so that the divisions
// of one serve several quads. Axes are counted from the innermost; x may be strided. The row itself has no steps.

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
@group(0) @binding(1) var<storage, read_write> y: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn pad_quads(
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
    var rest = i / params.lanes;
    let lane = i - rest * params.lanes;
    let row = rest;
    for (var axis = 1u; axis < params.n_axes; axis++) {
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
    let quads = params.lengths[0].x / 4u;
    let before = params.before[0].x;
    let start = select(params.x_offset, place, inside);
    let x_length = select(0u, params.x_lengths[0].x, inside);
    let stride = params.x_strides[0].x;
    let fill = vec4<Elem>(Elem(bitcast<Acc>(params.fill)));
    for (var quad = lane; quad < quads; quad += params.lanes) {
        let coordinates = vec4(4u * quad) + vec4(0u, 1u, 2u, 3u) - before;
        let is_x = coordinates < vec4(x_length);
        // What is not x is read from where some of it is.
        let from_x = vec4(start) + select(vec4(0u), coordinates, is_x) * stride;
        let values = vec4<Elem>(x[from_x.x], x[from_x.y], x[from_x.z], x[from_x.w]);
        y[params.y_offset / 4u + row * quads + quad] = select(fill, values, is_x);
    }
}
