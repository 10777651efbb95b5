//! y   = the whole number next to x towards 0
//! vjp: dx = 0
//! source: numpy.trunc

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// Cuts off what follows the point: 1.5 becomes 1, −1.5 becomes −1.
    ///
    /// The derivative is 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn trunc(&self) -> Result<Tensor> {
        TRUNC.unary(self)
    }
}

pub static TRUNC: Elementwise = Elementwise {
    signature: &Signature::simple(
        "trunc",
        "y = the whole number next to x towards 0",
        "numpy.trunc",
        X,
    ),
    function: &Function::unary("trunc", wgsl!("elementwise/trunc"), |x, _| x[0].trunc())
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
