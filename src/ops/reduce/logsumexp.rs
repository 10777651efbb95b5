//! y   = ln Σ eˣ over the axes
//! vjp: dx = dy · e^(x − y)
//! source: torch.logsumexp

use crate::error::Result;
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, Signature, X};
use crate::ops::reduce::{Composite, axes_of, check_not_empty, float_cases, reduced_shape};
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The logarithm of the sum of exponentials over `axes` (all if empty); `keepdim` keeps them with length 1.
    ///
    /// The maximum is subtracted first, so no finite input overflows. Of two zeros it is 0.693147; of nothing but −∞
    /// it is −∞; with a NaN it is NaN.
    /// Errors: [`Error::Attribute`](crate::Error::Attribute) for an axis that is not there or named twice;
    /// [`Error::Empty`](crate::Error::Empty) if a reduced axis has length 0; [`Error::Dtype`](crate::Error::Dtype) for
    /// integers.
    pub fn logsumexp(&self, axes: &[i64], keepdim: bool) -> Result<Tensor> {
        let axes = axes_of("logsumexp", self.shape(), axes)?;
        check_not_empty("logsumexp", self.shape(), &axes)?;
        logsumexp(self, &axes, keepdim)
    }
}

fn logsumexp(x: &Tensor, axes: &[usize], keepdim: bool) -> Result<Tensor> {
    let named: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
    let x32 = x.cast(DType::F32)?;
    let largest = x32.detach().max(&named, true)?;
    // ∞ − ∞ is NaN; an infinite maximum is left where it is.
    let origin = largest.is_finite()?.where_(&largest, 0.0)?;
    let sum = x32.sub(&origin)?.exp()?.sum(&named, true)?;
    sum.log()?
        .add(&origin)?
        .reshape(reduced_shape(x.shape(), axes, keepdim))?
        .cast(x.dtype())
}

fn twin(line: &[f64]) -> f64 {
    let largest = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let origin = if largest.is_finite() { largest } else { 0.0 };
    line.iter().map(|x| (x - origin).exp()).sum::<f64>().ln() + origin
}

pub static LOGSUMEXP: Composite = Composite {
    signature: &Signature {
        name: "logsumexp",
        formula: "y = ln Σ eˣ over axes",
        source: "torch.logsumexp",
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
        ],
        outputs: &["y"],
    },
    run: |x, axes, keepdim, _| logsumexp(x, axes, keepdim),
    twin: |line, _| twin(line),
    tolerance: |x, n, _| {
        // The logarithm turns the relative error of the sum into an absolute one; x − max is wrong by u |x|.
        let sum = Tolerance::blocked_sum(n, 0.0);
        let largest = if x.max_abs().is_finite() {
            x.max_abs()
        } else {
            0.0
        };
        Tolerance {
            relative: 3e-7,
            absolute: sum.relative + 5e-7 + 1.2e-7 * largest,
            ..sum
        }
    },
    cases: || {
        let mut cases = float_cases(Domain::Uniform(-2.0, 2.0));
        let special = |label: &str, domain| {
            Case::new(label)
                .f32(&[3, 5], domain)
                .attr("axes", [1i64].as_slice())
        };
        cases.push(special("large_logits", Domain::Offset(1e4, 50.0)));
        cases.push(special("minus_infinity", Domain::Constant(f64::NEG_INFINITY)).no_gradient());
        cases.push(special("infinity", Domain::Constant(f64::INFINITY)).no_gradient());
        cases.push(special("nan", Domain::Constant(f64::NAN)).no_gradient());
        cases
    },
    flops: 12,
    gradient_reads_x: true,
};
