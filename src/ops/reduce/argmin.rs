//! y   = the index of the smallest element along the axis
//! vjp: none
//! source: numpy.argmin

use crate::error::Result;
use crate::ops::op::Signature;
use crate::ops::reduce::argmax::{Arg, SIGNATURE_ATTRS, X_COMPARED};
use crate::tensor::Tensor;

impl Tensor {
    /// The index of the smallest element along an axis, or in row-major order over all of them with `None`, as `u32`.
    ///
    /// `keepdim` keeps reduced axes with length 1. Of several equal ones it is the first; a NaN counts as the
    /// smallest, so the first NaN is found. Of 3, 1, 3 it is 1.
    /// Errors: [`Error::Attribute`](crate::Error::Attribute) for an axis that is not there;
    /// [`Error::Empty`](crate::Error::Empty) if there are no elements to choose from.
    pub fn argmin(&self, axis: Option<i64>, keepdim: bool) -> Result<Tensor> {
        ARGMIN.apply(self, axis, keepdim)
    }
}

pub static ARGMIN: Arg = Arg {
    signature: &Signature {
        name: "argmin",
        formula: "y = index of min x along the axis",
        source: "numpy.argmin",
        inputs: X_COMPARED,
        attrs: SIGNATURE_ATTRS,
        outputs: &["y"],
    },
    entry: "argmin",
    better: |a, b| a < b,
};
