//! How signals are cut into frames: what a caller of `stft` and `istft` can choose, and what does not go together.

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::ops::index::pad::PadMode;
use crate::ops::op::Array;
use crate::ops::signal::constants::{Name, constant};
use crate::ops::signal::framing::Framing;
use crate::ops::signal::transform::dense;
use crate::ops::signal::window::Window;
use crate::tape::no_grad;
use crate::tensor::{DType, Shape, Tensor};

/// How a signal goes on beyond its ends where frames reach over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Continuation {
    /// By its mirror image, the end sample not repeated.
    #[default]
    Reflect,
    /// By zeros.
    Constant,
    /// By its end samples.
    Replicate,
}

pub(super) const CONTINUATIONS: &[&str] = &["reflect", "constant", "replicate"];

impl Continuation {
    /// The number that the shaders know it by.
    pub(super) fn code(self) -> u32 {
        match self {
            Continuation::Constant => 0,
            Continuation::Reflect => 1,
            Continuation::Replicate => 2,
        }
    }
}

/// Most samples of a frame.
const MOST_SAMPLES: usize = 1 << 24;

/// How a signal is cut into frames and transformed: the arguments of torch.stft.
///
/// By default a hop of a quarter of `n_fft`, a periodic Hann window (torch: ones), centred frames, the mirror image
/// beyond the ends, no normalisation, bins 0 to n_fft/2.
#[derive(Debug, Clone)]
pub struct Stft {
    pub(super) n_fft: usize,
    pub(super) hop: Option<usize>,
    pub(super) win_length: Option<usize>,
    pub(super) window: StftWindow,
    pub(super) center: bool,
    pub(super) continuation: Continuation,
    pub(super) normalized: bool,
    pub(super) onesided: bool,
}

#[derive(Debug, Clone)]
pub(super) enum StftWindow {
    Made(Window),
    Given(Tensor),
}

impl Stft {
    /// Transforms of `n_fft` samples.
    pub fn new(n_fft: usize) -> Self {
        Stft {
            n_fft,
            hop: None,
            win_length: None,
            window: StftWindow::Made(Window::Hann),
            center: true,
            continuation: Continuation::Reflect,
            normalized: false,
            onesided: true,
        }
    }

    /// Samples from one frame to the next.
    pub fn hop(mut self, hop: usize) -> Self {
        self.hop = Some(hop);
        self
    }

    /// Length of the window, at most `n_fft`; it lies in the middle of a frame between zeros.
    pub fn win_length(mut self, length: usize) -> Self {
        self.win_length = Some(length);
        self
    }

    /// A periodic window of this shape.
    pub fn window(mut self, window: Window) -> Self {
        self.window = StftWindow::Made(window);
        self
    }

    /// Any window, `[win_length]`, f32. No gradient flows to it.
    pub fn window_tensor(mut self, window: &Tensor) -> Self {
        self.window = StftWindow::Given(window.detach());
        self
    }

    /// Whether frame t has its middle at sample t · hop; otherwise it starts there.
    pub fn center(mut self, center: bool) -> Self {
        self.center = center;
        self
    }

    /// What lies beyond the ends of the signal where frames are centred.
    pub fn pad_mode(mut self, mode: Continuation) -> Self {
        self.continuation = mode;
        self
    }

    /// Whether spectra are divided by √n_fft.
    pub fn normalized(mut self, normalized: bool) -> Self {
        self.normalized = normalized;
        self
    }

    /// Whether bins above n_fft/2, which repeat those below, are left out.
    pub fn onesided(mut self, onesided: bool) -> Self {
        self.onesided = onesided;
        self
    }

    pub(super) fn bins(&self) -> usize {
        match self.onesided {
            true => self.n_fft / 2 + 1,
            false => self.n_fft,
        }
    }

    /// `n_fft`, hop and length of the window; refuses what does not go together.
    pub(super) fn sizes(&self, op: &'static str) -> Result<(usize, usize, usize)> {
        let refuse = |message| Err(Error::attribute(op, message));
        let n_fft = self.n_fft;
        // Windows and factors are made on the host: a number that no signal needs must not take its memory.
        if !(1..=MOST_SAMPLES).contains(&n_fft) {
            return refuse(format!("n_fft is {n_fft}, expected 1 to {MOST_SAMPLES}"));
        }
        let hop = self.hop.unwrap_or((n_fft / 4).max(1));
        if hop == 0 {
            return refuse("hop_length is 0, expected a positive number".to_string());
        }
        let win_length = self.win_length.unwrap_or(n_fft);
        if win_length == 0 || win_length > n_fft {
            return refuse(format!(
                "win_length is {win_length}, expected 1 to n_fft, {n_fft}"
            ));
        }
        if let StftWindow::Given(window) = &self.window {
            if window.dtype() != DType::F32 {
                return Err(Error::dtype(
                    op,
                    format!("window is {}, expected f32", window.dtype()),
                ));
            }
            if window.shape()[..] != [win_length] {
                return Err(Error::shape(
                    op,
                    format!(
                        "window has shape {:?}, expected [{win_length}], the length of the window",
                        window.shape()
                    ),
                ));
            }
        }
        Ok((n_fft, hop, win_length))
    }

    pub(super) fn given_window(&self) -> Option<&Tensor> {
        match &self.window {
            StftWindow::Given(window) => Some(window),
            StftWindow::Made(_) => None,
        }
    }

    /// The window between its zeros, on the host; of a given one this waits for the device.
    pub(super) fn window_points(&self) -> Result<Vec<f64>> {
        let length = self.win_length.unwrap_or(self.n_fft);
        let points: Vec<f64> = match &self.window {
            // As the device has them: rounded.
            StftWindow::Made(window) => window
                .points(length, true)
                .into_iter()
                .map(|x| f64::from(x as f32))
                .collect(),
            StftWindow::Given(window) => {
                window.to_vec::<f32>()?.into_iter().map(f64::from).collect()
            }
        };
        let mut out = vec![0.0; self.n_fft];
        let left = (self.n_fft - length) / 2;
        out[left..left + length].copy_from_slice(&points);
        Ok(out)
    }

    /// The window between its zeros, `[n_fft]`, dense.
    pub(super) fn window_on(&self, like: &Tensor) -> Result<Tensor> {
        match &self.window {
            StftWindow::Made(window) => made_window(
                like.device(),
                *window,
                self.win_length.unwrap_or(self.n_fft),
                self.n_fft,
            ),
            StftWindow::Given(window) => no_grad(|| {
                let left = (self.n_fft - window.numel()) / 2;
                let right = self.n_fft - window.numel() - left;
                let zero = PadMode::Constant(0.0);
                let padded = match window.numel() == self.n_fft {
                    true => window.clone(),
                    false => window.pad(&[(left, right)], zero)?,
                };
                dense(&padded, 4)
            }),
        }
    }

    /// The frames of `x [.., length]`.
    pub(super) fn framing(&self, x: &Shape) -> Result<Framing> {
        let op = "stft";
        let (n_fft, hop, _) = self.sizes(op)?;
        let Some((&length, lead)) = x.split_last() else {
            return Err(Error::rank(
                op,
                "x is a single number, expected [.., samples]",
            ));
        };
        if length == 0 {
            return Err(Error::Empty {
                op,
                message: format!("x {x:?} has no samples"),
            });
        }
        let pad = if self.center { n_fft / 2 } else { 0 };
        if self.continuation == Continuation::Reflect && pad >= length {
            return Err(Error::shape(
                op,
                format!(
                    "x {x:?} has {length} samples, expected more than {pad} to mirror for n_fft {n_fft}"
                ),
            ));
        }
        let Some(over) = (length + 2 * pad).checked_sub(n_fft) else {
            return Err(Error::shape(
                op,
                format!("x {x:?} has {length} samples, expected a frame of n_fft {n_fft}"),
            ));
        };
        Ok(Framing {
            rows: lead.iter().product(),
            length,
            frames: 1 + over / hop,
            n_fft,
            hop,
            pad,
            continuation: match pad {
                0 => Continuation::Constant,
                _ => self.continuation,
            },
        })
    }

    pub(super) fn out_shape(&self, x: &Shape, framing: &Framing) -> Result<Shape> {
        let mut dims = x.to_vec();
        dims.pop();
        dims.extend([self.bins(), framing.frames, 2]);
        Shape::new(&dims)
    }
}

/// A window of `length` between zeros, `[n_fft]`; kept on the device.
pub(super) fn made_window(
    device: &Device,
    window: Window,
    length: usize,
    n_fft: usize,
) -> Result<Tensor> {
    let mut points = vec![0.0f32; n_fft];
    let left = (n_fft - length) / 2;
    for (point, x) in points[left..].iter_mut().zip(window.points(length, true)) {
        *point = x as f32;
    }
    let bits = points.iter().map(|x| x.to_bits()).collect();
    constant(device, Name::Window(bits), || Ok((points, [n_fft])))
}

/// The points of the window between its zeros, as the device has them.
pub(super) fn twin_window(options: &Stft, window: Option<&Array>) -> Vec<f64> {
    let length = options.win_length.unwrap_or(options.n_fft);
    let points = match (window, &options.window) {
        (Some(window), _) => window.data.clone(),
        (None, StftWindow::Made(window)) => window.points(length, true),
        (None, StftWindow::Given(_)) => unreachable!("attributes give no tensor"),
    };
    let mut out = vec![0.0; options.n_fft];
    let left = (options.n_fft - length) / 2;
    for (out, x) in out[left..].iter_mut().zip(points) {
        *out = f64::from(x as f32);
    }
    out
}
