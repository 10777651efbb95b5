//! y[i] = Σₜ window[p − t hop] frame[t, p − t hop] / Σₜ window[p − t hop]², p = i + pad, frames = inverse transforms of x
//! vjp: dx[k, t] = c[k] / n · the transform of window · (dy / envelope) over frame t; c = 1 without a mirror image, or 2
//! source: torch.istft; Griffin & Lim 1984, IEEE ASSP 32(2)

use std::borrow::Borrow;

use crate::error::{Error, Result};
use crate::ops::op::{
    Array, Attr, AttrDefault, AttrSpec, Attrs, Case, Domain, Entry, Input, Meta, Role, Signature,
    same_device,
};
use crate::ops::signal::fft::along_rows;
use crate::ops::signal::framing::{Framing, frames, overlap, overlap_kernel, quads_kernel};
use crate::ops::signal::options::{Continuation, Stft, twin_window};
use crate::ops::signal::rfft::half_rows;
use crate::ops::signal::stft::{
    OPTIONS, check_window, fused_spectra, options, swapped, transposed_spectra,
};
use crate::ops::signal::transform::{dense, root};
use crate::ops::signal::{
    F32, Plain, entry, given, length, no_plan, transform_flops, transform_tolerance,
};
use crate::tape::{self, no_grad};
use crate::tensor::{DType, Shape, Tensor};

/// The least sum of squared windows that is divided by, as in torch.
const LEAST_ENVELOPE: f64 = 1e-11;

impl Tensor {
    /// The signal whose short-time spectra are closest to these: the inverse of [`stft`](Self::stft).
    ///
    /// Shapes: `[.., bins, frames, 2]` → `[.., samples]`: hop · (frames − 1) samples of centred frames of an even
    /// n_fft, or `length`, cut or filled up with zeros. How the signal was continued does not matter. Imaginary parts
    /// of bins without a mirror image do not count. A window given as a tensor is read back, which waits for the device.
    /// Errors: [`Error::Shape`] if the bins are not those of n_fft, [`Error::Attribute`] where the windows over a
    /// sample that is wanted add up to nothing, [`Error::Empty`] without frames, [`Error::Dtype`] unless f32.
    pub fn istft(&self, options: impl Borrow<Stft>, length: Option<usize>) -> Result<Tensor> {
        let options = options.borrow();
        super::only_f32("istft", Meta::of(self))?;
        if let Some(window) = options.given_window() {
            same_device("istft", &[self, window])?;
        }
        let (framing, shape) = framing(self.shape(), options, length)?;
        let gains = gains(&options.window_points()?, &framing)?;
        if shape.numel() == 0 {
            return Tensor::empty(self.device(), DType::F32, shape);
        }
        let window = options.window_on(self)?;
        let gains: Vec<f32> = gains.into_iter().map(|g| g as f32).collect();
        let gain = Tensor::from_slice(self.device(), &gains, [gains.len()])?;
        let n = framing.n_fft;
        let scale = scale(options.normalized, n);
        let onesided = options.onesided;
        let y = no_grad(|| -> Result<Tensor> {
            let x = swapped(&self.detach())?;
            let cut = match onesided {
                true => half_rows(&x, n, scale, 1.0)?,
                false => along_rows(&x, n, true, scale)?.narrow(-1, 0, 1)?,
            };
            overlap(&dense(&cut, 1)?, &window, Some(&gain), framing)?.reshape(shape)
        })?;
        let inner = *self.shape();
        Ok(tape::record("istft", &[self], y, move |dy, sink| {
            let dx = no_grad(|| -> Result<Tensor> {
                let weighed = dense(&dy.mul(&gain)?, 4)?;
                if onesided {
                    if let Some(dx) = fused_spectra(&weighed, &window, framing, scale, 2.0)? {
                        return dx.reshape(inner);
                    }
                }
                let cut = frames(&weighed, &window, framing)?;
                transposed_spectra(&cut, framing, onesided.then_some(2.0), scale, inner)
            })?;
            sink.give(0, dx)
        }))
    }
}

/// Of the inverse transforms.
fn scale(normalized: bool, n: usize) -> f64 {
    match normalized {
        true => 1.0 / (n as f64).sqrt(),
        false => 1.0 / n as f64,
    }
}

/// Where the frames lie over the samples that are wanted, and the shape of these.
fn framing(x: &Shape, options: &Stft, length: Option<usize>) -> Result<(Framing, Shape)> {
    let op = "istft";
    let (n_fft, hop, _) = options.sizes(op)?;
    let rank = x.len();
    if rank < 3 || x[rank - 1] != 2 || x[rank - 3] != options.bins() {
        return Err(Error::shape(
            op,
            format!(
                "x has shape {x:?}, expected [.., {}, frames, 2] for n_fft {n_fft}",
                options.bins()
            ),
        ));
    }
    let frames = x[rank - 2];
    if frames == 0 {
        return Err(Error::Empty {
            op,
            message: format!("x {x:?} has no frames"),
        });
    }
    let pad = if options.center { n_fft / 2 } else { 0 };
    let whole = n_fft + hop * (frames - 1);
    let length = length.unwrap_or(whole.saturating_sub(2 * pad));
    let mut dims = x[..rank - 3].to_vec();
    dims.push(length);
    let framing = Framing {
        rows: x[..rank - 3].iter().product(),
        length,
        frames,
        n_fft,
        hop,
        pad,
        continuation: Continuation::Constant,
    };
    Ok((framing, Shape::new(&dims)?))
}

/// One over the sum of squared windows at each sample; 0 beyond the last frame, where nothing is divided.
fn gains(window: &[f64], f: &Framing) -> Result<Vec<f64>> {
    let whole = f.n_fft + f.hop * (f.frames - 1);
    let mut envelope = vec![0.0; whole];
    for t in 0..f.frames {
        for (sum, w) in envelope[t * f.hop..].iter_mut().zip(window) {
            *sum += w * w;
        }
    }
    (0..f.length)
        .map(|i| match envelope.get(i + f.pad) {
            None => Ok(0.0),
            Some(sum) if *sum > LEAST_ENVELOPE => Ok(1.0 / sum),
            Some(sum) => Err(Error::attribute(
                "istft",
                format!(
                    "squared windows add up to {sum:e} at sample {i}, expected more than {LEAST_ENVELOPE:e}; n_fft {}, hop_length {}",
                    f.n_fft, f.hop
                ),
            )),
        })
        .collect()
}

const ATTRS: &[AttrSpec] = &[
    OPTIONS[0],
    OPTIONS[1],
    OPTIONS[2],
    OPTIONS[3],
    OPTIONS[4],
    OPTIONS[5],
    OPTIONS[6],
    AttrSpec {
        name: "length",
        default: AttrDefault::Int(0),
    },
];

fn twin(inputs: &[Option<&Array>], attrs: &Attrs) -> Array {
    let x: &Array = given(inputs, 0);
    let options = options("istft", attrs, None).expect("infer checked them");
    let wanted = length("istft", attrs, "length").expect("infer checked it");
    let (f, shape) = framing(&x.shape, &options, wanted).expect("infer checked it");
    let window = twin_window(&options, inputs[1]);
    let n = f.n_fft;
    let bins = options.bins();
    let scale = scale(options.normalized, n);
    let roots: Vec<(f64, f64)> = (0..n).map(|k| root(k, n)).collect();
    let whole = n + f.hop * (f.frames - 1);
    let mut y = Array::zeros(shape);
    let size = 2 * bins * f.frames;
    for (x, y) in x.data.chunks(size).zip(y.data.chunks_mut(f.length.max(1))) {
        let (mut sums, mut envelope) = (vec![0.0; whole], vec![0.0; whole]);
        for t in 0..f.frames {
            for i in 0..n {
                let mut sample = 0.0;
                for k in 0..bins {
                    let place = 2 * (k * f.frames + t);
                    let (re, im) = (x[place], x[place + 1]);
                    let (cos, sin) = roots[i * k % n];
                    let single = k == 0 || 2 * k == n;
                    sample += match (options.onesided, single) {
                        (false, _) => re * cos + im * sin,
                        (true, true) => re * cos,
                        (true, false) => 2.0 * (re * cos + im * sin),
                    };
                }
                sums[t * f.hop + i] += window[i] * sample * scale;
                envelope[t * f.hop + i] += window[i] * window[i];
            }
        }
        for (i, y) in y.iter_mut().enumerate() {
            *y = match sums.get(i + f.pad) {
                Some(sum) => sum / envelope[i + f.pad],
                None => 0.0,
            };
        }
    }
    y
}

pub static ISTFT: Plain = Plain {
    signature: &Signature {
        name: "istft",
        formula: "y = Σ window · frame / Σ window², frames = inverse transforms of x",
        source: "torch.istft",
        inputs: &[
            Input::grad("x", F32),
            Input::plain("window", F32).optional(),
        ],
        attrs: ATTRS,
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x: Meta = given(inputs, 0);
        let options = options("istft", attrs, None)?;
        let (f, shape) = framing(&x.shape, &options, length("istft", attrs, "length")?)?;
        check_window("istft", inputs[1], options.sizes("istft")?.2)?;
        if inputs[1].is_none() {
            gains(&options.window_points()?, &f)?;
        }
        Ok(Meta { shape, ..x })
    },
    run: |inputs, attrs| {
        let options = options("istft", attrs, inputs[1])?;
        given(inputs, 0).istft(options, length("istft", attrs, "length")?)
    },
    twin,
    tolerance: |inputs, attrs| tolerance(inputs, attrs),
    linear: true,
    flops: |inputs, attrs| {
        let x: Meta = given(inputs, 0);
        let n = attrs.int("n_fft").max(1) as usize;
        let rank = x.shape.len().max(3);
        let spectra = x.shape.numel() / (2 * x.shape[rank - 3].max(1));
        spectra as u64 * (transform_flops(n) / 2 + 4 * n as u64)
    },
    cases: || {
        let case = |label: &str, shape: &[usize], n_fft: i64, hop: i64| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("n_fft", n_fft)
                .attr("hop_length", hop)
        };
        vec![
            case("verify", &[2, 13, 12, 2], 24, 8)
                .f32(&[20], Domain::Uniform(0.5, 1.0))
                .attr("win_length", 20i64),
            case("odd_hop", &[2, 13, 12, 2], 24, 7)
                .f32(&[20], Domain::Uniform(0.5, 1.0))
                .attr("win_length", 20i64),
            case("length_cut", &[3, 9, 8, 2], 16, 4)
                .absent()
                .attr("length", 25i64),
            case("length_beyond", &[2, 9, 5, 2], 16, 4)
                .absent()
                .attr("length", 40i64),
            case("odd_n_fft", &[2, 8, 7, 2], 15, 4)
                .absent()
                .attr("window", "hamming"),
            case("prime_n_fft", &[2, 19, 4, 2], 37, 11)
                .absent()
                .attr("window", "hamming"),
            case("not_centred", &[2, 1, 9, 5, 2], 16, 8)
                .absent()
                .attr("center", false)
                .attr("window", "hamming"),
            case("twosided", &[2, 12, 6, 2], 12, 5)
                .absent()
                .attr("window", "hamming")
                .attr("onesided", false)
                .attr("normalized", true),
            case("default_hop", &[17, 6, 2], 32, 0)
                .absent()
                .attr("normalized", true),
            case("no_rows", &[0, 9, 3, 2], 16, 4).absent().no_gradient(),
            case("16x201x501", &[16, 201, 501, 2], 400, 160)
                .absent()
                .bench()
                .no_gradient(),
        ]
    },
    refusals: || {
        let case = |shape: &[usize]| {
            Case::new("refused")
                .f32(shape, Domain::Constant(1.0))
                .absent()
                .attr("n_fft", 8i64)
        };
        vec![
            ("no axis of frames", case(&[5, 2])),
            ("bins of another n_fft", case(&[2, 6, 4, 2])),
            ("real numbers", case(&[2, 5, 4, 3])),
            ("no frames", case(&[2, 5, 0, 2])),
            (
                "an envelope that vanishes",
                case(&[2, 5, 4, 2])
                    .attr("hop_length", 8i64)
                    .attr("center", false),
            ),
            (
                "a negative length",
                case(&[2, 5, 4, 2]).attr("length", -3i64),
            ),
            (
                "a hop beyond the window",
                case(&[2, 5, 4, 2]).attr("hop_length", 9i64),
            ),
        ]
    },
    entries: || {
        vec![
            Entry {
                rung: "quads",
                ..entry(quads_kernel(), Role::Forward)
            },
            entry(overlap_kernel(), Role::Forward),
        ]
    },
    further: |_, _| None,
    // By samples at odd places, which nothing else serves.
    verify: |entry| {
        let odd = || (ISTFT.cases)().into_iter().find(|c| c.label == "odd_hop");
        (entry.name() == "istft_overlap").then(odd).flatten()
    },
    tries: |entry, case| entry.name() == "istft_overlap" || of_quads(case),
    plan: no_plan,
};

/// Whether all sizes of a case are made of quads.
fn of_quads(case: &Case) -> bool {
    let int = |wanted: &str| match case.attrs.iter().find(|(name, _)| *name == wanted) {
        Some((_, Attr::Int(n))) => *n,
        _ => 0,
    };
    let (n_fft, length) = (int("n_fft"), int("length"));
    let hop = match int("hop_length") {
        0 => n_fft / 4,
        hop => hop,
    };
    n_fft % 8 == 0 && hop % 4 == 0 && length % 4 == 0
}

fn tolerance(inputs: &[Option<&Array>], attrs: &Attrs) -> crate::verdict::Tolerance {
    let x: &Array = given(inputs, 0);
    let n = attrs.int("n_fft").max(1) as usize;
    let normalized = attrs.bool("normalized");
    // The errors of frames are weighed and divided as the frames are: by at most the largest window over the least sum
    // of its squares.
    let growth = options("istft", attrs, None)
        .and_then(|options| {
            let wanted = length("istft", attrs, "length")?;
            let (f, _) = framing(&x.shape, &options, wanted)?;
            let window = twin_window(&options, inputs[1]);
            let largest = window.iter().fold(0.0f64, |m, w| m.max(w.abs()));
            let gain = gains(&window, &f)?.into_iter().fold(0.0, f64::max);
            Ok((largest * gain).max(1.0) * f.n_fft.div_ceil(f.hop) as f64)
        })
        .unwrap_or(1.0);
    transform_tolerance(n, 2.0 * x.max_abs() * growth, scale(normalized, n))
}
