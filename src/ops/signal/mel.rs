//! y[.., m, t] = Σₖ W[m, k] x[.., k, t], W a bank of triangles that are evenly spaced in mel
//! vjp: dx = Wᵀ dy
//! source: HTK and Slaney scales as in librosa.filters.mel; Slaney 1998, Auditory Toolbox

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::ops::op::{Array, AttrDefault, AttrSpec, Attrs, Case, Domain, Meta, Signature};
use crate::ops::signal::constants::{Name, constant};
use crate::ops::signal::{Plain, X, given, no_plan};
use crate::tensor::{Shape, Tensor};
use crate::verdict::Tolerance;

/// Which formula leads from hertz to mel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MelScale {
    /// 2595 log₁₀(1 + f/700), as torchaudio's default.
    #[default]
    Htk,
    /// Linear below 1 kHz and logarithmic above, as librosa's default.
    Slaney,
}

impl MelScale {
    pub fn mel_from_hz(self, hz: f64) -> f64 {
        match self {
            MelScale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            MelScale::Slaney if hz < 1000.0 => 3.0 * hz / 200.0,
            MelScale::Slaney => 15.0 + 27.0 * (hz / 1000.0).ln() / 6.4f64.ln(),
        }
    }

    pub fn hz_from_mel(self, mel: f64) -> f64 {
        match self {
            MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            MelScale::Slaney if mel < 15.0 => 200.0 * mel / 3.0,
            MelScale::Slaney => 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp(),
        }
    }
}

/// How the triangles are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MelNorm {
    /// Their peaks are 1.
    #[default]
    None,
    /// Their areas over hertz are 1, as librosa's default.
    Slaney,
}

/// A bank of mel filters. By default HTK's scale from 0 to half the sample rate, peaks of 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MelFilters {
    sample_rate_hz: f64,
    n_mels: usize,
    f_min_hz: f64,
    f_max_hz: Option<f64>,
    scale: MelScale,
    norm: MelNorm,
}

/// Most filters of a bank.
const MOST_MELS: usize = 1 << 16;

impl MelFilters {
    pub fn new(sample_rate_hz: f64, n_mels: usize) -> Self {
        MelFilters {
            sample_rate_hz,
            n_mels,
            f_min_hz: 0.0,
            f_max_hz: None,
            scale: MelScale::Htk,
            norm: MelNorm::None,
        }
    }

    /// As `librosa.filters.mel` does by default: Slaney's scale, areas of 1.
    pub fn librosa(sample_rate_hz: f64, n_mels: usize) -> Self {
        MelFilters::new(sample_rate_hz, n_mels)
            .scale(MelScale::Slaney)
            .norm(MelNorm::Slaney)
    }

    /// Where the first triangle starts.
    pub fn f_min(mut self, hz: f64) -> Self {
        self.f_min_hz = hz;
        self
    }

    /// Where the last triangle ends; half the sample rate by default.
    pub fn f_max(mut self, hz: f64) -> Self {
        self.f_max_hz = Some(hz);
        self
    }

    pub fn scale(mut self, scale: MelScale) -> Self {
        self.scale = scale;
        self
    }

    pub fn norm(mut self, norm: MelNorm) -> Self {
        self.norm = norm;
        self
    }

    /// Corners of the triangles in hertz, `n_mels + 2`: filter m rises from corner m to m + 1 and falls to m + 2.
    pub fn band_edges_hz(&self) -> Vec<f64> {
        let top = self.f_max_hz.unwrap_or(self.sample_rate_hz / 2.0);
        let (low, high) = (
            self.scale.mel_from_hz(self.f_min_hz),
            self.scale.mel_from_hz(top),
        );
        let steps = (self.n_mels + 1) as f64;
        (0..self.n_mels + 2)
            .map(|m| {
                self.scale
                    .hz_from_mel(low + (high - low) * m as f64 / steps)
            })
            .collect()
    }

    /// The filters as rows, `[n_mels, bins]`, for bins 0 to n_fft/2 of a transform of length `n_fft`.
    pub fn weights(&self, n_fft: usize) -> Vec<f64> {
        let edges = self.band_edges_hz();
        let bins = n_fft / 2 + 1;
        let mut out = Vec::with_capacity(self.n_mels * bins);
        for m in 0..self.n_mels {
            let (low, peak, high) = (edges[m], edges[m + 1], edges[m + 2]);
            let size = match self.norm {
                MelNorm::None => 1.0,
                MelNorm::Slaney => 2.0 / (high - low),
            };
            for k in 0..bins {
                let hz = k as f64 * self.sample_rate_hz / n_fft as f64;
                let rise = (hz - low) / (peak - low);
                let fall = (high - hz) / (high - peak);
                out.push(size * rise.min(fall).max(0.0));
            }
        }
        out
    }

    /// Filters that no bin falls into, because bins are too far apart: their bands are always 0.
    pub fn empty_filters(&self, n_fft: usize) -> Vec<usize> {
        let weights = self.weights(n_fft);
        let rows = weights.chunks(n_fft / 2 + 1).enumerate();
        rows.filter(|(_, row)| row.iter().all(|w| *w == 0.0))
            .map(|(m, _)| m)
            .collect()
    }

    /// The filters on a device, `[n_mels, bins]`.
    pub fn tensor(&self, device: &Device, n_fft: usize) -> Result<Tensor> {
        self.check()?;
        let weights: Vec<f32> = self.weights(n_fft).iter().map(|w| *w as f32).collect();
        Tensor::from_slice(device, &weights, [self.n_mels, n_fft / 2 + 1])
    }

    /// As [`tensor`](Self::tensor); the same filters again are the same tensor. Warns of empty ones the first time.
    fn kept(&self, device: &Device, n_fft: usize) -> Result<Tensor> {
        let key = [
            self.sample_rate_hz.to_bits(),
            self.n_mels as u64,
            self.f_min_hz.to_bits(),
            u64::from(self.f_max_hz.is_some()),
            self.f_max_hz.unwrap_or(0.0).to_bits(),
            self.scale as u64,
            self.norm as u64,
        ];
        constant(device, Name::Filters(key, n_fft), || {
            let empty = self.empty_filters(n_fft);
            if !empty.is_empty() {
                log::warn!(
                    "mel: no bin of n_fft {n_fft} falls into filters {empty:?} of {}",
                    self.n_mels
                );
            }
            let weights = self.weights(n_fft).iter().map(|w| *w as f32).collect();
            Ok((weights, [self.n_mels, n_fft / 2 + 1]))
        })
    }

    fn check(&self) -> Result<()> {
        let top = self.f_max_hz.unwrap_or(self.sample_rate_hz / 2.0);
        let refuse = |message| Err(Error::attribute("mel", message));
        if !(self.sample_rate_hz > 0.0 && self.sample_rate_hz.is_finite()) {
            return refuse(format!(
                "sample_rate_hz is {}, expected a positive number",
                self.sample_rate_hz
            ));
        }
        if !(self.f_min_hz >= 0.0 && self.f_min_hz < top && top.is_finite()) {
            return refuse(format!(
                "bands from {} Hz to {top} Hz, expected 0 <= f_min < f_max",
                self.f_min_hz
            ));
        }
        // The filters are made on the host: a number that no spectrum needs must not take its memory.
        if !(1..=MOST_MELS).contains(&self.n_mels) {
            return refuse(format!(
                "n_mels is {}, expected 1 to {MOST_MELS}",
                self.n_mels
            ));
        }
        Ok(())
    }
}

impl Tensor {
    /// Mel bands of a spectrum of power or magnitude: HTK's scale from 0 to half the sample rate, peaks of 1.
    ///
    /// [`mel_with`](Self::mel_with) has other banks.
    pub fn mel(&self, sample_rate_hz: f64, n_mels: usize) -> Result<Tensor> {
        self.mel_with(&MelFilters::new(sample_rate_hz, n_mels))
    }

    /// Mel bands of a spectrum of power or magnitude.
    ///
    /// Shapes: `[.., bins, frames]` → `[.., n_mels, frames]`. The spectrum is taken to be that of an even n_fft,
    /// 2 (bins − 1). Filters that no bin falls into are named in a warning.
    /// Errors: [`Error::Rank`] below 2 axes, [`Error::Dtype`] unless f32, [`Error::Attribute`] for bands that are no
    /// range, [`Error::Empty`] for fewer than 2 bins.
    pub fn mel_with(&self, filters: &MelFilters) -> Result<Tensor> {
        checked(Meta::of(self), filters)?;
        let n_fft = 2 * (self.dim(self.shape().len() - 2) - 1);
        filters.kept(self.device(), n_fft)?.matmul(self)
    }
}

fn checked(x: Meta, filters: &MelFilters) -> Result<Meta> {
    super::only_f32("mel", x)?;
    filters.check()?;
    let Some(axis) = x.shape.len().checked_sub(2) else {
        return Err(Error::rank(
            "mel",
            format!("x has shape {:?}, expected [.., bins, frames]", x.shape),
        ));
    };
    if x.shape[axis] < 2 {
        return Err(Error::Empty {
            op: "mel",
            message: format!("x {:?} has fewer than 2 bins", x.shape),
        });
    }
    Ok(Meta {
        shape: x.shape.with(axis, filters.n_mels),
        ..x
    })
}

fn filters(attrs: &Attrs) -> MelFilters {
    let n_mels = usize::try_from(attrs.int("n_mels")).unwrap_or(0);
    let mut filters = MelFilters::new(attrs.float("sample_rate_hz"), n_mels)
        .f_min(attrs.float("f_min_hz"))
        .scale(match attrs.word("scale") {
            "slaney" => MelScale::Slaney,
            _ => MelScale::Htk,
        })
        .norm(match attrs.word("norm") {
            "slaney" => MelNorm::Slaney,
            _ => MelNorm::None,
        });
    if attrs.float("f_max_hz") > 0.0 {
        filters = filters.f_max(attrs.float("f_max_hz"));
    }
    filters
}

pub static MEL: Plain = Plain {
    signature: &Signature {
        name: "mel",
        formula: "y[m, t] = Σ W[m, k] x[k, t], W triangles evenly spaced in mel",
        source: "librosa.filters.mel",
        inputs: X,
        attrs: &[
            AttrSpec {
                name: "sample_rate_hz",
                default: AttrDefault::Float(16_000.0),
            },
            AttrSpec {
                name: "n_mels",
                default: AttrDefault::Int(64),
            },
            AttrSpec {
                name: "f_min_hz",
                default: AttrDefault::Float(0.0),
            },
            AttrSpec {
                name: "f_max_hz",
                default: AttrDefault::Float(0.0),
            },
            AttrSpec {
                name: "scale",
                default: AttrDefault::Choice(&["htk", "slaney"]),
            },
            AttrSpec {
                name: "norm",
                default: AttrDefault::Choice(&["none", "slaney"]),
            },
        ],
        outputs: &["y"],
    },
    infer: |inputs, attrs| checked(given(inputs, 0), &filters(attrs)),
    run: |inputs, attrs| given(inputs, 0).mel_with(&filters(attrs)),
    twin: |inputs, attrs| {
        let x: &Array = given(inputs, 0);
        let axis = x.shape.len() - 2;
        let (bins, frames) = (x.shape[axis], x.shape[axis + 1]);
        let filters = filters(attrs);
        // The weights on the device are rounded.
        let weights: Vec<f64> = filters
            .weights(2 * (bins - 1))
            .iter()
            .map(|w| f64::from(*w as f32))
            .collect();
        let mut data = Vec::new();
        for x in x.data.chunks((bins * frames).max(1)) {
            for row in weights.chunks(bins) {
                data.extend((0..frames).map(|t| {
                    row.iter()
                        .enumerate()
                        .map(|(k, w)| w * x[k * frames + t])
                        .sum::<f64>()
                }));
            }
        }
        Array::new(Shape::of(&x.shape.with(axis, filters.n_mels)), data)
    },
    tolerance: |inputs, attrs| {
        let x: &Array = given(inputs, 0);
        let bins = x.shape[x.shape.len() - 2];
        let largest = filters(attrs)
            .weights(2 * (bins - 1))
            .into_iter()
            .fold(0.0, f64::max);
        Tolerance::sum(bins, x.max_abs() * largest)
    },
    linear: true,
    flops: |inputs, attrs| {
        let x: Meta = given(inputs, 0);
        2 * x.shape.numel() as u64 * attrs.int("n_mels").max(0) as u64
    },
    cases: || {
        let case =
            |label: &str, shape: &[usize]| Case::new(label).f32(shape, Domain::Uniform(0.0, 2.0));
        vec![
            case("verify", &[2, 201, 7]),
            case("slaney", &[3, 129, 5])
                .attr("scale", "slaney")
                .attr("norm", "slaney")
                .attr("n_mels", 40i64),
            case("narrow_band", &[65, 3])
                .attr("f_min_hz", 300.0)
                .attr("f_max_hz", 3400.0)
                .attr("n_mels", 5i64),
            case("empty_filters", &[33, 2]).attr("n_mels", 80i64),
            case("one_frame", &[1, 2, 17, 1]).attr("n_mels", 1i64),
            case("no_frames", &[17, 0])
                .attr("n_mels", 2i64)
                .no_gradient(),
            case("16x201x501", &[16, 201, 501]).bench().no_gradient(),
        ]
    },
    refusals: || {
        let case = |shape: &[usize]| Case::new("refused").f32(shape, Domain::Constant(1.0));
        vec![
            ("one axis", case(&[9])),
            ("one bin", case(&[1, 5])),
            ("no filters", case(&[9, 5]).attr("n_mels", 0i64)),
            (
                "bands that end before they start",
                case(&[9, 5]).attr("f_min_hz", 9000.0),
            ),
            ("no sample rate", case(&[9, 5]).attr("sample_rate_hz", 0.0)),
        ]
    },
    // The product of matrices has the kernels.
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: no_plan,
};
