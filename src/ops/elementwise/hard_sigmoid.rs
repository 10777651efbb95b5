//! y   = min(max(x / 6 + ½, 0), 1)
//! vjp: dx = dy / 6 for −3 < x < 3, else 0
//! source: torch.nn.functional.hardsigmoid

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// A logistic function of straight lines.
    ///
    /// Of 1 it is 0.666667; at ±3 its derivative is 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn hard_sigmoid(&self) -> Result<Tensor> {
        HARD_SIGMOID.unary(self)
    }
}

pub static HARD_SIGMOID: Elementwise = Elementwise {
    signature: &Signature::simple(
        "hard_sigmoid",
        "y = min(max(x / 6 + ½, 0), 1)",
        "torch.nn.functional.hardsigmoid",
        X,
    ),
    function: &Function::unary("hard_sigmoid", wgsl!("elementwise/hard_sigmoid"), |x, _| {
        if x[0].is_nan() {
            x[0]
        } else {
            (x[0] / 6.0 + 0.5).clamp(0.0, 1.0)
        }
    })
    .ulps_of_terms(3.0),
    domains: &[Domain::Uniform(-5.0, 5.0)],
    extra_cases: || {
        vec![
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
    flops: 4,
    derivatives: Derivatives::unread(),
};
