//! y   = (eˣ − e⁻ˣ) / 2
//! vjp: dx = dy · cosh x
//! source: numpy.sinh

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The hyperbolic sine.
    ///
    /// Of 1 it is 1.175201.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn sinh(&self) -> Result<Tensor> {
        SINH.unary(self)
    }
}

pub static SINH: Elementwise = Elementwise {
    signature: &Signature::simple("sinh", "y = (eˣ − e⁻ˣ) / 2", "numpy.sinh", X),
    function: &Function::unary("sinh", wgsl!("elementwise/sinh"), |x, _| x[0].sinh()).ulps(10.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("large")
                .f32(&[65], Domain::Uniform(-89.0, 89.0))
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
    flops: 30,
    derivatives: Derivatives::unread(),
};
