//! y   = arccos x
//! vjp: dx = −dy / √(1 − x²)
//! source: numpy.arccos

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The angle in [0, π] whose cosine this is.
    ///
    /// Of 0.5 it is 1.047198; beyond ±1 it is NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn acos(&self) -> Result<Tensor> {
        ACOS.unary(self)
    }
}

pub static ACOS: Elementwise = Elementwise {
    signature: &Signature::simple("acos", "y = arccos x", "numpy.arccos", X),
    function: &Function::unary("acos", wgsl!("elementwise/acos"), |x, _| x[0].acos()).ulps(8.0),
    domains: &[Domain::Uniform(-0.9, 0.9)],
    extra_cases: || {
        vec![
            Case::new("up_to_the_ends")
                .f32(&[301], Domain::Uniform(-1.0, 1.0))
                .no_gradient(),
            Case::new("next_to_one")
                .f32(&[65], Domain::Uniform(0.9999, 1.0))
                .no_gradient(),
            Case::new("beyond")
                .f32(&[5], Domain::Constant(1.5))
                .no_gradient(),
            Case::new("of_minus_one")
                .f32(&[5], Domain::Constant(-1.0))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 20,
    derivatives: Derivatives::unread(),
};
