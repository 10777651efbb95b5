//! y   = Σ x / n over the axes, n the number of elements of each result
//! vjp: dx = dy / n, stretched over the axes
//! source: numpy.mean

use crate::error::Result;
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, Signature, X};
use crate::ops::reduce::{Composite, axes_of, check_not_empty, float_cases};
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The mean over `axes` (all if empty); `keepdim` keeps them with length 1. Of 1, 2 and 6 it is 3.
    ///
    /// f16 is summed in f32 and rounded once.
    /// Errors: [`Error::Attribute`](crate::Error::Attribute) for an axis that is not there or named twice;
    /// [`Error::Empty`](crate::Error::Empty) if a reduced axis has length 0; [`Error::Dtype`](crate::Error::Dtype) for
    /// integers.
    pub fn mean(&self, axes: &[i64], keepdim: bool) -> Result<Tensor> {
        let axes = axes_of("mean", self.shape(), axes)?;
        check_not_empty("mean", self.shape(), &axes)?;
        mean(self, &axes, keepdim)
    }
}

fn mean(x: &Tensor, axes: &[usize], keepdim: bool) -> Result<Tensor> {
    let n: usize = axes.iter().map(|a| x.dim(*a)).product();
    let axes: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
    let total = x.cast(DType::F32)?.sum(&axes, keepdim)?;
    total.mul(1.0 / n as f64)?.cast(x.dtype())
}

pub static MEAN: Composite = Composite {
    signature: &Signature {
        name: "mean",
        formula: "y = Σ x / n over axes",
        source: "numpy.mean",
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
    run: |x, axes, keepdim, _| mean(x, axes, keepdim),
    twin: |line, _| line.iter().sum::<f64>() / line.len() as f64,
    tolerance: |x, n, _| {
        let sum = Tolerance::blocked_sum(n, x.max_abs());
        Tolerance {
            relative: sum.relative + 1.2e-7,
            absolute: sum.absolute / n as f64,
            ..sum
        }
    },
    cases: || {
        let mut cases = float_cases(Domain::Uniform(-1.0, 1.0));
        // The sum of these is beyond f16.
        cases.push(
            Case::new("sum_overflows_f16")
                .input(&[2, 300], DType::F16, Domain::Uniform(400.0, 500.0))
                .attr("axes", [1i64].as_slice())
                .no_gradient(),
        );
        cases
    },
    flops: 1,
    gradient_reads_x: false,
};
