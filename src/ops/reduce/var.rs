//! y   = Σ (x − mean x)² / (n − correction) over the axes
//! vjp: dx = 2 dy · (x − mean x) / (n − correction)
//! source: torch.var

use crate::error::{Error, Result};
use crate::ops::op::{AttrDefault, AttrSpec, Attrs, Case, Domain, Signature, X};
use crate::ops::reduce::{Composite, axes_of, check_not_empty, float_cases};
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The variance over `axes` (all if empty); `keepdim` keeps them with length 1.
    ///
    /// `correction` 0 divides by the number of elements n (biased), 1 by n − 1, as PyTorch's default does: of 1, 2
    /// and 6 it is 14/3 or 7. Made in two passes from differences to the first element, so rows far from zero keep
    /// their digits. With n ≤ `correction` it is infinite or NaN.
    /// Errors: [`Error::Attribute`] for an axis that is not there or named twice, or a negative correction;
    /// [`Error::Empty`] if a reduced axis has length 0; [`Error::Dtype`] for integers.
    pub fn var(&self, axes: &[i64], keepdim: bool, correction: i64) -> Result<Tensor> {
        let axes = axes_of("var", self.shape(), axes)?;
        check_not_empty("var", self.shape(), &axes)?;
        var(self, &axes, keepdim, correction)
    }

    /// The square root of [`var`](Self::var).
    pub fn std(&self, axes: &[i64], keepdim: bool, correction: i64) -> Result<Tensor> {
        self.var(axes, keepdim, correction)?.sqrt()
    }
}

fn var(x: &Tensor, axes: &[usize], keepdim: bool, correction: i64) -> Result<Tensor> {
    if correction < 0 {
        return Err(Error::attribute(
            "var",
            format!("correction is {correction}, expected 0 or more"),
        ));
    }
    let n: usize = axes.iter().map(|a| x.dim(*a)).product();
    let mut origin = *x.layout();
    for &axis in axes {
        origin = origin.slice(axis, 0, 1, 1);
    }
    let named: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
    let wide = x.cast(DType::F32)?;
    // A mean of 1000 would cost three digits of every difference.
    let shifted = wide.sub(&x.view(origin).cast(DType::F32)?)?;
    let spread = shifted.sub(&shifted.mean(&named, true)?)?;
    let squares = spread.square()?.sum(&named, keepdim)?;
    squares
        .mul(1.0 / (n as f64 - correction as f64).max(0.0))?
        .cast(x.dtype())
}

fn twin(line: &[f64], attrs: &Attrs) -> f64 {
    let mean = line.iter().sum::<f64>() / line.len() as f64;
    let squares: f64 = line.iter().map(|x| (x - mean) * (x - mean)).sum();
    squares / (line.len() as f64 - attrs.int("correction") as f64).max(0.0)
}

pub static VAR: Composite = Composite {
    signature: &Signature {
        name: "var",
        formula: "y = Σ (x − mean x)² / (n − correction) over axes",
        source: "torch.var",
        inputs: X,
        attrs: &[
            AttrSpec {
                name: "axes",
                default: AttrDefault::Ints(&[]),
            },
            AttrSpec {
                name: "keepdim",
                default: AttrDefault::Bool(false),
            },
            AttrSpec {
                name: "correction",
                default: AttrDefault::Int(1),
            },
        ],
        outputs: &["y"],
    },
    run: |x, axes, keepdim, attrs| var(x, axes, keepdim, attrs.int("correction")),
    twin,
    tolerance: |x, n, _| {
        // Squares have one sign, so the error is relative to the result: a sum of n and the roundings of each square.
        // What a difference lost is of the size of x, but differences of neighbours are exact (Sterbenz).
        let low = x.data.iter().copied().fold(f64::INFINITY, f64::min);
        let high = x.data.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = Tolerance::blocked_sum(n, 0.0);
        Tolerance {
            relative: sum.relative + 1e-6,
            absolute: 1e-12 * (high - low) * (high - low),
            ..sum
        }
    },
    cases: || {
        let mut cases = float_cases(Domain::Uniform(-1.0, 1.0));
        // One element has no variance with the default correction.
        for case in &mut cases {
            if case.label == "one_element" {
                *case = case.clone().attr("correction", 0i64);
            }
        }
        cases.push(
            Case::new("far_from_zero")
                .f32(&[3, 129], Domain::Offset(1e4, 1.0))
                .attr("axes", [1i64].as_slice()),
        );
        cases.push(
            Case::new("biased")
                .f32(&[3, 129], Domain::Uniform(-1.0, 1.0))
                .attr("axes", [1i64].as_slice())
                .attr("correction", 0i64),
        );
        cases.push(
            Case::new("constant")
                .f32(&[3, 65], Domain::Constant(7.0))
                .attr("axes", [1i64].as_slice()),
        );
        cases
    },
    flops: 5,
    gradient_reads_x: true,
};
