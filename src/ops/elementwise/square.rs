//! y   = x²
//! vjp: dx = 2 dy · x
//! source: numpy.square

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X_ANY};
use crate::tensor::Tensor;

impl Tensor {
    /// Each element times itself.
    ///
    /// Of −3 it is 9.
    /// Shapes: any, kept.
    pub fn square(&self) -> Result<Tensor> {
        SQUARE.unary(self)
    }
}

pub static SQUARE: Elementwise = Elementwise {
    signature: &Signature::simple("square", "y = x²", "numpy.square", X_ANY),
    function: &Function::unary("square", wgsl!("elementwise/square"), |x, _| x[0] * x[0])
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
