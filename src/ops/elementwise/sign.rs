//! y   = −1, 0 or 1, the sign of x
//! vjp: dx = 0
//! source: numpy.sign

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X_SIGNED};
use crate::tensor::Tensor;

impl Tensor {
    /// The sign: −1, 0 or 1; NaN stays.
    ///
    /// Its derivative is 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for `u32`.
    pub fn sign(&self) -> Result<Tensor> {
        SIGN.unary(self)
    }
}

pub static SIGN: Elementwise = Elementwise {
    signature: &Signature::simple(
        "sign",
        "y = −1, 0 or 1, the sign of x",
        "numpy.sign",
        X_SIGNED,
    ),
    function: &Function::unary("sign", wgsl!("elementwise/sign"), |x, _| {
        if x[0] > 0.0 {
            1.0
        } else if x[0] < 0.0 {
            -1.0
        } else {
            x[0]
        }
    })
    .course(Course::Steps),
    domains: &[Domain::Uniform(0.5, 2.0)],
    extra_cases: || {
        vec![
            Case::new("both")
                .f32(&[65], Domain::Integers(-2, 2))
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
