//! y   = Σₖ x̃[k] exp(2πi jk/n) / n, x̃ = x and its mirror images, of n/2 + 1 bins
//! vjp: dx[k] = c[k] Σⱼ dy[j] exp(−2πi jk/n) / n, c = 1 for bins without a mirror image and 2 for others
//! source: torch.fft.irfft

use crate::error::{Error, Result};
use crate::ops::op::{Array, AttrDefault, AttrSpec, Case, Domain, Meta, Role, Signature};
use crate::ops::signal::fused::{self, Sharing, real_line};
use crate::ops::signal::rfft::{half_rows, real_rows};
use crate::ops::signal::transform::{complex_axis, irfft_kernel, root};
use crate::ops::signal::{
    NORM, Norm, Plain, X, asked_length, entry, given, irfft_fused, length, resized,
    transform_flops, transform_tolerance,
};
use crate::tape;
use crate::tensor::{Shape, Tensor};

impl Tensor {
    /// Real rows of length `n` from their bins 0 to n/2: the inverse of [`rfft`](Self::rfft).
    ///
    /// Shapes: `[.., bins, 2]` → `[.., n]`; bins are cut or filled up with zeros to n/2 + 1. The imaginary parts of bin
    /// 0 and of bin n/2 of an even `n` do not count.
    /// Errors: [`Error::Shape`] if the last axis is not 2, [`Error::Dtype`] unless f32, [`Error::Empty`] if `n` is 0.
    pub fn irfft(&self, n: usize) -> Result<Tensor> {
        self.irfft_with(n, Norm::Backward)
    }

    /// As [`irfft`](Self::irfft), divided as `norm` says.
    pub fn irfft_with(&self, n: usize, norm: Norm) -> Result<Tensor> {
        checked(Meta::of(self), Some(n))?;
        let x = resized(self, self.shape().len() - 2, n / 2 + 1)?;
        let scale = norm.scale(n, true);
        let y = half_rows(&x, n, scale, 1.0)?;
        Ok(tape::record("irfft", &[&x], y, move |dy, sink| {
            sink.give(0, real_rows(dy, n, scale, 2.0)?)
        }))
    }
}

/// By default the length is even.
fn checked(x: Meta, n: Option<usize>) -> Result<(Meta, usize)> {
    super::only_f32("irfft", x)?;
    let axis = complex_axis("irfft", &x.shape)?;
    let n = n.unwrap_or(2 * x.shape[axis].saturating_sub(1));
    if n == 0 {
        return Err(Error::Empty {
            op: "irfft",
            message: format!("n is 0 for x {:?}", x.shape),
        });
    }
    let mut dims = x.shape.with(axis, n).to_vec();
    dims.pop();
    let shape = Shape::new(&dims)?;
    Ok((Meta { shape, ..x }, n))
}

/// The length of rows of `bins` bins; 0 leaves it to them.
fn n_of(bins: usize, asked: i64) -> usize {
    match asked {
        0 => 2 * bins.saturating_sub(1),
        n => n as usize,
    }
}

pub static IRFFT: Plain = Plain {
    signature: &Signature {
        name: "irfft",
        formula: "y[j] = Σ x̃[k] exp(2πi jk/n) / n, x̃ = x and its mirror images",
        source: "torch.fft.irfft",
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
    infer: |inputs, attrs| Ok(checked(given(inputs, 0), length("irfft", attrs, "n")?)?.0),
    run: |inputs, attrs| {
        let x: &Tensor = given(inputs, 0);
        let (_, n) = checked(Meta::of(x), length("irfft", attrs, "n")?)?;
        x.irfft_with(n, Norm::of(attrs))
    },
    twin: |inputs, attrs| {
        let x: &Array = given(inputs, 0);
        let axis = x.shape.len() - 2;
        let held = x.shape[axis];
        let n = n_of(held, attrs.int("n"));
        let scale = Norm::of(attrs).scale(n, true);
        let mut dims = x.shape.with(axis, n).to_vec();
        dims.pop();
        let mut y = Array::zeros(Shape::of(&dims));
        for (x, y) in x.data.chunks(2 * held.max(1)).zip(y.data.chunks_mut(n)) {
            let bin = |k: usize| {
                if k < held {
                    (x[2 * k], x[2 * k + 1])
                } else {
                    (0.0, 0.0)
                }
            };
            for (j, y) in y.iter_mut().enumerate() {
                for k in 0..n {
                    // The conjugate of bin n − k in the upper half, of which the real part is wanted.
                    let (re, im) = match 2 * k {
                        0 => (bin(0).0, 0.0),
                        double if double == n => (bin(k).0, 0.0),
                        double if double < n => bin(k),
                        _ => (bin(n - k).0, -bin(n - k).1),
                    };
                    let (cos, sin) = root(j * k % n, n);
                    *y += scale * (re * cos + im * sin);
                }
            }
        }
        y
    },
    tolerance: |inputs, attrs| {
        let x: &Array = given(inputs, 0);
        let n = n_of(x.shape[x.shape.len() - 2], attrs.int("n"));
        transform_tolerance(n, x.max_abs(), Norm::of(attrs).scale(n, true))
    },
    linear: true,
    flops: |inputs, attrs| {
        let x: Meta = given(inputs, 0);
        let bins = x.shape[x.shape.len() - 2].max(1);
        (x.shape.numel() / (2 * bins)) as u64 * (transform_flops(n_of(bins, attrs.int("n"))) / 2)
    },
    cases: || {
        let case =
            |label: &str, shape: &[usize]| Case::new(label).f32(shape, Domain::Uniform(-1.0, 1.0));
        vec![
            case("verify", &[5, 24, 2]),
            case("odd", &[3, 23, 2]).attr("n", 45i64),
            case("odd_prime", &[2, 19, 2]).attr("n", 37i64),
            case("length_1", &[3, 1, 2]).attr("n", 1i64),
            case("length_2", &[3, 2, 2]),
            case("no_batch", &[33, 2]),
            case("frames", &[2, 3, 201, 2]).attr("norm", "ortho"),
            case("fused", &[13, 25, 2]).attr("norm", "forward"),
            case("cut", &[3, 20, 2]).attr("n", 15i64),
            case("filled_up", &[3, 10, 2])
                .attr("n", 34i64)
                .attr("norm", "forward"),
            case("no_rows", &[0, 6, 2]).no_gradient(),
            case("256x513", &[256, 513, 2]).bench().no_gradient(),
        ]
    },
    refusals: || {
        let one = Domain::Constant(1.0);
        vec![
            ("real numbers", Case::new("refused").f32(&[3, 5], one)),
            ("a length of 0", Case::new("refused").f32(&[3, 1, 2], one)),
            (
                "a negative length",
                Case::new("refused").f32(&[3, 4, 2], one).attr("n", -4i64),
            ),
        ]
    },
    entries: || {
        let mut out = vec![entry(irfft_kernel(), Role::Forward)];
        out.extend(Sharing::listed().map(irfft_fused::entry));
        out
    },
    further: |name, code| {
        let sharing = (name == irfft_fused::ENTRY).then(|| Sharing::of(code))?;
        sharing.is_possible().then(|| irfft_fused::entry(sharing))
    },
    verify: |entry| {
        let sharing = (entry.name() == irfft_fused::ENTRY).then(|| Sharing::of(entry.variant))?;
        let shape = [sharing.tried_frames(), sharing.n / 2 + 1, 2];
        Some(Case::new("verify").f32(&shape, Domain::Uniform(-1.0, 1.0)))
    },
    tries: |entry, case| {
        let x = case.inputs.first().and_then(|x| x.as_ref());
        let n = x.map(|x| n_of(x.shape[x.shape.len() - 2], asked_length(case)));
        entry.name() == "irfft" || n.is_some_and(|n| fused::split(n).is_some())
    },
    plan: |inputs, attrs, caps| {
        let x: Meta = given(inputs, 0);
        let n = n_of(x.shape[x.shape.len() - 2], attrs.int("n"));
        Some(real_line(n, caps))
    },
};
