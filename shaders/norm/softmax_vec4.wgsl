// y = exp(x − max x) / Σ exp(x − max x) along rows whose length is a multiple of 4
// One invocation per row. The maximum and the sum are found in one pass (Milakov & Gimelshein 2018): when the maximum
// grows, the sum so far shrinks with it. For software drivers, where a load of four costs as much as a load of one.

#import shared/index

override WG: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
    x_offset: u32,
    y_offset: u32,
    dy_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

fn largest_of(v: vec4<f32>) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

@compute @workgroup_size(WG)
fn softmax_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let quads = params.cols / 4u;
    let from_x = params.x_offset / 4u + row * quads;
    let to_y = params.y_offset / 4u + row * quads;
    let first = vec4<f32>(x[from_x]);
    var largest = largest_of(first);
    var totals = exp(first - largest);
    for (var c = 1u; c < quads; c++) {
        let v = vec4<f32>(x[from_x + c]);
        let m = max(largest, largest_of(v));
        totals = totals * exp(largest - m) + exp(v - m);
        largest = m;
    }
    let scale = 1.0f / (totals.x + totals.y + totals.z + totals.w);
    for (var c = 0u; c < quads; c++) {
        y[to_y + c] = vec4<Elem>(exp(vec4<f32>(x[from_x + c]) - largest) * scale);
    }
}
