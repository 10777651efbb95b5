//! y   = cos x
//! vjp: dx = −dy · sin x
//! source: numpy.cos

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The cosine of an angle in radians.
    ///
    /// Of π/3 it is 0.5.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn cos(&self) -> Result<Tensor> {
        COS.unary(self)
    }
}

pub static COS: Elementwise = Elementwise {
    signature: &Signature::simple("cos", "y = cos x", "numpy.cos", X),
    function: &Function::unary("cos", wgsl!("elementwise/cos"), |x, _| x[0].cos())
        .ulps_of_terms(3.0)
        .course(Course::Waves),
    domains: &[Domain::Uniform(-4.0, 4.0)],
    extra_cases: || {
        vec![
            Case::new("many_turns")
                .f32(&[5, 401], Domain::Uniform(-12000.0, 12000.0))
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
