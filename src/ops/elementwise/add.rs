//! y   = a + b
//! vjp: da = dy, db = dy, each summed over the axes that were broadcast
//! source: NumPy's `add`

use crate::error::Result;
use crate::fuse;
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand, ScalarOr};
use crate::ops::op::{ANY, Case, Domain, Input, Signature};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// The sum, element by element.
    ///
    /// Shapes: broadcast by NumPy's rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ. Integers wrap around.
    pub fn add(&self, other: impl IntoOperand) -> Result<Tensor> {
        ADD.apply(
            &[ScalarOr::Tensor(self.clone()), other.into_operand()],
            Vec::new(),
        )
    }
}

impl std::ops::Add<&Tensor> for &Tensor {
    type Output = Result<Tensor>;

    fn add(self, other: &Tensor) -> Result<Tensor> {
        Tensor::add(self, other)
    }
}

impl std::ops::Add<f64> for &Tensor {
    type Output = Result<Tensor>;

    fn add(self, other: f64) -> Result<Tensor> {
        Tensor::add(self, other)
    }
}

impl std::ops::Add<&Tensor> for f64 {
    type Output = Result<Tensor>;

    fn add(self, other: &Tensor) -> Result<Tensor> {
        Tensor::add(other, self)
    }
}

pub static ADD: Elementwise = Elementwise {
    signature: &Signature {
        name: "add",
        formula: "y = a + b",
        source: "numpy.add",
        inputs: &[Input::grad("a", ANY), Input::grad("b", ANY)],
        attrs: &[],
        outputs: &["y"],
    },
    function: &fuse::ADD,
    domains: &[Domain::Uniform(-2.0, 2.0), Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("cancelling")
                .f32(&[2, 67], Domain::Offset(1e4, 1.0))
                .f32(&[2, 67], Domain::Offset(-1e4, 1.0)),
            Case::new("f16_bias")
                .input(&[3, 33], DType::F16, Domain::Uniform(-2.0, 2.0))
                .input(&[33], DType::F16, Domain::Uniform(-2.0, 2.0)),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
