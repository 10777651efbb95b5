//! y   = arctan x
//! vjp: dx = dy / (1 + x²)
//! source: numpy.arctan

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The angle in (−π/2, π/2) whose tangent this is.
    ///
    /// Of 1 it is 0.785398.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn atan(&self) -> Result<Tensor> {
        ATAN.unary(self)
    }
}

pub static ATAN: Elementwise = Elementwise {
    signature: &Signature::simple("atan", "y = arctan x", "numpy.arctan", X),
    function: &Function::unary("atan", wgsl!("elementwise/atan"), |x, _| x[0].atan()).ulps(8.0),
    domains: &[Domain::Uniform(-4.0, 4.0)],
    extra_cases: || {
        vec![
            Case::new("large")
                .f32(&[65], Domain::Uniform(-1000000.0, 1000000.0))
                .no_gradient(),
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
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
    flops: 20,
    derivatives: Derivatives::unread(),
};
