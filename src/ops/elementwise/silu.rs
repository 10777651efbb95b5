//! y   = x / (1 + e⁻ˣ)
//! vjp: dx = dy · s · (1 + x (1 − s)), s = 1 / (1 + e⁻ˣ)
//! source: Elfwing et al. 2017, arXiv:1702.03118; torch.nn.functional.silu

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// x times the logistic function, also called swish.
    ///
    /// Of 1 it is 0.731059.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn silu(&self) -> Result<Tensor> {
        SILU.unary(self)
    }
}

pub static SILU: Elementwise = Elementwise {
    signature: &Signature::simple(
        "silu",
        "y = x / (1 + e⁻ˣ)",
        "Elfwing et al. 2017, arXiv:1702.03118; torch.nn.functional.silu",
        X,
    ),
    function: &Function::unary("silu", wgsl!("elementwise/silu"), |x, _| {
        x[0] / (1.0 + (-x[0]).exp())
    })
    .ulps(9.0)
    .course(Course::Turns(&[-1.278_464_542_761_074_1])),
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
    flops: 15,
    derivatives: Derivatives::unread(),
};
