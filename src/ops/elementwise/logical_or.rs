//! y   = 1 where a or b is not 0, else 0
//! vjp: none
//! source: numpy.logical_or

use crate::error::Result;
use crate::fuse::{Function, Kind, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB_FLAGS, Domain, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// 1 where at least one of two flags is set, that is not 0; 0 elsewhere.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ from `u32`.
    pub fn logical_or(&self, other: impl IntoOperand) -> Result<Tensor> {
        LOGICAL_OR.binary(self, other)
    }
}

pub static LOGICAL_OR: Elementwise = Elementwise {
    signature: &Signature::simple(
        "logical_or",
        "y = 1 where a or b is not 0, else 0",
        "numpy.logical_or",
        AB_FLAGS,
    ),
    function: &Function::binary("logical_or", wgsl!("elementwise/logical_or"), |x, _| {
        f64::from(x[0] != 0.0 || x[1] != 0.0)
    })
    .inputs(&[("a", Kind::Flag), ("b", Kind::Flag)])
    .flag(),
    domains: &[Domain::Index(3), Domain::Index(3)],
    extra_cases: Vec::new,
    flops: 1,
    derivatives: Derivatives::unread(),
};
