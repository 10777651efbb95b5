//! y   = arcsin x
//! vjp: dx = dy / √(1 − x²)
//! source: numpy.arcsin

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The angle in [−π/2, π/2] whose sine this is.
    ///
    /// Of 0.5 it is 0.523599; beyond ±1 it is NaN.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn asin(&self) -> Result<Tensor> {
        ASIN.unary(self)
    }
}

pub static ASIN: Elementwise = Elementwise {
    signature: &Signature::simple("asin", "y = arcsin x", "numpy.arcsin", X),
    function: &Function::unary("asin", wgsl!("elementwise/asin"), |x, _| x[0].asin()).ulps(8.0),
    domains: &[Domain::Uniform(-0.9, 0.9)],
    extra_cases: || {
        vec![
            Case::new("up_to_the_ends")
                .f32(&[301], Domain::Uniform(-1.0, 1.0))
                .no_gradient(),
            Case::new("beyond")
                .f32(&[5], Domain::Constant(1.5))
                .no_gradient(),
            Case::new("small_arguments")
                .f32(&[65], Domain::Uniform(-0.0001, 0.0001))
                .no_gradient(),
            Case::new("of_one")
                .f32(&[5], Domain::Constant(1.0))
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
