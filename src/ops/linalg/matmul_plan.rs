//! Which matmul kernel to run, with which constants. Pure: knows shapes and capabilities, no device.
//!
//! Numbers beside the tables are GFLOP/s, medians of many dispatches in one submission on lavapipe (Mesa 22.3.6,
//! subgroups of 8, two cores) and SwiftShader (subgroups of 4); `benches/matmul.rs` prints them anew.

use crate::gpu::{Caps, DeviceClass};
use crate::ops::launch::MOST_STEPS;
use crate::ops::linalg::matmul_gen::{MatmulConstants, Quad, Rung};
use crate::ops::op::any_device;

/// `out [batches, rows, cols] = a · b`, offsets and strides in elements; `out` is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    pub batches: u32,
    pub rows: u32,
    pub inner: u32,
    pub cols: u32,
    pub a_offset: u32,
    pub b_offset: u32,
    pub out_offset: u32,
    pub a_row: u32,
    pub a_col: u32,
    pub b_row: u32,
    pub b_col: u32,
    pub a_batch: [u32; 4],
    pub b_batch: [u32; 4],
}

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// `matmul.wgsl`
    Naive,
    /// `matmul_tiled.wgsl`; `partial` selects the entry point `matmul_tiled_partial`.
    Tiled { partial: bool },
    /// `matmul_gen.rs`
    Block(Variant),
}

/// A generated kernel: which block of [`BLOCKS`], and how it reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    pub block: u32,
    pub a: Quad,
    pub b: Quad,
    pub out_quads: bool,
    pub partial: bool,
    /// `inner` is no multiple of the kernel's inner step.
    pub ragged: bool,
    pub batched: bool,
}

/// One dispatch, or two when `splits` is above 1: partial sums, then `matmul_reduce`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub choice: Choice,
    /// Workgroups with work, `params.tiles`; the dispatch may fold them into more.
    pub tiles: u32,
    /// Chunks of the inner axis and steps per chunk, `params.splits` and `params.chunk`.
    pub splits: u32,
    pub chunk: u32,
}

/// A block of accumulators and how fast it runs where nothing is padded, from 512³.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub rung: Rung,
    pub rows: u32,
    pub col_quads: u32,
    /// Invocations of a workgroup down and across. A subgroup is one row of lanes.
    pub workgroup: (u32, u32),
    gflops: f64,
}

const fn subgroup(lanes: u32, rows: u32, col_quads: u32, gflops: f64) -> Block {
    Block {
        rung: Rung::Subgroup { lanes },
        rows,
        col_quads,
        workgroup: (1, lanes),
        gflops,
    }
}

const fn vec4(workgroup: (u32, u32), rows: u32, col_quads: u32, gflops: f64) -> Block {
    Block {
        rung: Rung::Vec4,
        rows,
        col_quads,
        workgroup,
        gflops,
    }
}

/// Every block that some device gets; a variant names one by its place.
pub const BLOCKS: &[Block] = &[
    // lavapipe, subgroups of 8. 24 × 3 (38), 16 × 4 (38), 32 × 3 (29) and 64 × 2 (35) lose to a smaller block, and so
    // does an inner step of 8 (32 × 2: 33). First dispatch 130 ms for 16 rows, 250 for 32 × 1, 500 for the last two.
    subgroup(8, 16, 1, 31.0),
    subgroup(8, 32, 1, 37.0),
    subgroup(8, 64, 1, 42.0),
    subgroup(8, 32, 2, 44.0),
    // SwiftShader, subgroups of 4; 128³, where the naive kernel makes 0.6. Its register allocator does badly with long
    // functions: 16 × 1 and 32 × 1 run at 0.6 of 8 × 1. WARP is unmeasured and gets the same.
    subgroup(4, 4, 1, 4.0),
    subgroup(4, 8, 1, 5.2),
    // lavapipe without features. A workgroup is one row of lanes, so that every lane asks for the same `a`; the same
    // block in lanes of 2 × 4, 4 × 2, 8 × 1 runs at 0.6 to 0.8, 0.3 to 0.5, 0.2 to 0.3 of it. 16 × 8 (23), 32 × 4 (22)
    // and 24 × 2 (20) lose.
    vec4((1, 8), 8, 1, 11.0),
    vec4((1, 8), 16, 1, 12.0),
    vec4((1, 8), 16, 2, 19.0),
    vec4((1, 8), 16, 4, 24.0),
    // SwiftShader without features, 128³.
    vec4((1, 8), 4, 1, 3.5),
    // GPUs: 4 × 4 per invocation without barriers. Not yet measured on one.
    vec4((8, 8), 4, 1, 0.0),
];

const SUBGROUP_8: std::ops::Range<u32> = 0..4;
const SUBGROUP_4: std::ops::Range<u32> = 4..6;
const VEC4_8: std::ops::Range<u32> = 6..10;
const VEC4_4: std::ops::Range<u32> = 10..11;
const VEC4_GPU: u32 = 11;

/// Which devices a block is for. The large vec4 blocks are left to the software drivers they were made for: SwiftShader's
/// register allocator takes more than 16 GB and does not end on 16 × 4.
pub fn needs(block: u32) -> fn(&Caps) -> bool {
    if SUBGROUP_8.contains(&block) {
        |caps| caps.subgroup == Some(8)
    } else if SUBGROUP_4.contains(&block) {
        |caps| caps.subgroup == Some(4)
    } else if VEC4_8.contains(&block) {
        |caps| caps.class == DeviceClass::Cpu && caps.lanes >= 8
    } else {
        any_device
    }
}

/// The naive kernel on lavapipe: 0.7 to 0.9 GFLOP/s.
const NAIVE_GFLOPS: f64 = 0.8;
/// What a workgroup costs before its first multiply, in seconds: 8192 × 4 × 96 against 8192 × 32 × 96.
const TILE_SECS: f64 = 2e-6;
/// Below this many multiplications a product takes less than a launch, and a block that compiles in 500 ms instead of
/// 250 never earns it back. 64³ takes 0.1 ms with any block.
const SMALL_PRODUCT: u64 = 1 << 20;
/// Fewer multiplications than this, in short sums of operands that do not come by quads, take the naive kernel less than a
/// launch, and a block more for its tiles: twice 33 × 11 × 7 with both operands transposed, 48 µs naive, 74 by 32 × 1,
/// launches included. By quads blocks win (9 × 12 × 20: 1.3 times).
const TINY_PRODUCT: u64 = 1 << 13;
const TINY_INNER: u32 = 64;
/// Fewer workgroups than this leave cores idle or unevenly loaded.
const CPU_GROUPS: u32 = 8;
/// Inner steps between two visits of an accumulator; 8 and 16 lose.
const INNER_STEP: u32 = 4;
/// Products per sum beyond which the naive kernel, which does not split them, is not planned.
pub const NAIVE_MOST: u32 = MOST_STEPS as u32;
/// Steps of `inner` that one invocation of a block and of `matmul_tiled` may go through: the latter loops over tiles of
/// 16 steps and over the steps of each.
const BLOCK_MOST: u32 = (NAIVE_MOST - 64) * INNER_STEP;
pub const TILED_MOST: u32 = NAIVE_MOST / 17 * 16;
/// Invocations of the naive kernel's and `matmul_reduce`'s workgroups.
pub const WORKGROUP: u32 = 64;

/// What is to be used whatever the tables say, for conformance and verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    Naive,
    Tiled { partial: bool },
    Block { block: u32, partial: bool },
}

impl Variant {
    pub fn constants(&self) -> MatmulConstants {
        let block = &BLOCKS[self.block as usize];
        MatmulConstants {
            rung: block.rung,
            rows: block.rows,
            col_quads: block.col_quads,
            inner_step: INNER_STEP,
            a: self.a,
            b: self.b,
            out_quads: self.out_quads,
            partial: self.partial,
        }
    }

    /// Rows and columns of `out` that one workgroup covers.
    pub fn tile(&self) -> (u32, u32) {
        let (down, across) = BLOCKS[self.block as usize].workgroup;
        self.constants().tile(down, across)
    }

    /// The values of the kernel's `override` constants beside the epilogue's.
    pub fn overrides(&self) -> Vec<(&'static str, f64)> {
        let (down, across) = BLOCKS[self.block as usize].workgroup;
        vec![
            ("BATCHED", f64::from(self.batched)),
            ("RAGGED", f64::from(self.ragged)),
            ("WG_ROWS", f64::from(down)),
            ("WG_COLS", f64::from(across)),
        ]
    }

    /// The variant as a number, and back.
    pub fn code(&self) -> u32 {
        self.block
            | u32::from(self.partial) << 8
            | (self.a as u32) << 9
            | (self.b as u32) << 11
            | u32::from(self.out_quads) << 13
            | u32::from(self.ragged) << 14
            | u32::from(self.batched) << 15
    }

    pub fn from_code(code: u32) -> Self {
        let quad = |bits: u32| match bits & 3 {
            0 => Quad::Inner,
            1 => Quad::Outer,
            _ => Quad::Single,
        };
        let bit = |at: u32| code >> at & 1 == 1;
        Variant {
            block: code & 0xff,
            partial: bit(8),
            a: quad(code >> 9),
            b: quad(code >> 11),
            out_quads: bit(13),
            ragged: bit(14),
            batched: bit(15),
        }
    }
}

impl Plan {
    /// The kernel, its table row and how the inner axis is cut, in one line.
    pub fn describe(&self) -> String {
        let kernel = match self.choice {
            Choice::Naive => "naive: a launch costs more than its products".to_string(),
            Choice::Tiled { .. } => "tiles of 64 × 64 in workgroup memory".to_string(),
            Choice::Block(variant) => {
                let block = &BLOCKS[variant.block as usize];
                let (rows, cols) = variant.tile();
                let rung = match block.rung {
                    Rung::Vec4 => "vec4",
                    Rung::Subgroup { .. } => "subgroup",
                };
                let rate = match block.gflops > 0.0 {
                    true => format!(", {} GFLOP/s where nothing is padded", block.gflops),
                    false => String::new(),
                };
                format!("{rung}: blocks of {rows} × {cols}{rate}")
            }
        };
        match self.splits {
            1 => kernel,
            n => format!("{kernel}; inner axis in {n} parts, to feed all cores"),
        }
    }
}

impl MatmulShape {
    fn n_out(&self) -> u64 {
        u64::from(self.batches) * u64::from(self.rows) * u64::from(self.cols)
    }

    fn a_quad(&self) -> Quad {
        quad(self.a_col, self.a_row, self.a_offset, self.a_batch)
    }

    fn b_quad(&self) -> Quad {
        quad(self.b_row, self.b_col, self.b_offset, self.b_batch)
    }
}

/// An operand is read by `vec4` if every quad starts on a multiple of four elements. A quad may reach up to three
/// elements past the matrix, never past a buffer, whose size is a multiple of 256 bytes.
fn quad(inner_stride: u32, outer_stride: u32, offset: u32, batch: [u32; 4]) -> Quad {
    let aligned = |other: u32| {
        other.is_multiple_of(4)
            && offset.is_multiple_of(4)
            && batch.iter().all(|stride| stride.is_multiple_of(4))
    };
    match (inner_stride, outer_stride) {
        (1, other) if aligned(other) => Quad::Inner,
        (other, 1) if aligned(other) => Quad::Outer,
        _ => Quad::Single,
    }
}

/// Picks kernel, block and split for a product; `forced` overrules the tables.
pub fn plan(shape: &MatmulShape, caps: &Caps, forced: Option<Forced>) -> Plan {
    // An empty inner axis needs the loop that may run zero times.
    if shape.inner == 0 || shape.n_out() == 0 {
        return naive(shape);
    }
    match (forced, caps.class) {
        (Some(forced), _) => plan_forced(shape, forced),
        (None, DeviceClass::Cpu) => on_cpu(shape, caps),
        (None, DeviceClass::Discrete | DeviceClass::Integrated) => on_gpu(shape, caps),
    }
}

/// The plan for a given kernel.
pub fn plan_forced(shape: &MatmulShape, forced: Forced) -> Plan {
    let splits = |partial| if partial { 3 } else { 1 };
    match forced {
        Forced::Naive => naive(shape),
        Forced::Tiled { partial } => tiled(shape, splits(partial), 4),
        Forced::Block { block, partial } => blocked(shape, block, INNER_STEP, |_| splits(partial)),
    }
}

/// The kernel that any device runs.
pub fn naive(shape: &MatmulShape) -> Plan {
    Plan {
        choice: Choice::Naive,
        tiles: u32::try_from(shape.n_out().div_ceil(u64::from(WORKGROUP)))
            .expect("an output has at most 2³² elements"),
        splits: 1,
        chunk: shape.inner,
    }
}

fn on_cpu(shape: &MatmulShape, caps: &Caps) -> Plan {
    let blocks = match caps.subgroup {
        Some(8) => SUBGROUP_8,
        Some(4) => SUBGROUP_4,
        _ if caps.lanes >= 8 => VEC4_8,
        _ => VEC4_4,
    };
    let products = shape.n_out() * u64::from(shape.inner);
    let quads = shape.a_quad() != Quad::Single || shape.b_quad() != Quad::Single;
    if products < TINY_PRODUCT && shape.inner <= TINY_INNER && !quads {
        return naive(shape);
    }
    let secs = |index: u32| {
        let block = &BLOCKS[index as usize];
        let tile_rows = block.rows * block.workgroup.0;
        let tile_cols = 4 * block.col_quads * block.workgroup.1;
        let tiles = u64::from(shape.batches)
            * u64::from(shape.rows.div_ceil(tile_rows))
            * u64::from(shape.cols.div_ceil(tile_cols));
        let padded = 2.0 * (u64::from(tile_rows * tile_cols) * u64::from(shape.inner)) as f64;
        tiles as f64 * (padded / (block.gflops * 1e9) + TILE_SECS)
    };
    let small = |index: &u32| {
        let block = &BLOCKS[*index as usize];
        products >= SMALL_PRODUCT || block.rows * block.col_quads <= 32
    };
    let best = blocks
        .filter(small)
        .min_by(|x, y| secs(*x).total_cmp(&secs(*y)))
        .expect("every table has a small block");
    if shape.inner <= NAIVE_MOST && 2.0 * products as f64 / (NAIVE_GFLOPS * 1e9) <= secs(best) {
        return naive(shape);
    }
    // Two cores, 32 × 8192 × 96 in 3 tiles: 4 chunks 36.6, 8 chunks 35.1, 12 chunks 35.0. A product with 8 tiles
    // loses by splitting (64 × 2048 × 256: 43 whole, 39 in 4 chunks, 36 in 8).
    let splits = |tiles: u32| {
        if tiles < CPU_GROUPS {
            (3 * CPU_GROUPS / 2).div_ceil(tiles)
        } else {
            1
        }
    };
    blocked(shape, best, 512, splits)
}

/// Not yet measured: sizes that are common for GPUs, checked for correctness only.
fn on_gpu(shape: &MatmulShape, caps: &Caps) -> Plan {
    // Tiles that fill the machine a few times over.
    let wanted = if caps.class == DeviceClass::Discrete {
        256
    } else {
        64
    };
    let splits = move |tiles: u32| {
        if 2 * tiles <= wanted {
            wanted.div_ceil(tiles)
        } else {
            1
        }
    };
    // Staging pays when a tile's operands are used many times. Below that, and on a GPU that shares the host's memory
    // and its caches when operands come by quads, 4 × 4 per invocation without barriers.
    let quads = shape.a_quad() != Quad::Single && shape.b_quad() != Quad::Single;
    let narrow = shape.rows < 32 || shape.cols < 32 || shape.inner < 16;
    if narrow || (caps.class == DeviceClass::Integrated && quads) {
        return blocked(shape, VEC4_GPU, 256, splits);
    }
    tiled(shape, splits(tiles_of(shape, 64, 64)), 256)
}

fn tiled(shape: &MatmulShape, wanted_splits: u32, min_chunk: u32) -> Plan {
    let tiles = tiles_of(shape, 64, 64);
    let wanted = wanted_splits.max(shape.inner.div_ceil(TILED_MOST));
    let (splits, chunk) = split(shape.inner, 16, min_chunk, wanted);
    Plan {
        choice: Choice::Tiled {
            partial: splits > 1,
        },
        tiles: tiles * splits,
        splits,
        chunk,
    }
}

fn blocked(
    shape: &MatmulShape,
    block: u32,
    min_chunk: u32,
    wanted_splits: impl Fn(u32) -> u32,
) -> Plan {
    let mut variant = Variant {
        block,
        a: shape.a_quad(),
        b: shape.b_quad(),
        out_quads: shape.cols.is_multiple_of(4) && shape.out_offset.is_multiple_of(4),
        partial: false,
        ragged: !shape.inner.is_multiple_of(INNER_STEP),
        batched: shape.batches != 1,
    };
    let (tile_rows, tile_cols) = variant.tile();
    let tiles = tiles_of(shape, tile_rows, tile_cols);
    let wanted = wanted_splits(tiles).max(shape.inner.div_ceil(BLOCK_MOST));
    let (splits, chunk) = split(shape.inner, INNER_STEP, min_chunk, wanted);
    // Partial sums start on a multiple of four elements of their own buffer.
    variant.partial = splits > 1;
    if variant.partial {
        variant.out_quads = shape.cols.is_multiple_of(4);
    }
    Plan {
        choice: Choice::Block(variant),
        tiles: tiles * splits,
        splits,
        chunk,
    }
}

fn tiles_of(shape: &MatmulShape, tile_rows: u32, tile_cols: u32) -> u32 {
    let tiles = u64::from(shape.batches)
        * u64::from(shape.rows.div_ceil(tile_rows))
        * u64::from(shape.cols.div_ceil(tile_cols));
    u32::try_from(tiles).expect("an output has at most 2³² elements")
}

/// Number of chunks and inner steps per chunk: no chunk is empty, none but the last shorter than the others, and none
/// is cut below `min_chunk` to make more of them.
fn split(inner: u32, inner_step: u32, min_chunk: u32, wanted: u32) -> (u32, u32) {
    let splits = wanted.min(inner / min_chunk).max(1);
    let chunk = inner.div_ceil(splits).next_multiple_of(inner_step);
    (inner.div_ceil(chunk), chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_major(rows: u32, inner: u32, cols: u32) -> MatmulShape {
        MatmulShape {
            batches: 1,
            rows,
            inner,
            cols,
            a_offset: 0,
            b_offset: 0,
            out_offset: 0,
            a_row: inner,
            a_col: 1,
            b_row: cols,
            b_col: 1,
            a_batch: [0; 4],
            b_batch: [0; 4],
        }
    }

    fn lavapipe() -> Caps {
        Caps {
            class: DeviceClass::Cpu,
            subgroup: Some(8),
            lanes: 8,
            f16: true,
            timestamps: true,
            timestamp_period_ns: 1.0,
            pipeline_cache: true,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 1 << 30,
            max_storage_buffers: 8,
            max_workgroup_bytes: 32 << 10,
            max_invocations: 1024,
            max_workgroups_per_axis: 65_535,
            binding_align: 16,
        }
    }

    #[test]
    fn chunks_cover_the_inner_axis() {
        for inner in 1..3000 {
            for wanted in 1..20 {
                let (splits, chunk) = split(inner, 4, 128, wanted);
                assert!(chunk % 4 == 0 && splits * chunk >= inner && (splits - 1) * chunk < inner);
            }
        }
    }

    #[test]
    fn a_tiny_product_and_an_empty_inner_axis_are_naive() {
        for (rows, inner, cols) in [(1, 1, 1), (7, 5, 3), (66, 11, 7), (64, 0, 64)] {
            let plan = plan(&row_major(rows, inner, cols), &lavapipe(), None);
            assert_eq!(plan.choice, Choice::Naive);
        }
    }

    #[test]
    fn a_small_output_with_a_long_inner_axis_is_split() {
        let mut shape = row_major(32, 8192, 96);
        (shape.a_row, shape.a_col) = (1, 32);
        let plan = plan(&shape, &lavapipe(), None);
        assert_eq!((plan.splits, plan.chunk, plan.tiles), (4, 2048, 12));
    }

    #[test]
    fn no_invocation_takes_too_many_steps() {
        for class in [DeviceClass::Cpu, DeviceClass::Discrete] {
            let caps = Caps {
                class,
                ..lavapipe()
            };
            for (rows, cols) in [(1, 1), (2, 3), (64, 64), (1024, 1024)] {
                for inner in [60_001, 70_001, 240_001, 1_000_000] {
                    let plan = plan(&row_major(rows, inner, cols), &caps, None);
                    let steps = match plan.choice {
                        Choice::Naive => inner,
                        Choice::Tiled { .. } => plan.chunk + plan.chunk / 16,
                        Choice::Block(_) => plan.chunk.div_ceil(INNER_STEP),
                    };
                    assert!(
                        steps <= MOST_STEPS as u32,
                        "{rows} {inner} {cols}: {plan:?}"
                    );
                    assert!(plan.splits * plan.chunk >= inner);
                }
            }
        }
    }

    #[test]
    fn an_unaligned_operand_is_read_by_elements() {
        let mut shape = row_major(64, 64, 64);
        shape.a_offset = 1;
        let Choice::Block(variant) = plan(&shape, &lavapipe(), None).choice else {
            panic!("expected a block")
        };
        assert_eq!((variant.a, variant.b), (Quad::Single, Quad::Outer));
    }

    #[test]
    fn what_is_planned_is_made_for_the_device() {
        for (subgroup, lanes) in [(Some(8), 8), (None, 8), (Some(4), 4), (None, 4), (None, 0)] {
            for class in [
                DeviceClass::Cpu,
                DeviceClass::Integrated,
                DeviceClass::Discrete,
            ] {
                let caps = Caps {
                    class,
                    subgroup,
                    lanes,
                    ..lavapipe()
                };
                for n in [8, 32, 100, 512, 4096] {
                    if let Choice::Block(v) = plan(&row_major(n, n, n), &caps, None).choice {
                        assert!(needs(v.block)(&caps), "{caps:?} gets block {}", v.block);
                    }
                }
            }
        }
    }

    #[test]
    fn a_variant_survives_its_code() {
        for code in 0..1u32 << 16 {
            let variant = Variant::from_code(code);
            if code >> 9 & 3 != 3 && code >> 11 & 3 != 3 {
                assert_eq!(variant.code(), code);
            }
        }
    }
}
