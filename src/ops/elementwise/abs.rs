//! y   = |x|
//! vjp: dx = dy · sign x
//! source: numpy.absolute

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X_ANY};
use crate::tensor::Tensor;

impl Tensor {
    /// The magnitude.
    ///
    /// Of −2 it is 2; its derivative at 0 is 0.
    /// Shapes: any, kept.
    pub fn abs(&self) -> Result<Tensor> {
        ABS.unary(self)
    }
}

pub static ABS: Elementwise = Elementwise {
    signature: &Signature::simple("abs", "y = |x|", "numpy.absolute", X_ANY),
    function: &Function::unary("abs", wgsl!("elementwise/abs"), |x, _| x[0].abs())
        .course(Course::Turns(&[0.0])),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
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
