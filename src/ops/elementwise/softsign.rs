//! y   = x / (1 + |x|)
//! vjp: dx = dy / (1 + |x|)²
//! source: torch.nn.functional.softsign

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// A step of finite slope.
    ///
    /// Of 1 it is 0.5.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn softsign(&self) -> Result<Tensor> {
        SOFTSIGN.unary(self)
    }
}

pub static SOFTSIGN: Elementwise = Elementwise {
    signature: &Signature::simple(
        "softsign",
        "y = x / (1 + |x|)",
        "torch.nn.functional.softsign",
        X,
    ),
    function: &Function::unary("softsign", wgsl!("elementwise/softsign"), |x, _| {
        x[0] / (1.0 + x[0].abs())
    })
    .ulps(6.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 3,
    derivatives: Derivatives::unread(),
};
