//! y   = λ · (x where x > 0, else α (eˣ − 1)), λ = 1.0507010, α = 1.6732632
//! vjp: dx = λ · (dy where x > 0, else dy · α eˣ)
//! source: Klambauer et al. 2017, arXiv:1706.02515

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The self-normalising exponential linear unit.
    ///
    /// Of 1 it is 1.050701, of −1 −1.111331.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn selu(&self) -> Result<Tensor> {
        SELU.unary(self)
    }
}

pub static SELU: Elementwise = Elementwise {
    signature: &Signature::simple(
        "selu",
        "y = λ · (x where x > 0, else α (eˣ − 1)), λ = 1.0507010, α = 1.6732632",
        "Klambauer et al. 2017, arXiv:1706.02515",
        X,
    ),
    function: &Function::unary("selu", wgsl!("elementwise/selu"), |x, _| {
        const LAMBDA: f64 = 1.050_700_987_355_480_5;
        const ALPHA: f64 = 1.673_263_242_354_377_2;
        LAMBDA
            * if x[0] > 0.0 {
                x[0]
            } else {
                ALPHA * x[0].exp_m1()
            }
    })
    .ulps(8.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("large_arguments")
                .f32(&[65], Domain::Uniform(-10000.0, 10000.0))
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
    flops: 15,
    derivatives: Derivatives::unread(),
};
