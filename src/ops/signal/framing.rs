//! Cutting signals into windowed frames and adding frames up to signals. Knows no transforms.

use std::ops::Range;

use crate::error::Result;
use crate::gpu::shader::Elem;
use crate::gpu::{Device, Kernel, Source};
use crate::ops::launch;
use crate::ops::signal::istft::ISTFT;
use crate::ops::signal::options::Continuation;
use crate::ops::signal::pass::WORKGROUP;
use crate::ops::signal::stft::STFT;
use crate::ops::signal::transform::file_kernel;
use crate::tensor::{DType, Shape, Tensor};

/// Where the frames of a signal lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing {
    pub rows: usize,
    /// Samples of a row.
    pub length: usize,
    pub frames: usize,
    pub n_fft: usize,
    pub hop: usize,
    /// Places before the first sample.
    pub pad: usize,
    pub continuation: Continuation,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct FrameParams {
    total: u32,
    frames: u32,
    n_fft: u32,
    hop: u32,
    pad: u32,
    length: u32,
    mode: u32,
    x_offset: u32,
    window_offset: u32,
    y_offset: u32,
    padding: [u32; 2],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct OverlapParams {
    total: u32,
    frames: u32,
    n_fft: u32,
    hop: u32,
    pad: u32,
    length: u32,
    mode: u32,
    gained: u32,
    /// Of x, window, gain and y.
    offsets: [u32; 4],
    per_row: u32,
    gap_at: u32,
    gap: u32,
    padding: u32,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct QuadParams {
    total: u32,
    per_row: u32,
    first: u32,
    length: u32,
    frames: u32,
    n_fft: u32,
    hop: u32,
    pad: u32,
    gained: u32,
    offsets: [u32; 4],
    padding: [u32; 3],
}

/// Samples that are read and written at once where they can be.
const QUAD: usize = 4;

fn word(n: usize) -> Result<u32> {
    launch::word("stft", n)
}

/// The frames of `x [rows, length]`, dense, times `window [n_fft]`. → `[rows · frames, n_fft]`
pub(super) fn frames(x: &Tensor, window: &Tensor, f: Framing) -> Result<Tensor> {
    let device: &Device = x.device();
    let y = Tensor::empty(
        device,
        DType::F32,
        Shape::new(&[f.rows * f.frames, f.n_fft])?,
    )?;
    launch::choose(&STFT, device, Elem::F32, &[("stft_frames", 0)])?;
    let params = FrameParams {
        total: word(y.numel())?,
        frames: word(f.frames)?,
        n_fft: word(f.n_fft)?,
        hop: word(f.hop)?,
        pad: word(f.pad)?,
        length: word(f.length)?,
        mode: f.continuation.code(),
        x_offset: word(x.layout().offset)?,
        window_offset: word(window.layout().offset)?,
        y_offset: word(y.layout().offset)?,
        padding: [0; 2],
    };
    let groups = (y.numel() as u64).div_ceil(WORKGROUP);
    launch::dispatch(
        device,
        &frames_kernel(),
        &[x, window],
        &[&y],
        &params,
        groups,
    )?;
    Ok(y)
}

pub(super) fn frames_kernel() -> Kernel {
    file_kernel(
        Source::file(
            "signal/stft_frames",
            include_str!("../../../shaders/signal/stft_frames.wgsl"),
        ),
        "stft_frames",
    )
}

/// The transpose of [`frames`]: `x [rows · frames, n_fft]`, dense, times `window`, added up, times `gain [length]` if
/// there is one. → `[rows, length]`
///
/// Samples that stand for their own places alone are added up by quads where everything is made of quads: 16 × 501
/// frames of 400 over 80000 samples on lavapipe, both in one run: 18 ms by samples, 3 by quads.
pub(super) fn overlap(
    x: &Tensor,
    window: &Tensor,
    gain: Option<&Tensor>,
    f: Framing,
) -> Result<Tensor> {
    let device = x.device();
    let y = Tensor::empty(device, DType::F32, Shape::new(&[f.rows, f.length])?)?;
    launch::check_steps(
        device,
        "steps over the frames of a sample",
        overlap_steps(f),
    )?;
    // A binding that the kernel does not look at still needs a buffer.
    let bound = gain.unwrap_or(window);
    let inputs = [x, window, bound];
    let offset = |t: &Tensor| word(t.layout().offset);
    let offsets = [offset(x)?, offset(window)?, offset(bound)?, offset(&y)?];
    let gained = u32::from(gain.is_some());

    let aligned = [f.n_fft, f.hop, f.pad, f.length]
        .iter()
        .all(|n| n % QUAD == 0)
        && offsets.iter().all(|o| o % QUAD as u32 == 0);
    let mut quads = if aligned { inner_quads(&f) } else { 0..0 };
    if !quads.is_empty() {
        let candidates = [("istft_overlap_quads", 0), ("istft_overlap", 0)];
        if launch::choose(&ISTFT, device, Elem::F32, &candidates)? == 1 {
            quads = 0..0;
        }
    }
    if !quads.is_empty() {
        let total = f.rows * quads.len();
        let params = QuadParams {
            total: word(total)?,
            per_row: word(quads.len())?,
            first: word(quads.start)?,
            length: word(f.length / QUAD)?,
            frames: word(f.frames)?,
            n_fft: word(f.n_fft / QUAD)?,
            hop: word(f.hop / QUAD)?,
            pad: word(f.pad / QUAD)?,
            gained,
            offsets: offsets.map(|o| o / QUAD as u32),
            padding: [0; 3],
        };
        let groups = (total as u64).div_ceil(WORKGROUP);
        launch::dispatch(device, &quads_kernel(), &inputs, &[&y], &params, groups)?;
    }
    let (gap_at, gap) = (QUAD * quads.start, QUAD * quads.len());
    let per_row = f.length - gap;
    if per_row > 0 {
        launch::choose(&ISTFT, device, Elem::F32, &[("istft_overlap", 0)])?;
        let params = OverlapParams {
            total: word(f.rows * per_row)?,
            frames: word(f.frames)?,
            n_fft: word(f.n_fft)?,
            hop: word(f.hop)?,
            pad: word(f.pad)?,
            length: word(f.length)?,
            mode: f.continuation.code(),
            gained,
            offsets,
            per_row: word(per_row)?,
            gap_at: word(gap_at)?,
            gap: word(gap)?,
            padding: 0,
        };
        let groups = ((f.rows * per_row) as u64).div_ceil(WORKGROUP);
        launch::dispatch(device, &overlap_kernel(), &inputs, &[&y], &params, groups)?;
    }
    Ok(y)
}

/// The quads of a row whose samples stand for no place beyond the ends, of sizes that are made of quads.
fn inner_quads(f: &Framing) -> Range<usize> {
    let end = f.length / QUAD;
    let quads = match f.continuation {
        Continuation::Constant => 0..end,
        // Samples 1 to pad, and as many before the last, are copied.
        Continuation::Reflect => f.pad / QUAD + 1..end.saturating_sub(f.pad / QUAD + 1),
        Continuation::Replicate => 1..end.saturating_sub(1),
    };
    match quads.is_empty() {
        true => 0..0,
        false => quads,
    }
}

/// Steps of the loops of one invocation of `istft_overlap`, at most.
fn overlap_steps(f: Framing) -> usize {
    // Over one place lie this many frames, over place `p` of the continued signal no more than have begun.
    let most = f.n_fft.div_ceil(f.hop).min(f.frames);
    let over = |p: usize| (p / f.hop + 1).min(most);
    if f.continuation.code() < 2 {
        return 3 * most;
    }
    // The ends stand for all places beyond them; a signal of one sample for both sides.
    let beyond: usize = (0..f.pad).map(|p| 1 + over(p)).sum();
    most + if f.length == 1 { 2 * beyond } else { beyond }
}

pub(super) fn overlap_kernel() -> Kernel {
    file_kernel(
        Source::file(
            "signal/istft_overlap",
            include_str!("../../../shaders/signal/istft_overlap.wgsl"),
        ),
        "istft_overlap",
    )
}

pub(super) fn quads_kernel() -> Kernel {
    file_kernel(
        Source::file(
            "signal/istft_overlap_quads",
            include_str!("../../../shaders/signal/istft_overlap_quads.wgsl"),
        ),
        "istft_overlap_quads",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::launch::MOST_STEPS;

    #[test]
    fn only_ends_that_stand_for_very_many_frames_take_too_many_steps() {
        let framing = |n_fft: usize, hop: usize, continuation| Framing {
            rows: 1,
            frames: 160_000 / hop + 1,
            n_fft,
            hop,
            pad: n_fft / 2,
            length: 160_000,
            continuation,
        };
        let steps = |n_fft, hop, continuation| overlap_steps(framing(n_fft, hop, continuation));
        assert!(steps(4096, 1, Continuation::Constant) <= MOST_STEPS);
        assert!(steps(4096, 1024, Continuation::Replicate) <= MOST_STEPS);
        assert!(steps(4096, 1, Continuation::Replicate) > MOST_STEPS);
    }
}
