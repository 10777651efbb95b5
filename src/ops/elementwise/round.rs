//! y   = the nearest whole number, a half to the even one
//! vjp: dx = 0
//! source: numpy.round

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// Rounds to the nearest whole number, halves to the even one: 0.5 becomes 0, 1.5 becomes 2, as in NumPy.
    ///
    /// The derivative is 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn round(&self) -> Result<Tensor> {
        ROUND.unary(self)
    }
}

pub static ROUND: Elementwise = Elementwise {
    signature: &Signature::simple(
        "round",
        "y = the nearest whole number, a half to the even one",
        "numpy.round",
        X,
    ),
    function: &Function::unary("round", wgsl!("elementwise/round"), |x, _| {
        x[0].round_ties_even()
    })
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
