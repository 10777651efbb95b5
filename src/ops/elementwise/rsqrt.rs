//! y   = 1 / √x
//! vjp: dx = −½ dy · y³
//! source: torch.rsqrt

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// One divided by the square root.
    ///
    /// Of 4 it is 0.5; of 0 it is infinite.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn rsqrt(&self) -> Result<Tensor> {
        RSQRT.unary(self)
    }
}

pub static RSQRT: Elementwise = Elementwise {
    signature: &Signature::simple("rsqrt", "y = 1 / √x", "torch.rsqrt", X),
    function: &Function::unary("rsqrt", wgsl!("elementwise/rsqrt"), |x, _| {
        1.0 / x[0].sqrt()
    })
    .ulps(6.0),
    domains: &[Domain::Uniform(0.05, 4.0)],
    extra_cases: || {
        vec![
            Case::new("all_exponents")
                .f32(&[3, 67], Domain::Uniform(1e-30, 1e+30))
                .no_gradient(),
        ]
    },
    flops: 4,
    derivatives: Derivatives::unread(),
};
