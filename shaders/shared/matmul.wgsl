// What every matmul kernel agrees on: the shape, the fold of workgroups into tiles, and the epilogue.

#import shared/index
#import shared/special

override BIAS: bool = false;       // adds bias[col] before the activation
override ACT: u32 = 0u;            // 0 none, 1 relu, 2 gelu (exact, by erf), 3 silu
override ACCUMULATE: bool = false; // adds to what `out` holds, before the activation
override BATCHED: bool = true;      // false promises a single batch
override RAGGED: bool = true;      // false promises that `inner` is a multiple of the kernel's inner step

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    splits: u32,      // chunks of `inner`; above 1 the kernel writes partial sums
    a_offset: u32,
    b_offset: u32,
    bias_offset: u32,
    out_offset: u32,
    a_row: u32,
    a_col: u32,
    b_row: u32,
    b_col: u32,
    bias_stride: u32,
    batches: u32,     // product of batch_shape
    chunk: u32,       // inner steps per split, a multiple of the kernel's inner step
    tiles: u32,       // workgroups that have work; the dispatch is rounded up when folded
    batch_shape: vec4<u32>,
    a_batch: vec4<u32>, // strides; 0 broadcasts
    b_batch: vec4<u32>,
}

@group(1) @binding(0) var<uniform> params: Params;

// Which block of which matrix a workgroup computes.
struct Tile {
    row: u32,
    col: u32,
    split: u32,
    batch: u32,
}

// Columns vary fastest: neighbouring workgroups share rows of `a`.
fn tile_of(linear: u32, tile_rows: u32, tile_cols: u32) -> Tile {
    let n_cols = (params.cols + tile_cols - 1u) / tile_cols;
    let n_rows = (params.rows + tile_rows - 1u) / tile_rows;
    let across = linear / n_cols;
    let down = across / n_rows;
    return Tile(
        (across - down * n_rows) * tile_rows,
        (linear - across * n_cols) * tile_cols,
        down / params.batches,
        down % params.batches,
    );
}

// Start of one batch in an operand with these batch strides.
fn batch_start(batch: u32, strides: vec4<u32>) -> u32 {
    if (!BATCHED) {
        return 0u;
    }
    let shape = params.batch_shape;
    let w = batch / shape.w;
    let z = w / shape.z;
    let y = z / shape.y;
    let index = vec4(y, z - y * shape.y, w - z * shape.z, batch - w * shape.w);
    return index.x * strides.x + index.y * strides.y + index.z * strides.z + index.w * strides.w;
}

// First element of the output matrix; partial sums are laid out [splits, batch.., rows, cols].
fn out_start(tile: Tile) -> u32 {
    return params.out_offset + (tile.split * params.batches + tile.batch) * params.rows * params.cols;
}

fn activate(x: Acc) -> Acc {
    switch ACT {
        case 1u: { return max(x, 0.0f); }
        case 2u: { return 0.5f * x * (1.0f + erf_f32(x * 0.70710678f)); }
        // exp(88) is finite in f32; below -88 silu is under 1e-36 either way.
        case 3u: { return x / (1.0f + exp(min(-x, 88.0f))); }
        default: { return x; }
    }
}
