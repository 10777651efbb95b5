//! y   = ln(x / (1 − x))
//! vjp: dx = dy / (x (1 − x))
//! source: torch.logit

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The inverse of the logistic function.
    ///
    /// Of 0.880797 it is 2; of 0 and 1 it is infinite, beyond NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn logit(&self) -> Result<Tensor> {
        LOGIT.unary(self)
    }
}

pub static LOGIT: Elementwise = Elementwise {
    signature: &Signature::simple("logit", "y = ln(x / (1 − x))", "torch.logit", X),
    function: &Function::unary("logit", wgsl!("elementwise/logit"), |x, _| {
        x[0].ln() - (-x[0]).ln_1p()
    })
    .ulps_of_terms(8.0),
    domains: &[Domain::Uniform(0.05, 0.95)],
    extra_cases: || {
        vec![
            Case::new("next_to_the_ends")
                .f32(&[65], Domain::Uniform(1e-06, 1e-05))
                .no_gradient(),
            Case::new("beyond")
                .f32(&[5], Domain::Constant(2.0))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
            Case::new("of_zero")
                .f32(&[5], Domain::Constant(0.0))
                .no_gradient(),
            Case::new("of_one")
                .f32(&[5], Domain::Constant(1.0))
                .no_gradient(),
        ]
    },
    flops: 30,
    derivatives: Derivatives::unread(),
};
