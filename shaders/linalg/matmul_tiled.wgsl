// out[.., i, j] = act(Σ_k a[.., i, k] · b[.., k, j] + bias[j])
//
// One workgroup of 16 × 16 invocations per 64 × 64 tile of `out`; 16 inner steps of both operands are staged in
// workgroup memory (8 KiB) and every invocation owns 4 × 4 elements. Any strides. For GPUs: on a software driver
// workgroup memory is no nearer than any other.
#import shared/matmul

// Which way neighbouring invocations walk while staging: along the axis with stride 1, so that loads coalesce.
override A_ALONG_ROWS: bool = false;
override B_ALONG_INNER: bool = false;

const TILE = 64u;
const STEP = 16u;
const WG = 256u;

@group(0) @binding(0) var<storage, read> a: array<Elem>;
@group(0) @binding(1) var<storage, read> b: array<Elem>;
@group(0) @binding(2) var<storage, read> bias: array<Elem>;
@group(0) @binding(3) var<storage, read_write> out: array<Elem>;
@group(0) @binding(3) var<storage, read_write> partials: array<Acc>;

// Both with the inner axis outermost: one inner step is a row of 16 quads, read without bank conflicts.
var<workgroup> a_tile: array<vec4<Acc>, 256>;
var<workgroup> b_tile: array<vec4<Acc>, 256>;

// Four rows by four columns; row r is the r-th column of the matrix, so that it can be indexed by a constant.
fn tile_sums(tile: Tile, lane: u32) -> mat4x4<Acc> {
    let a_start = params.a_offset + batch_start(tile.batch, params.a_batch);
    let b_start = params.b_offset + batch_start(tile.batch, params.b_batch);
    let end = min((tile.split + 1u) * params.chunk, params.inner);

    // Each invocation stages one quad of each operand: four rows of `a` or four columns of `b` at one inner step.
    let a_inner = select(lane % STEP, lane / STEP, A_ALONG_ROWS);
    let a_quad = select(lane / STEP, lane % STEP, A_ALONG_ROWS);
    let b_inner = select(lane / STEP, lane % STEP, B_ALONG_INNER);
    let b_quad = select(lane % STEP, lane / STEP, B_ALONG_INNER);
    let a_row = tile.row + 4u * a_quad;
    let b_col = tile.col + 4u * b_quad;

    var sum_0 = vec4<Acc>();
    var sum_1 = vec4<Acc>();
    var sum_2 = vec4<Acc>();
    var sum_3 = vec4<Acc>();
    for (var first = tile.split * params.chunk; first < end; first += STEP) {
        a_tile[a_inner * STEP + a_quad] = stage_a(a_start, a_row, first + a_inner, end);
        b_tile[b_inner * STEP + b_quad] = stage_b(b_start, first + b_inner, b_col, end);
        workgroupBarrier();
        for (var k = 0u; k < STEP; k += 1u) {
            let x = a_tile[k * STEP + lane / STEP];
            let y = b_tile[k * STEP + lane % STEP];
            sum_0 += x.x * y;
            sum_1 += x.y * y;
            sum_2 += x.z * y;
            sum_3 += x.w * y;
        }
        workgroupBarrier();
    }
    return mat4x4<Acc>(sum_0, sum_1, sum_2, sum_3);
}

fn stage_a(start: u32, row: u32, k: u32, end: u32) -> vec4<Acc> {
    var quad = vec4<Acc>();
    if (k < end) {
        let at = start + row * params.a_row + k * params.a_col;
        if (row < params.rows) {
            quad.x = Acc(a[at]);
        }
        if (row + 1u < params.rows) {
            quad.y = Acc(a[at + params.a_row]);
        }
        if (row + 2u < params.rows) {
            quad.z = Acc(a[at + 2u * params.a_row]);
        }
        if (row + 3u < params.rows) {
            quad.w = Acc(a[at + 3u * params.a_row]);
        }
    }
    return quad;
}

fn stage_b(start: u32, k: u32, col: u32, end: u32) -> vec4<Acc> {
    var quad = vec4<Acc>();
    if (k < end) {
        let at = start + k * params.b_row + col * params.b_col;
        if (col < params.cols) {
            quad.x = Acc(b[at]);
        }
        if (col + 1u < params.cols) {
            quad.y = Acc(b[at + params.b_col]);
        }
        if (col + 2u < params.cols) {
            quad.z = Acc(b[at + 2u * params.b_col]);
        }
        if (col + 3u < params.cols) {
            quad.w = Acc(b[at + 3u * params.b_col]);
        }
    }
    return quad;
}

fn store(at: u32, col: u32, sum: Acc) {
    if (col >= params.cols) {
        return;
    }
    var x = sum;
    if (ACCUMULATE) {
        x += Acc(out[at]);
    }
    if (BIAS) {
        x += Acc(bias[params.bias_offset + col * params.bias_stride]);
    }
    out[at] = Elem(activate(x));
}

fn store_row(start: u32, row: u32, col: u32, sum: vec4<Acc>) {
    if (row < params.rows) {
        let at = start + row * params.cols + col;
        store(at, col, sum.x);
        store(at + 1u, col + 1u, sum.y);
        store(at + 2u, col + 2u, sum.z);
        store(at + 3u, col + 3u, sum.w);
    }
}

fn store_partial_row(start: u32, row: u32, col: u32, sum: vec4<Acc>) {
    if (row < params.rows) {
        let at = start + row * params.cols + col;
        if (col < params.cols) {
            partials[at] = sum.x;
        }
        if (col + 1u < params.cols) {
            partials[at + 1u] = sum.y;
        }
        if (col + 2u < params.cols) {
            partials[at + 2u] = sum.z;
        }
        if (col + 3u < params.cols) {
            partials[at + 3u] = sum.w;
        }
    }
}

@compute @workgroup_size(WG)
fn matmul_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) n_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let linear = linear_workgroup(group, n_groups);
    if (linear >= params.tiles) {
        return;
    }
    let tile = tile_of(linear, TILE, TILE);
    let sums = tile_sums(tile, lane);
    let start = out_start(tile);
    let row = tile.row + lane / STEP * 4u;
    let col = tile.col + lane % STEP * 4u;
    store_row(start, row, col, sums[0]);
    store_row(start, row + 1u, col, sums[1]);
    store_row(start, row + 2u, col, sums[2]);
    store_row(start, row + 3u, col, sums[3]);
}

// The same for one chunk of the inner axis, left to `matmul_reduce` to finish.
@compute @workgroup_size(WG)
fn matmul_tiled_partial(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) n_groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let linear = linear_workgroup(group, n_groups);
    if (linear >= params.tiles) {
        return;
    }
    let tile = tile_of(linear, TILE, TILE);
    let sums = tile_sums(tile, lane);
    let start = out_start(tile);
    let row = tile.row + lane / STEP * 4u;
    let col = tile.col + lane % STEP * 4u;
    store_partial_row(start, row, col, sums[0]);
    store_partial_row(start, row + 1u, col, sums[1]);
    store_partial_row(start, row + 2u, col, sums[2]);
    store_partial_row(start, row + 3u, col, sums[3]);
}
