//! y   = 1 where x is ∞ or −∞, else 0
//! vjp: none
//! source: numpy.isinf

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, FLOATS, Input, Signature};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// 1 where an element is infinite, 0 elsewhere, by its exponent bits.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn is_inf(&self) -> Result<Tensor> {
        IS_INF.unary(self)
    }
}

pub static IS_INF: Elementwise = Elementwise {
    signature: &Signature::simple(
        "is_inf",
        "y = 1 where x is ∞ or −∞, else 0",
        "numpy.isinf",
        &[Input::plain("x", FLOATS)],
    ),
    function: &Function::unary("is_inf", wgsl!("elementwise/is_inf"), |x, _| {
        f64::from(x[0].is_infinite())
    })
    .flag(),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_minus_infinity")
                .f32(&[5], Domain::Constant(f64::NEG_INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
            Case::new("largest")
                .f32(&[5], Domain::Constant(f64::from(f32::MAX)))
                .no_gradient(),
            Case::new("f16")
                .input(&[5], DType::F16, Domain::Constant(f64::INFINITY))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
