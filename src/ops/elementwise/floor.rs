//! y   = the largest whole number that is not above x
//! vjp: dx = 0
//! source: numpy.floor

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// Rounds down: 1.5 becomes 1, −1.5 becomes −2.
    ///
    /// The derivative is 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn floor(&self) -> Result<Tensor> {
        FLOOR.unary(self)
    }
}

pub static FLOOR: Elementwise = Elementwise {
    signature: &Signature::simple(
        "floor",
        "y = the largest whole number that is not above x",
        "numpy.floor",
        X,
    ),
    function: &Function::unary("floor", wgsl!("elementwise/floor"), |x, _| x[0].floor())
        .ulps(0.0)
        .course(Course::Steps),
    domains: &[Domain::Uniform(1.1, 1.4)],
    extra_cases: || {
        vec![
            Case::new("wide")
                .f32(&[3, 67], Domain::Uniform(-5.0, 5.0))
                .no_gradient(),
            Case::new("halves")
                .f32(&[4], Domain::Distinct)
                .no_gradient(),
            Case::new("beyond_fractions")
                .f32(&[65], Domain::Integers(16_777_216, 33_554_432))
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
    flops: 1,
    derivatives: Derivatives::unread(),
};
