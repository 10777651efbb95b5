//! y   = ln(x + √(x² − 1))
//! vjp: dx = dy / √(x² − 1)
//! source: numpy.arccosh

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The inverse of the hyperbolic cosine.
    ///
    /// Of 1.543081 it is 1; below 1 it is NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn acosh(&self) -> Result<Tensor> {
        ACOSH.unary(self)
    }
}

pub static ACOSH: Elementwise = Elementwise {
    signature: &Signature::simple("acosh", "y = ln(x + √(x² − 1))", "numpy.arccosh", X),
    function: &Function::unary("acosh", wgsl!("elementwise/acosh"), |x, _| x[0].acosh()).ulps(10.0),
    domains: &[Domain::Uniform(1.1, 4.0)],
    extra_cases: || {
        vec![
            Case::new("next_to_one")
                .f32(&[65], Domain::Uniform(1.0, 1.001))
                .no_gradient(),
            Case::new("large_arguments")
                .f32(&[65], Domain::Uniform(10000.0, 1e+30))
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
            Case::new("of_one")
                .f32(&[5], Domain::Constant(1.0))
                .no_gradient(),
        ]
    },
    flops: 30,
    derivatives: Derivatives::unread(),
};
