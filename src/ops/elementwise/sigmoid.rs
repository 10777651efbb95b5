//! y   = 1 / (1 + e⁻ˣ)
//! vjp: dx = dy · y · (1 − y)
//! source: torch.sigmoid

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The logistic function.
    ///
    /// Of 0 it is 0.5, of 2 it is 0.880797.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn sigmoid(&self) -> Result<Tensor> {
        SIGMOID.unary(self)
    }
}

pub static SIGMOID: Elementwise = Elementwise {
    signature: &Signature::simple("sigmoid", "y = 1 / (1 + e⁻ˣ)", "torch.sigmoid", X),
    function: &Function::unary("sigmoid", wgsl!("elementwise/sigmoid"), |x, _| {
        1.0 / (1.0 + (-x[0]).exp())
    })
    .ulps(8.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("large_arguments").f32(&[65], Domain::Uniform(-80.0, 80.0)),
            Case::new("huge_arguments")
                .f32(&[65], Domain::Uniform(-10000.0, 10000.0))
                .no_gradient(),
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_minus_infinity")
                .f32(&[5], Domain::Constant(f64::NEG_INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 15,
    derivatives: Derivatives::unread(),
};
