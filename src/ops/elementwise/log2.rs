//! y   = log₂ x
//! vjp: dx = dy / (x ln 2)
//! source: numpy.log2

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The logarithm to base 2.
    ///
    /// Of 8 it is 3, without rounding.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn log2(&self) -> Result<Tensor> {
        LOG2.unary(self)
    }
}

pub static LOG2: Elementwise = Elementwise {
    signature: &Signature::simple("log2", "y = log₂ x", "numpy.log2", X),
    function: &Function::unary("log2", wgsl!("elementwise/log2"), |x, _| x[0].log2()).ulps(5.0),
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
