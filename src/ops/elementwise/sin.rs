//! y   = sin x
//! vjp: dx = dy · cos x
//! source: numpy.sin

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The sine of an angle in radians.
    ///
    /// Of π/6 it is 0.5.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn sin(&self) -> Result<Tensor> {
        SIN.unary(self)
    }
}

pub static SIN: Elementwise = Elementwise {
    signature: &Signature::simple("sin", "y = sin x", "numpy.sin", X),
    function: &Function::unary("sin", wgsl!("elementwise/sin"), |x, _| x[0].sin())
        .ulps_of_terms(3.0)
        .course(Course::Waves),
    domains: &[Domain::Uniform(-4.0, 4.0)],
    extra_cases: || {
        vec![
            Case::new("many_turns")
                .f32(&[5, 401], Domain::Uniform(-12000.0, 12000.0))
                .no_gradient(),
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 20,
    derivatives: Derivatives::unread(),
};
