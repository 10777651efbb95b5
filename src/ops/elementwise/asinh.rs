//! y   = ln(x + √(x² + 1))
//! vjp: dx = dy / √(x² + 1)
//! source: numpy.arcsinh

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The inverse of the hyperbolic sine.
    ///
    /// Of 1 it is 0.881374.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn asinh(&self) -> Result<Tensor> {
        ASINH.unary(self)
    }
}

pub static ASINH: Elementwise = Elementwise {
    signature: &Signature::simple("asinh", "y = ln(x + √(x² + 1))", "numpy.arcsinh", X),
    function: &Function::unary("asinh", wgsl!("elementwise/asinh"), |x, _| x[0].asinh()).ulps(10.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("large_arguments")
                .f32(&[65], Domain::Uniform(-1e+30, 1e+30))
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
    flops: 30,
    derivatives: Derivatives::unread(),
};
