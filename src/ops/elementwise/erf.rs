//! y   = 2/√π ∫₀ˣ exp(−t²) dt
//! vjp: dx = dy · 2/√π · exp(−x²)
//! source: Abramowitz & Stegun 7.1.1; torch.erf

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The error function.
    ///
    /// Of 1 it is 0.842701.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn erf(&self) -> Result<Tensor> {
        ERF.unary(self)
    }
}

pub static ERF: Elementwise = Elementwise {
    signature: &Signature::simple(
        "erf",
        "y = 2/√π ∫₀ˣ exp(−t²) dt",
        "Abramowitz & Stegun 7.1.1; torch.erf",
        X,
    ),
    function: &Function::unary("erf", wgsl!("elementwise/erf"), |x, _| {
        crate::ops::elementwise::gelu::erf(x[0])
    })
    .ulps(5.0),
    domains: &[Domain::Uniform(-3.0, 3.0)],
    extra_cases: || {
        vec![
            Case::new("large_arguments").f32(&[65], Domain::Uniform(-10000.0, 10000.0)),
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
    flops: 25,
    derivatives: Derivatives::unread(),
};
