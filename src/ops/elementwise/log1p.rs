//! y   = ln(1 + x)
//! vjp: dx = dy / (1 + x)
//! source: numpy.log1p

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The natural logarithm of 1 + x, exact near 0: of 1e-8 it is 1e-8.
    ///
    /// Of −1 it is −∞, below it is NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn log1p(&self) -> Result<Tensor> {
        LOG1P.unary(self)
    }
}

pub static LOG1P: Elementwise = Elementwise {
    signature: &Signature::simple("log1p", "y = ln(1 + x)", "numpy.log1p", X),
    function: &Function::unary("log1p", wgsl!("elementwise/log1p"), |x, _| x[0].ln_1p()).ulps(5.0),
    domains: &[Domain::Uniform(-0.9, 4.0)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[3, 67], Domain::Uniform(-1e-05, 1e-05))
                .no_gradient(),
            Case::new("large")
                .f32(&[5, 101], Domain::Uniform(1.0, 1000000000.0))
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
            Case::new("of_minus_one")
                .f32(&[5], Domain::Constant(-1.0))
                .no_gradient(),
        ]
    },
    flops: 14,
    derivatives: Derivatives::unread(),
};
