// dx = y · (dy − Σ y · dy) along rows whose length is a multiple of 4
// One invocation per row; for software drivers, where a load of four costs as much as a load of one.

#import shared/index

override WG: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
    dx_offset: u32,
    y_offset: u32,
    dy_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<storage, read> y: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<Elem>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<Elem>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WG)
fn softmax_vjp_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    let quads = params.cols / 4u;
    let from_y = params.y_offset / 4u + row * quads;
    let from_dy = params.dy_offset / 4u + row * quads;
    let to_dx = params.dx_offset / 4u + row * quads;
    var dots = vec4<f32>();
    for (var c = 0u; c < quads; c++) {
        dots += vec4<f32>(y[from_y + c]) * vec4<f32>(dy[from_dy + c]);
    }
    let dot = dots.x + dots.y + dots.z + dots.w;
    for (var c = 0u; c < quads; c++) {
        let upstream = vec4<f32>(dy[from_dy + c]);
        dx[to_dx + c] = vec4<Elem>(vec4<f32>(y[from_y + c]) * (upstream - dot));
    }
}
