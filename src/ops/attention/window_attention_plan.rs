//! Which kernels of window attention to run, with which constants. Pure: knows shapes and capabilities, no device.

use crate::gpu::{Caps, DeviceClass};
use crate::ops::attention::window_attention_gen::{BlockConstants, Pass};
use crate::ops::launch::MOST_STEPS;

/// A grid of tokens cut into windows; sizes in tokens, none of them 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub heads: usize,
    /// At most the grid, which it divides.
    pub window: [usize; 2],
    /// Less than the window, and 0 where the window is the grid.
    pub shift: [usize; 2],
}

impl Grid {
    pub fn head_dim(&self) -> usize {
        self.channels / self.heads
    }

    /// Of the whole batch.
    pub fn n_windows(&self) -> usize {
        self.batch * (self.height / self.window[0]) * (self.width / self.window[1])
    }

    pub fn n_tokens(&self) -> usize {
        self.batch * self.height * self.width
    }

    pub fn n_tokens_of_window(&self) -> usize {
        self.window[0] * self.window[1]
    }

    /// Steps of loops that the naive kernel takes per walk over a window.
    pub fn naive_steps(&self) -> usize {
        self.n_tokens_of_window() * (2 + self.head_dim().div_ceil(8))
    }

    /// Rows of the table of biases.
    pub fn n_biases(&self) -> usize {
        (2 * self.window[0] - 1) * (2 * self.window[1] - 1)
    }
}

/// Longer heads are left to the naive kernels: a block of one token would no longer fit the registers.
const LONGEST_HEAD: usize = 128;

/// What loading the token on the other side costs, in tokens of the block: on lavapipe a load of four costs as much as
/// some sixty multiplications, and a token of the other side is 2 loads where one of the block is 8 multiplications.
const LOAD_COST: usize = 8;

/// Elements of a block's tokens in each set of operands or sums, and tokens side by side, that a device copes with.
fn most(pass: Pass, narrow: bool) -> (usize, usize) {
    match (pass, narrow) {
        // lavapipe, the small model's first stage, GFLOP/s by processor time (the machine was shared): forward 18 of 64
        // elements, 21 of 128, 28 of 256, which compiles twice as long. Two or four keys per step, so that the sums
        // shrink less often: no gain.
        (Pass::Forward, false) => (128, 8),
        // Backward 64, 128 and 256 elements are equally fast within the noise of 10 %, and 64 compile fastest.
        (Pass::Query | Pass::Key, false) => (64, 8),
        // SwiftShader compiles 32 elements in half a second and 128 in two.
        (Pass::Forward | Pass::Key, true) => (32, 8),
        // Its compiler takes minutes and gigabytes over sums that slide.
        (Pass::Query, true) => (32, 1),
    }
}

/// A software driver whose compiler does badly with long functions: SwiftShader, known by its subgroups of 4.
pub fn narrow(caps: &Caps) -> bool {
    caps.class == DeviceClass::Cpu && caps.lanes < 8
}

/// Whether a block is small enough for every device.
pub fn small(block: &BlockConstants, pass: Pass) -> bool {
    let (kept, cols) = most(pass, true);
    let tokens = (block.rows * block.cols) as usize;
    (tokens == 1 || tokens * block.head_dim as usize <= kept) && block.cols as usize <= cols
}

/// The block for a pass; `None` if only the naive kernel will do.
pub fn block(grid: &Grid, pass: Pass, quads: bool, caps: &Caps) -> Option<BlockConstants> {
    let head_dim = grid.head_dim();
    if head_dim > LONGEST_HEAD {
        return None;
    }
    let (kept, most_cols) = most(pass, narrow(caps));
    let most = (kept / head_dim.next_multiple_of(4)).clamp(1, 8);
    let sizes = [1, 2, 4, 8];
    let (rows, cols) = sizes
        .iter()
        .flat_map(|rows| sizes.iter().map(move |cols| (*rows, *cols)))
        .filter(|(rows, cols)| rows * cols <= most && *cols <= most_cols)
        .min_by_key(|(rows, cols)| {
            let n_blocks = grid.window[0].div_ceil(*rows) * grid.window[1].div_ceil(*cols);
            // Of equals the one with the longer rows, along which biases slide.
            (n_blocks * (LOAD_COST + rows * cols), *rows)
        })?;
    Some(BlockConstants {
        head_dim: head_dim as u32,
        quads,
        rows: rows as u32,
        cols: cols as u32,
    })
}

/// Blocks' rows that one invocation of the query kernel goes through, and how many such parts there are.
///
/// Each part has its own sums for the table of biases. They take at most as much memory as qkv, unless one part alone
/// takes more: there is never a number per pair of tokens and window.
pub fn parts(grid: &Grid, block: &BlockConstants, caps: &Caps) -> (usize, usize) {
    let (rows, cols) = (block.rows as usize, block.cols as usize);
    let n_rows = grid.n_windows() * grid.window[0].div_ceil(rows);
    let columns = grid.heads * grid.window[1].div_ceil(cols);
    // Enough invocations to fill the device. On lavapipe, backward of the small model's first stage, by processor time:
    // 9.1 ms for 1,024 (the sums fall out of the cache), 9.4 for 512, 8.6 for 256, 7.6 for 128.
    let wanted = match caps.class {
        DeviceClass::Cpu => 256,
        DeviceClass::Discrete | DeviceClass::Integrated => 16_384,
    };
    let fits = 3 * grid.n_tokens() * grid.channels / (columns * partial(grid, block));
    let n_parts = (wanted / columns).min(fits).clamp(1, n_rows);
    // Clearing the sums takes steps too.
    let most = MOST_STEPS.saturating_sub(partial(grid, block)) / (grid.n_tokens_of_window() + 1);
    let part = n_rows.div_ceil(n_parts).min(most.max(1));
    (part, n_rows.div_ceil(part))
}

/// Windows that one invocation of the naive kernel for the table sums over.
pub fn naive_part(grid: &Grid) -> usize {
    (MOST_STEPS / (2 * grid.naive_steps())).max(1)
}

/// Sums for the table of biases that one invocation of the query kernel keeps.
pub fn partial(grid: &Grid, block: &BlockConstants) -> usize {
    (2 * grid.window[0] - 1) * (grid.window[1] + block.cols as usize - 1)
}

/// A block as a number, and back: the variant of an entry point.
pub fn code(block: &BlockConstants) -> u32 {
    block.head_dim | block.rows << 8 | block.cols << 12 | u32::from(block.quads) << 16
}

/// Whether a number means a block.
pub fn is_possible(block: &BlockConstants) -> bool {
    let size = |n: u32| [1, 2, 4, 8].contains(&n);
    size(block.rows) && size(block.cols) && (1..=LONGEST_HEAD as u32).contains(&block.head_dim)
}

pub fn from_code(code: u32) -> BlockConstants {
    BlockConstants {
        head_dim: code & 0xff,
        rows: code >> 8 & 0xf,
        cols: code >> 12 & 0xf,
        quads: code >> 16 & 1 == 1,
    }
}
