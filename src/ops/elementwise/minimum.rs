//! y   = the smaller of a and b
//! vjp: dy to the smaller one; half each where they are equal
//! source: torch.minimum

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB_ANY, Case, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// The smaller of two numbers, element by element.
    ///
    /// NaN in either gives NaN; where both are equal each gets half of the gradient.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ.
    pub fn minimum(&self, other: impl IntoOperand) -> Result<Tensor> {
        MINIMUM.binary(self, other)
    }
}

pub static MINIMUM: Elementwise = Elementwise {
    signature: &Signature::simple(
        "minimum",
        "y = the smaller of a and b",
        "torch.minimum",
        AB_ANY,
    ),
    function: &Function::binary("minimum", wgsl!("elementwise/minimum"), |x, _| {
        if x[0].is_nan() || x[0] < x[1] {
            x[0]
        } else {
            x[1]
        }
    })
    .ulps(0.0),
    domains: &[Domain::Uniform(-2.0, 2.0), Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("ties")
                .f32(&[65], Domain::Integers(-1, 1))
                .f32(&[65], Domain::Integers(-1, 1))
                .no_gradient(),
            Case::new("nan_first")
                .f32(&[5], Domain::Constant(f64::NAN))
                .f32(&[5], Domain::Constant(1.0))
                .no_gradient(),
            Case::new("nan_second")
                .f32(&[5], Domain::Constant(1.0))
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
