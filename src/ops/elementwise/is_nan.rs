//! y   = 1 where x is NaN, else 0
//! vjp: none
//! source: numpy.isnan

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, FLOATS, Input, Signature};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// 1 where an element is NaN, 0 elsewhere, by its exponent bits.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn is_nan(&self) -> Result<Tensor> {
        IS_NAN.unary(self)
    }
}

pub static IS_NAN: Elementwise = Elementwise {
    signature: &Signature::simple(
        "is_nan",
        "y = 1 where x is NaN, else 0",
        "numpy.isnan",
        &[Input::plain("x", FLOATS)],
    ),
    function: &Function::unary("is_nan", wgsl!("elementwise/is_nan"), |x, _| {
        f64::from(x[0].is_nan())
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
