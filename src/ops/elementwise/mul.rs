//! y   = a · b
//! vjp: da = dy · b, db = dy · a, each summed over the axes that were broadcast
//! source: NumPy's `multiply`

use crate::error::Result;
use crate::fuse::{Course, Function, Kind};
use crate::gpu::Source;
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand, ScalarOr};
use crate::ops::op::{ANY, Domain, Input, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// The product, element by element.
    ///
    /// Shapes: broadcast by NumPy's rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ. Integers wrap around.
    pub fn mul(&self, other: impl IntoOperand) -> Result<Tensor> {
        MUL.apply(
            &[ScalarOr::Tensor(self.clone()), other.into_operand()],
            Vec::new(),
        )
    }
}

impl std::ops::Mul<&Tensor> for &Tensor {
    type Output = Result<Tensor>;

    fn mul(self, other: &Tensor) -> Result<Tensor> {
        Tensor::mul(self, other)
    }
}

impl std::ops::Mul<f64> for &Tensor {
    type Output = Result<Tensor>;

    fn mul(self, other: f64) -> Result<Tensor> {
        Tensor::mul(self, other)
    }
}

impl std::ops::Mul<&Tensor> for f64 {
    type Output = Result<Tensor>;

    fn mul(self, other: &Tensor) -> Result<Tensor> {
        Tensor::mul(other, self)
    }
}

pub static MUL: Elementwise = Elementwise {
    signature: &Signature {
        name: "mul",
        formula: "y = a · b",
        source: "numpy.multiply",
        inputs: &[Input::grad("a", ANY), Input::grad("b", ANY)],
        attrs: &[],
        outputs: &["y"],
    },
    function: &Function {
        name: "mul",
        source: Source::file(
            "elementwise/mul",
            include_str!("../../../shaders/elementwise/mul.wgsl"),
        ),
        inputs: &[("a", Kind::Elem), ("b", Kind::Elem)],
        output: Kind::Elem,
        params: &[],
        differentiable: &[true, true],
        indexed: false,
        twin: |x, _| x[0] * x[1],
        ulps: 1.0,
        relative: true,
        course: Course::Monotone,
    },
    domains: &[Domain::Uniform(-2.0, 2.0), Domain::Uniform(-2.0, 2.0)],
    extra_cases: Vec::new,
    flops: 1,
    derivatives: Derivatives::unread(),
};
