//! y   = 1 where exactly one of a and b is not 0, else 0
//! vjp: none
//! source: numpy.logical_xor

use crate::error::Result;
use crate::fuse::{Function, Kind, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB_FLAGS, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// 1 where exactly one of two flags is set, that is not 0; 0 elsewhere.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ from `u32`.
    pub fn logical_xor(&self, other: impl IntoOperand) -> Result<Tensor> {
        LOGICAL_XOR.binary(self, other)
    }
}

pub static LOGICAL_XOR: Elementwise = Elementwise {
    signature: &Signature::simple(
        "logical_xor",
        "y = 1 where exactly one of a and b is not 0, else 0",
        "numpy.logical_xor",
        AB_FLAGS,
    ),
    function: &Function::binary("logical_xor", wgsl!("elementwise/logical_xor"), |x, _| {
        f64::from((x[0] != 0.0) != (x[1] != 0.0))
    })
    .inputs(&[("a", Kind::Flag), ("b", Kind::Flag)])
    .flag(),
    domains: &[Domain::Index(3), Domain::Index(3)],
    extra_cases: Vec::new,
    flops: 1,
    derivatives: Derivatives::unread(),
};
