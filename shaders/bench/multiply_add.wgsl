// acc = acc · factor + term, again and again, on independent quads of an invocation, two or eight; y = Σ acc
// Nothing but registers in the loop: what arithmetic can do at most. With factor 1/2 and term 1/2 every accumulator comes to
// exactly 1, wherever it started; they start at different numbers, so that no compiler can make one of several.

#import shared/index

override WG: u32 = 64u;
override QUADS: u32 = 8u;

struct Params {
    steps: u32,
    n: u32,
    factor: f32,
    term: f32,
}

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn multiply_add(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let factor = vec4<Elem>(Elem(params.factor));
    let term = vec4<Elem>(Elem(params.term));
    let place = f32(i % 61u) / 64.0f;
    let start = vec4<Elem>(
        Elem(place),
        Elem(place + 0.25f),
        Elem(place + 0.5f),
        Elem(place + 0.75f),
    );
    let offset = vec4<Elem>(Elem(params.factor), Elem(params.term), Elem(place), Elem(params.term));
    var a = start;
    var b = start + offset;
    var c = b + offset;
    var d = c + offset;
    var e = d + offset;
    var f = e + offset;
    var g = f + offset;
    var h = g + offset;
    for (var step = 0u; step < params.steps; step++) {
        a = a * factor + term;
        b = b * factor + term;
        if QUADS == 8u {
            c = c * factor + term;
            d = d * factor + term;
            e = e * factor + term;
            f = f * factor + term;
            g = g * factor + term;
            h = h * factor + term;
        }
    }
    let one = vec4<Elem>(Elem(params.factor + params.term));
    if QUADS == 2u {
        c = one;
        d = one;
        e = one;
        f = one;
        g = one;
        h = one;
    }
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    y[i] = f32((sum.x + sum.y) + (sum.z + sum.w));
}
