//! y   = max(x, 0)
//! vjp: dx = dy where x > 0, else 0
//! source: torch.relu

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X_SIGNED};
use crate::tensor::Tensor;

impl Tensor {
    /// The positive part.
    ///
    /// NaN stays; the derivative at 0 is 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for `u32`.
    pub fn relu(&self) -> Result<Tensor> {
        RELU.unary(self)
    }
}

pub static RELU: Elementwise = Elementwise {
    signature: &Signature::simple("relu", "y = max(x, 0)", "torch.relu", X_SIGNED),
    function: &Function::unary("relu", wgsl!("elementwise/relu"), |x, _| {
        if x[0] < 0.0 { 0.0 } else { x[0] }
    })
    .ulps(0.0),
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
            Case::new("of_zero")
                .f32(&[5], Domain::Constant(0.0))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
