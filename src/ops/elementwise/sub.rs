//! y   = a − b
//! vjp: da = dy, db = −dy, each summed over the axes that were broadcast
//! source: numpy.subtract

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB_ANY, Case, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// The difference, element by element.
    ///
    /// `rsub` has the operands the other way around: `x.rsub(1.0)` is 1 − x.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ. Integers wrap around.
    pub fn sub(&self, other: impl IntoOperand) -> Result<Tensor> {
        SUB.binary(self, other)
    }

    /// `other` less this tensor: `x.rsub(1.0)` is 1 − x. As [`sub`](Self::sub) otherwise.
    pub fn rsub(&self, other: impl IntoOperand) -> Result<Tensor> {
        SUB.binary(other, self)
    }
}

impl std::ops::Sub<&Tensor> for &Tensor {
    type Output = Result<Tensor>;

    fn sub(self, other: &Tensor) -> Result<Tensor> {
        Tensor::sub(self, other)
    }
}

impl std::ops::Sub<f64> for &Tensor {
    type Output = Result<Tensor>;

    fn sub(self, other: f64) -> Result<Tensor> {
        Tensor::sub(self, other)
    }
}

impl std::ops::Sub<&Tensor> for f64 {
    type Output = Result<Tensor>;

    fn sub(self, other: &Tensor) -> Result<Tensor> {
        other.rsub(self)
    }
}

pub static SUB: Elementwise = Elementwise {
    signature: &Signature::simple("sub", "y = a − b", "numpy.subtract", AB_ANY),
    function: &Function::binary("sub", wgsl!("elementwise/sub"), |x, _| x[0] - x[1]),
    domains: &[Domain::Uniform(-2.0, 2.0), Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("cancelling")
                .f32(&[2, 67], Domain::Offset(1e4, 1.0))
                .f32(&[2, 67], Domain::Offset(1e4, 1.0)),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
