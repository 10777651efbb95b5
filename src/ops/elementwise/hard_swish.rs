//! y   = x · min(max(x / 6 + ½, 0), 1)
//! vjp: dx = 0 below −3, dy above 3, dy · (x / 3 + ½) between
//! source: Howard et al. 2019, arXiv:1905.02244

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// x times its hard sigmoid.
    ///
    /// Of 1 it is 0.666667.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn hard_swish(&self) -> Result<Tensor> {
        HARD_SWISH.unary(self)
    }
}

pub static HARD_SWISH: Elementwise = Elementwise {
    signature: &Signature::simple(
        "hard_swish",
        "y = x · min(max(x / 6 + ½, 0), 1)",
        "Howard et al. 2019, arXiv:1905.02244",
        X,
    ),
    function: &Function::unary("hard_swish", wgsl!("elementwise/hard_swish"), |x, _| {
        if x[0].is_nan() {
            x[0]
        } else {
            x[0] * (x[0] / 6.0 + 0.5).clamp(0.0, 1.0)
        }
    })
    .ulps_of_terms(3.0)
    .course(Course::Turns(&[-3.0, -1.5])),
    domains: &[Domain::Uniform(-5.0, 5.0)],
    extra_cases: || {
        vec![
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 5,
    derivatives: Derivatives::unread(),
};
