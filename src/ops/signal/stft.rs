//! y[.., k, t] = Σᵢ window[i] x[.., t hop + i − pad] exp(−2πi ki/n), x continued beyond its ends
//! vjp: dx = the frames window · Re Σₖ dy[k, t] exp(2πi ki/n) added up; what was mirrored or repeated goes back
//! source: torch.stft; the frames of librosa.stft with pad_mode given

use std::borrow::Borrow;

use crate::error::{Error, Result};
use crate::ops::op::{
    Array, Attr, AttrDefault, AttrSpec, Attrs, Case, Domain, Entry, Input, Meta, Role, Signature,
    same_device,
};
use crate::ops::signal::fft::along_rows;
use crate::ops::signal::framing::{Framing, frames, frames_kernel, overlap};
use crate::ops::signal::fused::{self, Sharing};
use crate::ops::signal::options::{CONTINUATIONS, Continuation, Stft, twin_window};
use crate::ops::signal::rfft::{half_rows, real_rows};
use crate::ops::signal::stft_fused::{self, Variant};
use crate::ops::signal::transform::{dense, root};
use crate::ops::signal::window::{WINDOWS, Window};
use crate::ops::signal::{
    F32, Plain, entry, given, length, resized, transform_flops, transform_tolerance,
};
use crate::tape::{self, no_grad};
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// The short-time Fourier transform: spectra of windowed frames.
    ///
    /// Shapes: `[.., samples]` → `[.., bins, frames, 2]`, bins = n_fft/2 + 1, with centred frames of an even n_fft
    /// frames = 1 + samples / hop. Mind that a hop beyond n_fft leaves samples out.
    /// Errors: [`Error::Attribute`] for sizes that do not go together, [`Error::Shape`] if the signal is shorter than a
    /// frame or than what is to be mirrored, [`Error::Empty`] without samples, [`Error::Dtype`] unless f32.
    pub fn stft(&self, options: impl Borrow<Stft>) -> Result<Tensor> {
        let options = options.borrow();
        super::only_f32("stft", Meta::of(self))?;
        if let Some(window) = options.given_window() {
            same_device("stft", &[self, window])?;
        }
        let framing = options.framing(self.shape())?;
        let shape = options.out_shape(self.shape(), &framing)?;
        let window = options.window_on(self)?;
        let scale = match options.normalized {
            true => 1.0 / (framing.n_fft as f64).sqrt(),
            false => 1.0,
        };
        let onesided = options.onesided;
        let y = spectra(self, &window, framing, onesided, scale, shape)?;
        let inner = *self.shape();
        Ok(tape::record("stft", &[self], y, move |dy, sink| {
            sink.give(
                0,
                adjoint(dy, &window, framing, onesided, scale)?.reshape(inner)?,
            )
        }))
    }
}

/// Spectra of frames, `[.., bins, frames, 2]`.
fn spectra(
    x: &Tensor,
    window: &Tensor,
    framing: Framing,
    onesided: bool,
    scale: f64,
    shape: Shape,
) -> Result<Tensor> {
    if shape.numel() == 0 {
        return Tensor::empty(x.device(), DType::F32, shape);
    }
    let x = dense(x, 4)?;
    if onesided {
        if let Some(y) = fused_spectra(&x, window, framing, scale, 1.0)? {
            return y.reshape(shape);
        }
    }
    let cut = frames(&x, window, framing)?;
    transposed_spectra(&cut, framing, onesided.then_some(1.0), scale, shape)
}

/// Spectra `[rows, bins, frames, 2]` by one kernel, bins with a mirror image times `interior`; `None` where there is
/// none for this length. `x` and `window` are dense from offsets that are multiples of 4.
pub(super) fn fused_spectra(
    x: &Tensor,
    window: &Tensor,
    framing: Framing,
    scale: f64,
    interior: f64,
) -> Result<Option<Tensor>> {
    stft_fused::spectra((&STFT, "stft_frames"), x, window, framing, scale, interior)
}

/// Spectra of frames that are there, `[rows · frames, n_fft]`: half of their bins, those with a mirror image times
/// `interior`, or all of them.
pub(super) fn transposed_spectra(
    cut: &Tensor,
    framing: Framing,
    interior: Option<f64>,
    scale: f64,
    shape: Shape,
) -> Result<Tensor> {
    no_grad(|| {
        let y = if let Some(interior) = interior {
            real_rows(cut, framing.n_fft, scale, interior)?
        } else {
            let complex = resized(&cut.unsqueeze(-1)?, 2, 2)?;
            along_rows(&complex, framing.n_fft, false, scale)?
        };
        let rank = shape.len();
        let mut dims = shape.to_vec();
        dims.swap(rank - 3, rank - 2);
        swapped(&y.reshape(dims)?)
    })
}

/// With bins and frames exchanged.
pub(super) fn swapped(x: &Tensor) -> Result<Tensor> {
    let rank = x.shape().len() as i64;
    let mut order: Vec<i64> = (0..rank).collect();
    order.swap(rank as usize - 3, rank as usize - 2);
    x.permute(&order)
}

/// The transpose of [`spectra`]. → `[rows, length]`
fn adjoint(
    dy: &Tensor,
    window: &Tensor,
    framing: Framing,
    onesided: bool,
    scale: f64,
) -> Result<Tensor> {
    if dy.numel() == 0 {
        let shape = Shape::new(&[framing.rows, framing.length])?;
        return Tensor::full(dy.device(), 0.0f32, shape);
    }
    no_grad(|| {
        let dy = swapped(&dy.detach())?;
        let cut = if onesided {
            // Every bin once, so those with a mirror image count half.
            half_rows(&dy, framing.n_fft, scale, 0.5)?
        } else {
            along_rows(&dy, framing.n_fft, true, scale)?.narrow(-1, 0, 1)?
        };
        overlap(&dense(&cut, 1)?, window, None, framing)
    })
}

/// The options of attributes.
pub(super) fn options(op: &'static str, attrs: &Attrs, window: Option<&Tensor>) -> Result<Stft> {
    let Some(n_fft) = length(op, attrs, "n_fft")? else {
        return Err(Error::attribute(
            op,
            "n_fft is 0, expected a positive number",
        ));
    };
    let mut options = Stft::new(n_fft)
        .window(Window::of(attrs.word("window")))
        .center(attrs.bool("center"))
        .normalized(attrs.bool("normalized"))
        .onesided(attrs.bool("onesided"));
    options.hop = length(op, attrs, "hop_length")?;
    options.win_length = length(op, attrs, "win_length")?;
    if let Some(window) = window {
        options = options.window_tensor(window);
    }
    Ok(options)
}

/// As [`options`], of the transform.
fn forward_options(attrs: &Attrs, window: Option<&Tensor>) -> Result<Stft> {
    let options = options("stft", attrs, window)?;
    Ok(options.pad_mode(match attrs.word("pad_mode") {
        "constant" => Continuation::Constant,
        "replicate" => Continuation::Replicate,
        _ => Continuation::Reflect,
    }))
}

/// Refuses another window than `sizes` wants, before there is one.
pub(super) fn check_window(op: &'static str, window: Option<Meta>, length: usize) -> Result<()> {
    match window {
        Some(window) if window.shape[..] != [length] => Err(Error::shape(
            op,
            format!(
                "window has shape {:?}, expected [{length}], the length of the window",
                window.shape
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) const OPTIONS: [AttrSpec; 7] = [
    AttrSpec {
        name: "n_fft",
        default: AttrDefault::Int(400),
    },
    AttrSpec {
        name: "hop_length",
        default: AttrDefault::Int(0),
    },
    AttrSpec {
        name: "win_length",
        default: AttrDefault::Int(0),
    },
    AttrSpec {
        name: "window",
        default: AttrDefault::Choice(WINDOWS),
    },
    AttrSpec {
        name: "center",
        default: AttrDefault::Bool(true),
    },
    AttrSpec {
        name: "normalized",
        default: AttrDefault::Bool(false),
    },
    AttrSpec {
        name: "onesided",
        default: AttrDefault::Bool(true),
    },
];

const ATTRS: &[AttrSpec] = &[
    OPTIONS[0],
    OPTIONS[1],
    OPTIONS[2],
    OPTIONS[3],
    OPTIONS[4],
    OPTIONS[5],
    OPTIONS[6],
    AttrSpec {
        name: "pad_mode",
        default: AttrDefault::Choice(CONTINUATIONS),
    },
];

fn twin(inputs: &[Option<&Array>], attrs: &Attrs) -> Array {
    let x: &Array = given(inputs, 0);
    let options = forward_options(attrs, None).expect("infer checked them");
    let f = options.framing(&x.shape).expect("infer checked it");
    let shape = options.out_shape(&x.shape, &f).expect("infer checked it");
    let window = twin_window(&options, inputs[1]);
    let scale = match options.normalized {
        true => 1.0 / (f.n_fft as f64).sqrt(),
        false => 1.0,
    };
    let roots: Vec<(f64, f64)> = (0..f.n_fft).map(|k| root(k, f.n_fft)).collect();
    let last = f.length as i64 - 1;
    let mut y = Array::zeros(shape);
    let size = 2 * options.bins() * f.frames;
    for (x, y) in x.data.chunks(f.length).zip(y.data.chunks_mut(size.max(1))) {
        for t in 0..f.frames {
            let frame: Vec<f64> = (0..f.n_fft)
                .map(|i| {
                    let at = (t * f.hop + i) as i64 - f.pad as i64;
                    let at = match f.continuation {
                        Continuation::Constant if at < 0 || at > last => return 0.0,
                        Continuation::Constant => at,
                        Continuation::Replicate => at.clamp(0, last),
                        Continuation::Reflect if at < 0 => -at,
                        Continuation::Reflect if at > last => 2 * last - at,
                        Continuation::Reflect => at,
                    };
                    window[i] * x[at as usize]
                })
                .collect();
            for k in 0..options.bins() {
                let mut sum = (0.0, 0.0);
                for (i, sample) in frame.iter().enumerate() {
                    let (re, im) = roots[i * k % f.n_fft];
                    sum = (sum.0 + sample * re, sum.1 + sample * im);
                }
                let place = 2 * (k * f.frames + t);
                y[place] = scale * sum.0;
                y[place + 1] = scale * sum.1;
            }
        }
    }
    y
}

fn cases() -> Vec<Case> {
    let case = |label: &str, shape: &[usize], n_fft: i64, hop: i64| {
        Case::new(label)
            .f32(shape, Domain::Uniform(-1.0, 1.0))
            .attr("n_fft", n_fft)
            .attr("hop_length", hop)
    };
    let window = |case: Case, n: usize| case.f32(&[n], Domain::Uniform(-1.0, 1.0));
    vec![
        window(case("verify", &[2, 131], 26, 7), 20).attr("win_length", 20i64),
        window(case("fused", &[3, 500], 48, 12), 40).attr("win_length", 40i64),
        case("fused_unaligned", &[3, 331], 40, 7)
            .absent()
            .attr("window", "hamming"),
        case("fused_by_ends", &[11, 128], 64, 16)
            .absent()
            .attr("pad_mode", "replicate"),
        case("constant", &[3, 50], 16, 5)
            .absent()
            .attr("pad_mode", "constant"),
        case("replicate", &[3, 50], 16, 5)
            .absent()
            .attr("pad_mode", "replicate"),
        case("longest_mirror", &[2, 9], 16, 3).absent(),
        case("odd_n_fft", &[2, 61], 15, 4)
            .absent()
            .attr("window", "hamming"),
        case("prime_n_fft", &[2, 80], 37, 11)
            .absent()
            .attr("window", "blackman"),
        case("not_centred", &[2, 3, 64], 16, 16)
            .absent()
            .attr("center", false),
        case("leaves_samples_out", &[64], 8, 11)
            .absent()
            .attr("center", false),
        case("ragged_end", &[2, 67], 16, 4)
            .absent()
            .attr("center", false)
            .attr("window", "bartlett"),
        case("twosided", &[2, 40], 12, 5)
            .absent()
            .attr("onesided", false)
            .attr("normalized", true),
        case("default_hop", &[2, 70], 32, 0)
            .absent()
            .attr("normalized", true),
        case("one_sample", &[2, 1], 1, 1)
            .absent()
            .attr("window", "rectangular"),
        case("one_sample_repeated", &[2, 1], 6, 2)
            .absent()
            .attr("pad_mode", "replicate"),
        window(case("any_window", &[1, 90], 40, 13), 40),
        Case::new("silent_signal")
            .f32(&[2, 60], Domain::Constant(0.0))
            .absent()
            .attr("n_fft", 16i64),
        Case::new("far_from_zero")
            .f32(&[2, 60], Domain::Offset(1e3, 1.0))
            .absent()
            .attr("n_fft", 16i64),
        case("no_rows", &[0, 64], 16, 4).absent().no_gradient(),
        case("16x80000_400_160", &[16, 80_000], 400, 160)
            .absent()
            .bench()
            .no_gradient(),
        case("16x80000_512_160", &[16, 80_000], 512, 160)
            .absent()
            .attr("win_length", 400i64)
            .bench()
            .no_gradient(),
        case("4x110250_1024_256", &[4, 110_250], 1024, 256)
            .absent()
            .bench()
            .no_gradient(),
        case("4x110250_441_220", &[4, 110_250], 441, 220)
            .absent()
            .bench()
            .no_gradient(),
    ]
}

pub static STFT: Plain = Plain {
    signature: &Signature {
        name: "stft",
        formula: "y[k, t] = Σ window[i] x[t hop + i − pad] exp(−2πi ki/n)",
        source: "torch.stft",
        inputs: &[
            Input::grad("x", F32),
            Input::plain("window", F32).optional(),
        ],
        attrs: ATTRS,
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x: Meta = given(inputs, 0);
        let options = forward_options(attrs, None)?;
        let framing = options.framing(&x.shape)?;
        check_window("stft", inputs[1], options.sizes("stft")?.2)?;
        Ok(Meta {
            shape: options.out_shape(&x.shape, &framing)?,
            ..x
        })
    },
    run: |inputs, attrs| given(inputs, 0).stft(forward_options(attrs, inputs[1])?),
    twin,
    tolerance: |inputs, attrs| {
        let n = attrs.int("n_fft").max(1) as usize;
        let largest = inputs[1].map_or(1.0, Array::max_abs);
        let scale = match attrs.bool("normalized") {
            true => 1.0 / (n as f64).sqrt(),
            false => 1.0,
        };
        transform_tolerance(n, largest * given(inputs, 0).max_abs(), scale)
    },
    linear: true,
    flops: |inputs, attrs| {
        let x: Meta = given(inputs, 0);
        let framing = forward_options(attrs, None).and_then(|o| o.framing(&x.shape));
        framing.map_or(0, |f| {
            let n = f.n_fft as u64;
            (f.rows * f.frames) as u64 * (n + transform_flops(f.n_fft) / 2)
        })
    },
    cases,
    refusals: || {
        let case = |shape: &[usize]| Case::new("refused").f32(shape, Domain::Constant(1.0));
        let sized = |shape: &[usize]| case(shape).absent().attr("n_fft", 8i64);
        vec![
            ("a single number", sized(&[])),
            ("no samples", sized(&[2, 0])),
            ("less than a frame", sized(&[2, 7]).attr("center", false)),
            ("less than the mirror image", sized(&[2, 4])),
            ("no n_fft", case(&[2, 9]).absent().attr("n_fft", 0i64)),
            ("a negative hop", sized(&[2, 9]).attr("hop_length", -1i64)),
            (
                "a window beyond n_fft",
                sized(&[2, 9]).attr("win_length", 9i64),
            ),
            (
                "a window of another length",
                case(&[2, 9])
                    .f32(&[7], Domain::Constant(1.0))
                    .attr("n_fft", 8i64),
            ),
            (
                "a window of integers",
                case(&[2, 9])
                    .input(&[8], DType::I32, Domain::Constant(1.0))
                    .attr("n_fft", 8i64),
            ),
        ]
    },
    entries,
    further: |name, variant| {
        let variant = (name == stft_fused::ENTRY).then(|| Variant::of(variant))?;
        variant.sharing.is_possible().then(|| variant.entry())
    },
    verify,
    tries: |entry, case| {
        let n = case.attrs.iter().find(|(name, _)| *name == "n_fft");
        let fits = matches!(n, Some((_, Attr::Int(n))) if fused::split(*n as usize).is_some());
        entry.name() == "stft_frames" || fits
    },
    plan: |_, attrs, caps| Some(stft_fused::plan_line(attrs.int("n_fft") as usize, caps)),
};

/// Both ways of sharing a frame, and frames at the ends and inside.
fn entries() -> Vec<Entry> {
    let mut out = vec![entry(frames_kernel(), Role::Forward)];
    for sharing in Sharing::listed() {
        for interior in [false, true] {
            out.push(Variant { sharing, interior }.entry());
        }
    }
    out
}

/// Frames that overlap by half or, for the general entry, lie at odd places.
fn verify(entry: &Entry) -> Option<Case> {
    if entry.name() != stft_fused::ENTRY {
        return None;
    }
    let Variant { sharing, interior } = Variant::of(entry.variant);
    let n = sharing.n;
    let hop = n / 2 - usize::from(!interior);
    let length = hop * (sharing.tried_frames() - 1);
    let case = Case::new("verify").f32(&[2, length], Domain::Uniform(-1.0, 1.0));
    Some(
        case.absent()
            .attr("n_fft", n as i64)
            .attr("hop_length", hop as i64),
    )
}
