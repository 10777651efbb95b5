// y = x − max x − ln Σ exp(x − max x) along rows whose length is a multiple of 4
// One invocation per row; for software drivers, where a load of four costs as much as a load of one.

#import shared/exponential
#import shared/index
#import shared/logarithm

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

@compute @workgroup_size(WG)
fn log_softmax_vec4(
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
    var high = vec4<f32>(x[from_x]);
    for (var c = 1u; c < quads; c++) {
        high = max(high, vec4<f32>(x[from_x + c]));
    }
    let largest = max(max(high.x, high.y), max(high.z, high.w));
    var totals = vec4<f32>();
    for (var c = 0u; c < quads; c++) {
        let v = vec4<f32>(x[from_x + c]) - largest;
        totals += vec4(exp_f32(v.x), exp_f32(v.y), exp_f32(v.z), exp_f32(v.w));
    }
    let log_total = log_f32(totals.x + totals.y + totals.z + totals.w);
    for (var c = 0u; c < quads; c++) {
        y[to_y + c] = vec4<Elem>((vec4<f32>(x[from_x + c]) - largest) - log_total);
    }
}
