// y = (x − mean) / √(var + eps) · weight + bias along rows whose length is a multiple of 4;
// stats[row] = (mean, 1/√(var + eps))
// One invocation per two rows, which share the loads of weight and bias. Mean and variance are found in one pass:
// each quad has its own mean and squares, which are merged into those so far (Chan, Golub & LeVeque 1979), so nothing
// cancels for rows far from zero. For software drivers, where a load of four costs as much as a load of one.

#import shared/index

override WG: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    x_offset: u32,
    weight_offset: u32,
    bias_offset: u32,
    y_offset: u32,
    stats_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<Elem>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<Elem>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<Elem>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Elem>>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// Mean and 1/√(var + eps) of the row that starts at a quad.
fn moments(start: u32, quads: u32) -> vec2<f32> {
    // One running mean and sum of squares per component: four independent columns of the row.
    let origin = vec4<f32>(x[start]);
    var mean = origin;
    var squares = vec4<f32>();
    for (var c = 1u; c < quads; c++) {
        let v = vec4<f32>(x[start + c]);
        let d = v - mean;
        mean += d / f32(c + 1u);
        squares += d * (v - mean);
    }
    let middle = mean.x + ((mean.y - mean.x) + (mean.z - mean.x) + (mean.w - mean.x)) * 0.25f;
    let off = mean - middle;
    let spread = squares + f32(quads) * off * off;
    let variance = (spread.x + spread.y + spread.z + spread.w) / f32(params.cols);
    return vec2(middle, 1.0f / sqrt(variance + params.eps));
}

@compute @workgroup_size(WG)
fn layer_norm_vec4(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = 2u * linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.rows {
        return;
    }
    // Of an odd number of rows the last is done twice, to the same end.
    let next = min(row + 1u, params.rows - 1u);
    let quads = params.cols / 4u;
    let from_x = params.x_offset / 4u;
    let to_y = params.y_offset / 4u;
    let a = moments(from_x + row * quads, quads);
    let b = moments(from_x + next * quads, quads);
    for (var c = 0u; c < quads; c++) {
        let w = vec4<f32>(weight[params.weight_offset / 4u + c]);
        let shift = vec4<f32>(bias[params.bias_offset / 4u + c]);
        let at_a = row * quads + c;
        let at_b = next * quads + c;
        y[to_y + at_a] = vec4<Elem>((vec4<f32>(x[from_x + at_a]) - a.x) * a.y * w + shift);
        y[to_y + at_b] = vec4<Elem>((vec4<f32>(x[from_x + at_b]) - b.x) * b.y * w + shift);
    }
    stats[params.stats_offset + 2u * row] = a.x;
    stats[params.stats_offset + 2u * row + 1u] = a.y;
    stats[params.stats_offset + 2u * next] = b.x;
    stats[params.stats_offset + 2u * next + 1u] = b.y;
}
