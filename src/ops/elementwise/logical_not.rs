//! y   = 1 where x is 0, else 0
//! vjp: none
//! source: numpy.logical_not

use crate::error::Result;
use crate::fuse::{Function, Kind, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Domain, FLAG, Input, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// 1 where a flag is not set, that is 0; 0 elsewhere.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for other dtypes than `u32`.
    pub fn logical_not(&self) -> Result<Tensor> {
        LOGICAL_NOT.unary(self)
    }
}

pub static LOGICAL_NOT: Elementwise = Elementwise {
    signature: &Signature::simple(
        "logical_not",
        "y = 1 where x is 0, else 0",
        "numpy.logical_not",
        &[Input::plain("x", FLAG)],
    ),
    function: &Function::unary("logical_not", wgsl!("elementwise/logical_not"), |x, _| {
        f64::from(x[0] == 0.0)
    })
    .inputs(&[("x", Kind::Flag)])
    .flag(),
    domains: &[Domain::Index(3)],
    extra_cases: Vec::new,
    flops: 1,
    derivatives: Derivatives::unread(),
};
