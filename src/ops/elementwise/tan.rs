//! y   = tan x
//! vjp: dx = dy · (1 + y²)
//! source: numpy.tan

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The tangent of an angle in radians.
    ///
    /// Of π/4 it is 1.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn tan(&self) -> Result<Tensor> {
        TAN.unary(self)
    }
}

pub static TAN: Elementwise = Elementwise {
    signature: &Signature::simple("tan", "y = tan x", "numpy.tan", X),
    function: &Function::unary("tan", wgsl!("elementwise/tan"), |x, _| x[0].tan())
        .ulps(8.0)
        .course(Course::Pieces(|x| {
            // Beyond, the WGSL reduces the argument with an error of its own.
            if x[0].abs() > 12_867.0 {
                f64::NAN
            } else {
                (x[0] / std::f64::consts::PI).round()
            }
        })),
    domains: &[Domain::Uniform(-1.2, 1.2)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("a_turn")
                .f32(&[65], Domain::Uniform(1.7, 4.5))
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
