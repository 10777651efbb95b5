//! y   = aᵇ
//! vjp: da = dy · b · aᵇ⁻¹, db = dy · y · ln a
//! source: numpy.power; C99 annex F.10.4.4 for the edges

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB, Case, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// `a` to the power of `b`.
    ///
    /// −2 to the power of 3 is −8; to a power that is not whole, a negative number is NaN. Anything to the power of 0
    /// is 1, and so is 1 to any power. `rpow` has the operands the other way around: `x.rpow(2.0)` is 2ˣ.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ or are integers.
    pub fn pow(&self, other: impl IntoOperand) -> Result<Tensor> {
        POW.binary(self, other)
    }

    /// `other` to the power of this tensor: `x.rpow(2.0)` is 2ˣ. As [`pow`](Self::pow) otherwise.
    pub fn rpow(&self, other: impl IntoOperand) -> Result<Tensor> {
        POW.binary(other, self)
    }
}

pub static POW: Elementwise = Elementwise {
    signature: &Signature::simple(
        "pow",
        "y = aᵇ",
        "numpy.power; C99 annex F.10.4.4 for the edges",
        AB,
    ),
    function: &Function::binary("pow", wgsl!("elementwise/pow"), |x, _| x[0].powf(x[1]))
        .ulps(5.0)
        .course(Course::Pieces(|x| {
            // Below 0 every exponent is a piece of its own, unless it is not whole.
            if x[0] > 0.0 {
                f64::INFINITY
            } else if x[0] < 0.0 && x[1] == x[1].trunc() {
                x[1]
            } else if x[0] == 0.0 && x[1] > 0.0 {
                f64::NEG_INFINITY
            } else {
                f64::NAN
            }
        })),
    domains: &[Domain::Uniform(0.2, 3.0), Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("negative_base")
                .f32(&[3, 67], Domain::Uniform(-3.0, -0.1))
                .f32(&[3, 67], Domain::Integers(-3, 3))
                .no_gradient(),
            Case::new("square")
                .f32(&[65], Domain::Uniform(-3.0, 3.0))
                .f32(&[1], Domain::Constant(2.0))
                .no_gradient(),
            Case::new("large_exponents")
                .f32(&[3, 67], Domain::Uniform(0.5, 1.5))
                .f32(&[3, 67], Domain::Uniform(-120.0, 120.0))
                .no_gradient(),
            Case::new("next_to_one")
                .f32(&[3, 67], Domain::Uniform(0.999, 1.001))
                .f32(&[3, 67], Domain::Uniform(-30000.0, 30000.0))
                .no_gradient(),
            Case::new("zero_base")
                .f32(&[13], Domain::Constant(0.0))
                .f32(&[13], Domain::Integers(-3, 3))
                .no_gradient(),
            Case::new("zero_exponent")
                .f32(&[5], Domain::Constant(f64::NAN))
                .f32(&[5], Domain::Constant(0.0))
                .no_gradient(),
            Case::new("not_whole")
                .f32(&[5], Domain::Constant(-2.0))
                .f32(&[5], Domain::Constant(0.5))
                .no_gradient(),
            Case::new("infinite_base")
                .f32(&[13], Domain::Constant(f64::NEG_INFINITY))
                .f32(&[13], Domain::Integers(-3, 3))
                .no_gradient(),
            Case::new("infinite_exponent")
                .f32(&[13], Domain::Integers(-3, 3))
                .f32(&[13], Domain::Constant(f64::INFINITY))
                .no_gradient(),
        ]
    },
    flops: 40,
    derivatives: Derivatives::unread(),
};
