//! y   = ½ ln((1 + x) / (1 − x))
//! vjp: dx = dy / (1 − x²)
//! source: numpy.arctanh

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The inverse of the hyperbolic tangent.
    ///
    /// Of 0.5 it is 0.549306; of 1 it is infinite, beyond NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn atanh(&self) -> Result<Tensor> {
        ATANH.unary(self)
    }
}

pub static ATANH: Elementwise = Elementwise {
    signature: &Signature::simple("atanh", "y = ½ ln((1 + x) / (1 − x))", "numpy.arctanh", X),
    function: &Function::unary("atanh", wgsl!("elementwise/atanh"), |x, _| x[0].atanh()).ulps(10.0),
    domains: &[Domain::Uniform(-0.9, 0.9)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("up_to_the_ends")
                .f32(&[65], Domain::Uniform(-0.9999, 0.9999))
                .no_gradient(),
            Case::new("beyond")
                .f32(&[5], Domain::Constant(2.0))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 30,
    derivatives: Derivatives::unread(),
};
