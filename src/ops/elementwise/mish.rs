//! y   = x · tanh(ln(1 + eˣ))
//! vjp: dx = dy · (t + x · (1 − t²) / (1 + e⁻ˣ)), t = tanh(ln(1 + eˣ))
//! source: Misra 2019, arXiv:1908.08681

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// x times the hyperbolic tangent of its softplus.
    ///
    /// Of 1 it is 0.865098.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn mish(&self) -> Result<Tensor> {
        MISH.unary(self)
    }
}

pub static MISH: Elementwise = Elementwise {
    signature: &Signature::simple(
        "mish",
        "y = x · tanh(ln(1 + eˣ))",
        "Misra 2019, arXiv:1908.08681",
        X,
    ),
    function: &Function::unary("mish", wgsl!("elementwise/mish"), |x, _| {
        x[0] * (x[0].max(0.0) + (-x[0].abs()).exp().ln_1p()).tanh()
    })
    .ulps(12.0)
    .course(Course::Turns(&[-1.192_431_214_515_495_4])),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("large_arguments").f32(&[65], Domain::Uniform(-80.0, 80.0)),
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 30,
    derivatives: Derivatives::unread(),
};
