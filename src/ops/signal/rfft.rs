//! y   = Σⱼ x[j] exp(−2πi jk/n) for k = 0 … n/2, of real x
//! vjp: dx = Re Σₖ dy[k] exp(2πi jk/n) over these k
//! source: torch.fft.rfft

use crate::error::Error;
use crate::error::Result;
use crate::ops::op::{Array, AttrDefault, AttrSpec, Case, Domain, Meta, Op, Role, Signature};
use crate::ops::signal::framing::Framing;
use crate::ops::signal::fused::{self, Sharing, real_line};
use crate::ops::signal::options::{Continuation, made_window};
use crate::ops::signal::stft_fused::{self, Variant};
use crate::ops::signal::transform::{dense, inverse_real, rfft_kernel, root, transform_real};
use crate::ops::signal::window::Window;
use crate::ops::signal::{
    NORM, Norm, Plain, X, asked_length, entry, given, irfft_fused, length, resized, some_length,
    transform_flops, transform_tolerance,
};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// The Fourier transform of real rows: the bins that their mirror images repeat are left out.
    ///
    /// Shapes: `[.., n]` → `[.., n/2 + 1, 2]`. 1 2 3 4 gives 10, −2 + 2i, −2.
    /// Errors: [`Error::Rank`] for rank 0, [`Error::Dtype`] unless f32, [`Error::Empty`] if n is 0.
    pub fn rfft(&self) -> Result<Tensor> {
        self.rfft_with(None, Norm::Backward)
    }

    /// As [`rfft`](Self::rfft), of rows cut or filled up with zeros to `n`, divided as `norm` says.
    pub fn rfft_with(&self, n: Option<usize>, norm: Norm) -> Result<Tensor> {
        let (_, n) = checked(Meta::of(self), n)?;
        let x = resized(self, self.shape().len() - 1, n)?;
        let scale = norm.scale(n, false);
        let y = real_rows(&x, n, scale, 1.0)?;
        Ok(tape::record("rfft", &[&x], y, move |dy, sink| {
            // Every bin once, so those with a mirror image count half.
            sink.give(0, half_rows(dy, n, scale, 0.5)?)
        }))
    }
}

/// Bins of all rows of `x [.., n]`, which may lie anyhow.
pub(super) fn real_rows(x: &Tensor, n: usize, scale: f64, interior: f64) -> Result<Tensor> {
    let mut dims = x.shape().to_vec();
    dims.pop();
    dims.extend([n / 2 + 1, 2]);
    let shape = Shape::new(&dims)?;
    if x.numel() == 0 {
        return Tensor::empty(x.device(), DType::F32, shape);
    }
    let rows = x.numel() / n;
    let y = match fused_rows(x, rows, n, scale, interior)? {
        Some(y) => y,
        None => transform_real(&dense(x, 2)?, rows, n, scale, interior)?,
    };
    y.reshape(shape)
}

/// The same by one kernel, in which a row is a frame that nothing is cut from; `None` where there is none.
fn fused_rows(
    x: &Tensor,
    rows: usize,
    n: usize,
    scale: f64,
    interior: f64,
) -> Result<Option<Tensor>> {
    if fused::split(n).is_none() {
        return Ok(None);
    }
    let framing = Framing {
        rows,
        length: n,
        frames: 1,
        n_fft: n,
        hop: n,
        pad: 0,
        continuation: Continuation::Constant,
    };
    let ones = made_window(x.device(), Window::Rectangular, n, n)?;
    let names: (&'static dyn Op, _) = (&RFFT, "rfft");
    stft_fused::spectra(names, &dense(x, 4)?, &ones, framing, scale, interior)
}

/// Rows of `n` numbers from half spectra `x [.., n/2 + 1, 2]`, which may lie anyhow.
pub(super) fn half_rows(x: &Tensor, n: usize, scale: f64, interior: f64) -> Result<Tensor> {
    let mut dims = x.shape().to_vec();
    dims.truncate(dims.len() - 2);
    dims.push(n);
    let shape = Shape::new(&dims)?;
    if x.numel() == 0 {
        return Tensor::empty(x.device(), DType::F32, shape);
    }
    if let Some(y) = irfft_fused::rows(x, n, scale, interior)? {
        return y.reshape(shape);
    }
    let rows = x.numel() / (2 * (n / 2 + 1));
    inverse_real(&dense(x, 2)?, rows, n, scale, interior)?.reshape(shape)
}

fn checked(x: Meta, n: Option<usize>) -> Result<(Meta, usize)> {
    super::only_f32("rfft", x)?;
    let Some(axis) = x.shape.len().checked_sub(1) else {
        return Err(Error::rank("rfft", "x is a single number, expected rows"));
    };
    let n = some_length("rfft", &x.shape, axis, n.unwrap_or(x.shape[axis]))?;
    let mut dims = x.shape.with(axis, n / 2 + 1).to_vec();
    dims.push(2);
    let shape = Shape::new(&dims)?;
    Ok((Meta { shape, ..x }, n))
}

/// The length of a transform of `held` numbers; 0 leaves it to them.
fn n_of(held: usize, asked: i64) -> usize {
    match asked {
        0 => held,
        n => n as usize,
    }
}

fn of_rows(sharing: Sharing) -> Variant {
    Variant {
        sharing,
        interior: true,
    }
}

pub static RFFT: Plain = Plain {
    signature: &Signature {
        name: "rfft",
        formula: "y[k] = Σ x[j] exp(−2πi jk/n), k ≤ n/2",
        source: "torch.fft.rfft",
        inputs: X,
        attrs: &[
            AttrSpec {
                name: "n",
                default: AttrDefault::Int(0),
            },
            NORM,
        ],
        outputs: &["y"],
    },
    infer: |inputs, attrs| Ok(checked(given(inputs, 0), length("rfft", attrs, "n")?)?.0),
    run: |inputs, attrs| given(inputs, 0).rfft_with(length("rfft", attrs, "n")?, Norm::of(attrs)),
    twin: |inputs, attrs| {
        let x: &Array = given(inputs, 0);
        let held = x.shape[x.shape.len() - 1];
        let n = n_of(held, attrs.int("n"));
        let scale = Norm::of(attrs).scale(n, false);
        let roots: Vec<(f64, f64)> = (0..n).map(|k| root(k, n)).collect();
        let mut dims = x.shape.to_vec();
        dims.pop();
        dims.extend([n / 2 + 1, 2]);
        let mut y = Array::zeros(Shape::of(&dims));
        for (x, y) in x
            .data
            .chunks(held.max(1))
            .zip(y.data.chunks_mut(2 * (n / 2 + 1)))
        {
            for (k, y) in y.chunks_mut(2).enumerate() {
                for j in 0..held.min(n) {
                    let (re, im) = roots[j * k % n];
                    y[0] += scale * x[j] * re;
                    y[1] += scale * x[j] * im;
                }
            }
        }
        y
    },
    tolerance: |inputs, attrs| {
        let x: &Array = given(inputs, 0);
        let n = n_of(x.shape[x.shape.len() - 1], attrs.int("n"));
        transform_tolerance(n, x.max_abs(), Norm::of(attrs).scale(n, false))
    },
    linear: true,
    flops: |inputs, _| {
        let x: Meta = given(inputs, 0);
        x.shape.numel() as u64 / x.shape.last().map_or(1, |n| *n).max(1) as u64
            * (transform_flops(x.shape.last().map_or(1, |n| *n)) / 2)
    },
    cases: || {
        let case =
            |label: &str, shape: &[usize]| Case::new(label).f32(shape, Domain::Uniform(-1.0, 1.0));
        vec![
            case("verify", &[5, 46]),
            case("odd", &[3, 45]),
            case("odd_prime", &[2, 37]),
            case("length_1", &[3, 1]),
            case("length_2", &[3, 2]),
            case("no_batch", &[64]),
            case("frames", &[2, 3, 400]).attr("norm", "ortho"),
            case("fused", &[13, 48]).attr("norm", "forward"),
            case("cut", &[3, 20]).attr("n", 15i64),
            case("filled_up", &[3, 20])
                .attr("n", 34i64)
                .attr("norm", "forward"),
            case("no_rows", &[0, 6]).no_gradient(),
            case("256x1024", &[256, 1024]).bench().no_gradient(),
        ]
    },
    refusals: || {
        let one = Domain::Constant(1.0);
        vec![
            ("a single number", Case::new("refused").f32(&[], one)),
            ("no length", Case::new("refused").f32(&[3, 0], one)),
            (
                "a negative length",
                Case::new("refused").f32(&[3, 4], one).attr("n", -4i64),
            ),
        ]
    },
    entries: || {
        let mut out = vec![entry(rfft_kernel(), Role::Forward)];
        out.extend(Sharing::listed().map(|s| of_rows(s).entry()));
        out
    },
    further: |name, code| {
        let sharing = (name == stft_fused::ENTRY).then(|| Variant::of(code).sharing)?;
        sharing.is_possible().then(|| of_rows(sharing).entry())
    },
    verify: |entry| {
        let sharing = (entry.name() == stft_fused::ENTRY).then(|| Sharing::of(entry.variant))?;
        let shape = [sharing.tried_frames(), sharing.n];
        Some(Case::new("verify").f32(&shape, Domain::Uniform(-1.0, 1.0)))
    },
    tries: |entry, case| {
        let x = case.inputs.first().and_then(|x| x.as_ref());
        let n = x.map(|x| n_of(x.shape[x.shape.len() - 1], asked_length(case)));
        entry.name() == "rfft" || n.is_some_and(|n| fused::split(n).is_some())
    },
    plan: |inputs, attrs, caps| {
        let x: Meta = given(inputs, 0);
        let n = n_of(x.shape[x.shape.len() - 1], attrs.int("n"));
        Some(real_line(n, caps))
    },
};
