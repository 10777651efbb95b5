//! y   = the angle of the point (b, a)
//! vjp: da = dy · b / (a² + b²), db = −dy · a / (a² + b²)
//! source: numpy.arctan2

use crate::error::Result;
use crate::fuse::{Course, Function, side, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB, Case, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// The angle of the point with ordinate `a` and abscissa `b`, in [−π, π].
    ///
    /// Of 1 and −1 it is 2.356194; of 0 and 0 it is 0.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ or are integers.
    pub fn atan2(&self, other: impl IntoOperand) -> Result<Tensor> {
        ATAN2.binary(self, other)
    }
}

pub static ATAN2: Elementwise = Elementwise {
    signature: &Signature::simple(
        "atan2",
        "y = the angle of the point (b, a)",
        "numpy.arctan2",
        AB,
    ),
    function: &Function::binary("atan2", wgsl!("elementwise/atan2"), |x, _| x[0].atan2(x[1]))
        .ulps(8.0)
        .course(Course::Pieces(|x| {
            // The angle jumps where a is 0 and b is not positive.
            if x[1] > 0.0 { 0.0 } else { side(x[0]) }
        })),
    domains: &[Domain::Uniform(0.3, 2.0), Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("all_around")
                .f32(&[5, 67], Domain::Uniform(-2.0, 2.0))
                .f32(&[5, 67], Domain::Uniform(-2.0, 2.0))
                .no_gradient(),
            Case::new("origin")
                .f32(&[5], Domain::Constant(0.0))
                .f32(&[5], Domain::Constant(0.0))
                .no_gradient(),
            Case::new("axes")
                .f32(&[25], Domain::Integers(-1, 1))
                .f32(&[25], Domain::Integers(-1, 1))
                .no_gradient(),
        ]
    },
    flops: 25,
    derivatives: Derivatives::unread(),
};
