//! y   = ln x
//! vjp: dx = dy / x
//! source: numpy.log

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The natural logarithm.
    ///
    /// Of 2.718282 it is 1; of 0 it is −∞, below it is NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn log(&self) -> Result<Tensor> {
        LOG.unary(self)
    }
}

pub static LOG: Elementwise = Elementwise {
    signature: &Signature::simple("log", "y = ln x", "numpy.log", X),
    function: &Function::unary("log", wgsl!("elementwise/log"), |x, _| x[0].ln()).ulps(5.0),
    domains: &[Domain::Uniform(0.1, 4.0)],
    extra_cases: || {
        vec![
            Case::new("next_to_one")
                .f32(&[3, 67], Domain::Uniform(0.999, 1.001))
                .no_gradient(),
            Case::new("large")
                .f32(&[5, 401], Domain::Uniform(1e+30, 3e+38))
                .no_gradient(),
            Case::new("small")
                .f32(&[5, 401], Domain::Uniform(1e-37, 1e-30))
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
