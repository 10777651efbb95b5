//! y   = eˣ
//! vjp: dx = dy · y
//! source: numpy.exp

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// e to the power of each element.
    ///
    /// Of 1 it is 2.718282; above 88.72 it is infinite.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn exp(&self) -> Result<Tensor> {
        EXP.unary(self)
    }
}

pub static EXP: Elementwise = Elementwise {
    signature: &Signature::simple("exp", "y = eˣ", "numpy.exp", X),
    function: &Function::unary("exp", wgsl!("elementwise/exp"), |x, _| x[0].exp()).ulps(4.0),
    domains: &[Domain::Uniform(-4.0, 4.0)],
    extra_cases: || {
        vec![
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
    flops: 10,
    derivatives: Derivatives::unread(),
};
