// Windows of a grid that is shifted cyclically, by index arithmetic: what every kernel of window attention shares.
//
// The grid is first rolled by −shift, then cut into windows. Positions in the rolled grid tell which window a token is
// in and which side of the seam it came from; positions in the grid as it lies tell where it is stored.

#import shared/index

// False if there is no table of relative position biases; the binding then holds something else.
override BIAS: bool = true;

struct Params {
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    heads: u32,
    head_dim: u32,
    window_height: u32,
    window_width: u32,
    shift_height: u32,
    shift_width: u32,
    // First row and column of the rolled grid that came around its edge and attend only each other.
    cut_height: u32,
    cut_width: u32,
    scale: f32,
    // Rows of blocks that one part of the query kernel goes through, and the number of parts.
    part: u32,
    n_parts: u32,
    // Queries side by side in a block.
    block_cols: u32,
    qkv_offset: u32,
    bias_offset: u32,
    y_offset: u32,
    lse_offset: u32,
    dy_offset: u32,
    dqkv_offset: u32,
    stats_offset: u32,
    partials_offset: u32,
    dbias_offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(1) @binding(0) var<uniform> params: Params;

// Below every score that f32 attention can use; an infinity would be no constant.
const LOWEST = -3.0e38f;

// Item of the batch, first row and first column in the rolled grid.
struct Window {
    item: u32,
    row: u32,
    col: u32,
}

fn windows_per_item() -> u32 {
    return (params.height / params.window_height) * (params.width / params.window_width);
}

fn window_of(number: u32) -> Window {
    let across = params.width / params.window_width;
    let down = params.height / params.window_height;
    return Window(
        number / across / down,
        number / across % down * params.window_height,
        number % across * params.window_width,
    );
}

// Number of the first token of the grid row where row p of the window is stored.
fn stored_row(window: Window, p: u32) -> u32 {
    var row = window.row + p + params.shift_height;
    if row >= params.height {
        row -= params.height;
    }
    return (window.item * params.height + row) * params.width;
}

// Grid column where column q of the window is stored.
fn stored_col(window: Window, q: u32) -> u32 {
    var col = window.col + q + params.shift_width;
    if col >= params.width {
        col -= params.width;
    }
    return col;
}

// Side of the seam that row p of the window is on. Tokens attend only tokens of their own side.
fn cut_row(window: Window, p: u32) -> bool {
    return window.row + p >= params.cut_height;
}

fn cut_col(window: Window, q: u32) -> bool {
    return window.col + q >= params.cut_width;
}

// Where in the table of biases the row of a query and a key with these rows in the window begins.
fn bias_row(query: u32, key: u32) -> u32 {
    return (query + params.window_height - 1u - key) * (2u * params.window_width - 1u);
}
