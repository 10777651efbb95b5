//! y   = a − b · ⌊a / b⌋
//! vjp: da = dy, db = −dy · ⌊a / b⌋, each summed over the axes that were broadcast
//! source: torch.remainder; Python’s %

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB, Case, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// The remainder of a division, with the sign of the divisor as in Python: −1 by 3 leaves 2, 1 by −3 leaves −2.
    ///
    /// Rust’s `%` has the sign of the dividend.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ or are integers.
    pub fn remainder(&self, other: impl IntoOperand) -> Result<Tensor> {
        REMAINDER.binary(self, other)
    }
}

pub static REMAINDER: Elementwise = Elementwise {
    signature: &Signature::simple(
        "remainder",
        "y = a − b · ⌊a / b⌋",
        "torch.remainder; Python’s %",
        AB,
    ),
    function: &Function::binary("remainder", wgsl!("elementwise/remainder"), |x, _| {
        x[0] - x[1] * (x[0] / x[1]).floor()
    })
    .ulps_of_terms(4.0)
    .course(Course::Pieces(|x| {
        // Next to a whole quotient rounding decides between 0 and b: of a tiny a, a + b is b itself.
        let quotient = x[0] / x[1];
        if (quotient - quotient.round()).abs() <= 1e-6 * quotient.abs().max(1.0) {
            f64::NAN
        } else {
            quotient.floor()
        }
    })),
    domains: &[Domain::Uniform(0.1, 0.9), Domain::Uniform(1.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("signs")
                .f32(&[3, 65], Domain::Integers(-20, 20))
                .f32(&[1, 65], Domain::Integers(3, 7))
                .no_gradient(),
            Case::new("negative_divisor")
                .f32(&[3, 65], Domain::Integers(-20, 20))
                .f32(&[65], Domain::Integers(-7, -3))
                .no_gradient(),
        ]
    },
    flops: 6,
    derivatives: Derivatives::unread(),
};
