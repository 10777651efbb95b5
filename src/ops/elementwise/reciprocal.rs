//! y   = 1 / x
//! vjp: dx = −dy · y²
//! source: numpy.reciprocal

use crate::error::Result;
use crate::fuse::{Course, Function, side, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// One divided by each element.
    ///
    /// Of 4 it is 0.25; of 0 it is infinite.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn reciprocal(&self) -> Result<Tensor> {
        RECIPROCAL.unary(self)
    }
}

pub static RECIPROCAL: Elementwise = Elementwise {
    signature: &Signature::simple("reciprocal", "y = 1 / x", "numpy.reciprocal", X),
    function: &Function::unary("reciprocal", wgsl!("elementwise/reciprocal"), |x, _| {
        1.0 / x[0]
    })
    .ulps(5.0)
    .course(Course::Pieces(|x| side(x[0]))),
    domains: &[Domain::Uniform(0.25, 4.0)],
    extra_cases: || {
        vec![
            Case::new("negative")
                .f32(&[65], Domain::Uniform(-4.0, -0.01))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
