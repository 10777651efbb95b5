//! y   = a / b
//! vjp: da = dy / b, db = −dy · y / b, each summed over the axes that were broadcast
//! source: numpy.divide

use crate::error::Result;
use crate::fuse::{Course, Function, side, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB, Case, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// The quotient, element by element, of floating-point tensors.
    ///
    /// `rdiv` has the operands the other way around: `x.rdiv(1.0)` is 1 / x.
    /// Edges: by 0 it is infinite, 0 by 0 is NaN, where the driver follows IEEE 754 (lavapipe and SwiftShader do).
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ or are integers.
    pub fn div(&self, other: impl IntoOperand) -> Result<Tensor> {
        DIV.binary(self, other)
    }

    /// `other` divided by this tensor: `x.rdiv(1.0)` is 1 / x. As [`div`](Self::div) otherwise.
    pub fn rdiv(&self, other: impl IntoOperand) -> Result<Tensor> {
        DIV.binary(other, self)
    }
}

impl std::ops::Div<&Tensor> for &Tensor {
    type Output = Result<Tensor>;

    fn div(self, other: &Tensor) -> Result<Tensor> {
        Tensor::div(self, other)
    }
}

impl std::ops::Div<f64> for &Tensor {
    type Output = Result<Tensor>;

    fn div(self, other: f64) -> Result<Tensor> {
        Tensor::div(self, other)
    }
}

impl std::ops::Div<&Tensor> for f64 {
    type Output = Result<Tensor>;

    fn div(self, other: &Tensor) -> Result<Tensor> {
        other.rdiv(self)
    }
}

pub static DIV: Elementwise = Elementwise {
    signature: &Signature::simple("div", "y = a / b", "numpy.divide", AB),
    function: &Function::binary("div", wgsl!("elementwise/div"), |x, _| x[0] / x[1])
        .ulps(5.0)
        .course(Course::Pieces(|x| side(x[1]))),
    domains: &[Domain::Uniform(-2.0, 2.0), Domain::Uniform(0.5, 2.0)],
    extra_cases: || {
        vec![
            Case::new("small_denominators")
                .f32(&[3, 33], Domain::Uniform(-1.0, 1.0))
                .f32(&[3, 33], Domain::Uniform(1e-06, 2e-06))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
