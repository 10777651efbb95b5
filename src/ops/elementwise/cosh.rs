//! y   = (eˣ + e⁻ˣ) / 2
//! vjp: dx = dy · sinh x
//! source: numpy.cosh

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The hyperbolic cosine.
    ///
    /// Of 1 it is 1.543081.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn cosh(&self) -> Result<Tensor> {
        COSH.unary(self)
    }
}

pub static COSH: Elementwise = Elementwise {
    signature: &Signature::simple("cosh", "y = (eˣ + e⁻ˣ) / 2", "numpy.cosh", X),
    function: &Function::unary("cosh", wgsl!("elementwise/cosh"), |x, _| x[0].cosh())
        .ulps(10.0)
        .course(Course::Turns(&[0.0])),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("large")
                .f32(&[65], Domain::Uniform(-89.0, 89.0))
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
