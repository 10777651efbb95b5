//! y   = eˣ − 1
//! vjp: dx = dy · (y + 1)
//! source: numpy.expm1

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// e to the power of each element, less 1, without the cancellation near 0: of 1e-8 it is 1e-8.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn expm1(&self) -> Result<Tensor> {
        EXPM1.unary(self)
    }
}

pub static EXPM1: Elementwise = Elementwise {
    signature: &Signature::simple("expm1", "y = eˣ − 1", "numpy.expm1", X),
    function: &Function::unary("expm1", wgsl!("elementwise/expm1"), |x, _| x[0].exp_m1()).ulps(6.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[3, 67], Domain::Uniform(-1e-05, 1e-05))
                .no_gradient(),
            Case::new("all_exponents")
                .f32(&[5, 401], Domain::Uniform(-87.0, 88.7))
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
    flops: 12,
    derivatives: Derivatives::unread(),
};
