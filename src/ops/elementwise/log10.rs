//! y   = log₁₀ x
//! vjp: dx = dy / (x ln 10)
//! source: numpy.log10

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The logarithm to base 10.
    ///
    /// Of 1000 it is 3.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn log10(&self) -> Result<Tensor> {
        LOG10.unary(self)
    }
}

pub static LOG10: Elementwise = Elementwise {
    signature: &Signature::simple("log10", "y = log₁₀ x", "numpy.log10", X),
    function: &Function::unary("log10", wgsl!("elementwise/log10"), |x, _| x[0].log10()).ulps(6.0),
    domains: &[Domain::Uniform(0.1, 4.0)],
    extra_cases: || {
        vec![
            Case::new("next_to_one")
                .f32(&[3, 67], Domain::Uniform(0.999, 1.001))
                .no_gradient(),
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
            Case::new("of_zero")
                .f32(&[5], Domain::Constant(0.0))
                .no_gradient(),
            Case::new("of_minus_one")
                .f32(&[5], Domain::Constant(-1.0))
                .no_gradient(),
        ]
    },
    flops: 14,
    derivatives: Derivatives::unread(),
};
