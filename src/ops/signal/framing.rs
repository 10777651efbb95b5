//! Cutting signals into windowed frames and adding frames up to signals. Knows no transforms.

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
    x_offset: u32,
    window_offset: u32,
    gain_offset: u32,
    y_offset: u32,
}

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
    launch::choose(&ISTFT, device, Elem::F32, &[("istft_overlap", 0)])?;
    // A binding that the kernel does not look at still needs a buffer.
    let bound = gain.unwrap_or(window);
    let params = OverlapParams {
        total: word(y.numel())?,
        frames: word(f.frames)?,
        n_fft: word(f.n_fft)?,
        hop: word(f.hop)?,
        pad: word(f.pad)?,
        length: word(f.length)?,
        mode: f.continuation.code(),
        gained: u32::from(gain.is_some()),
        x_offset: word(x.layout().offset)?,
        window_offset: word(window.layout().offset)?,
        gain_offset: word(bound.layout().offset)?,
        y_offset: word(y.layout().offset)?,
    };
    let groups = (y.numel() as u64).div_ceil(WORKGROUP);
    let kernel = overlap_kernel();
    launch::dispatch(device, &kernel, &[x, window, bound], &[&y], &params, groups)?;
    Ok(y)
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
