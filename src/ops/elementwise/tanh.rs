//! y   = tanh x
//! vjp: dx = dy · (1 − y²)
//! source: numpy.tanh

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The hyperbolic tangent.
    ///
    /// Of 1 it is 0.761594.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn tanh(&self) -> Result<Tensor> {
        TANH.unary(self)
    }
}

pub static TANH: Elementwise = Elementwise {
    signature: &Signature::simple("tanh", "y = tanh x", "numpy.tanh", X),
    function: &Function::unary("tanh", wgsl!("elementwise/tanh"), |x, _| x[0].tanh()).ulps(6.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("large_arguments").f32(&[65], Domain::Uniform(-10000.0, 10000.0)),
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
    flops: 20,
    derivatives: Derivatives::unread(),
};
