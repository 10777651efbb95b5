// dx = dy / (number of maxima) where x is the maximum y, 0 elsewhere
// One invocation per result: it counts its maxima, then writes the gradient of all of its elements.

#import shared/index
#import shared/axes

override WG: u32 = 64u;

struct VjpParams {
    axes: Params,
    dy_offset: u32,
    dx_offset: u32,
    padding0: u32,
    padding1: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> y: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read_write> dx: array<Elem>;
@group(1) @binding(0) var<uniform> params: VjpParams;

@compute @workgroup_size(WG)
fn max_over_vjp(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let result = linear_invocation(workgroup, workgroups, local, WG);
    if result >= params.axes.n_results {
        return;
    }
    let lengths = params.axes.reduced_lengths;
    let strides = params.axes.reduced_strides;
    let start = kept_place(result, params.axes) - params.axes.x_offset;
    let largest = y[params.axes.y_offset + result];
    var n_maxima = 0u;
    for (var i0 = 0u; i0 < lengths.x; i0++) {
        for (var i1 = 0u; i1 < lengths.y; i1++) {
            let line = start + i0 * strides.x + i1 * strides.y;
            for (var i2 = 0u; i2 < lengths.z; i2++) {
                n_maxima += u32(x[params.axes.x_offset + line + i2 * strides.z] == largest);
            }
        }
    }
    let share = Elem(Acc(dy[params.dy_offset + result]) / Acc(max(n_maxima, 1u)));
    for (var i0 = 0u; i0 < lengths.x; i0++) {
        for (var i1 = 0u; i1 < lengths.y; i1++) {
            let line = start + i0 * strides.x + i1 * strides.y;
            for (var i2 = 0u; i2 < lengths.z; i2++) {
                let place = line + i2 * strides.z;
                let value = x[params.axes.x_offset + place];
                dx[params.dx_offset + place] = select(Elem(0), share, value == largest);
            }
        }
    }
}
