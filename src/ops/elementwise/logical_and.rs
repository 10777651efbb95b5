//! y   = 1 where both a and b are not 0, else 0
//! vjp: none
//! source: numpy.logical_and

use crate::error::Result;
use crate::fuse::{Function, Kind, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB_FLAGS, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// 1 where both flags are set, that is not 0; 0 elsewhere.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ from `u32`.
    pub fn logical_and(&self, other: impl IntoOperand) -> Result<Tensor> {
        LOGICAL_AND.binary(self, other)
    }
}

pub static LOGICAL_AND: Elementwise = Elementwise {
    signature: &Signature::simple(
        "logical_and",
        "y = 1 where both a and b are not 0, else 0",
        "numpy.logical_and",
        AB_FLAGS,
    ),
    function: &Function::binary("logical_and", wgsl!("elementwise/logical_and"), |x, _| {
        f64::from(x[0] != 0.0 && x[1] != 0.0)
    })
    .inputs(&[("a", Kind::Flag), ("b", Kind::Flag)])
    .flag(),
    domains: &[Domain::Index(3), Domain::Index(3)],
    extra_cases: Vec::new,
    flops: 1,
    derivatives: Derivatives::unread(),
};
