//! What elementwise calls take: tensors, and numbers that take the dtype of the tensor beside them.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// What can stand for a tensor in an elementwise call: a tensor or a number, which takes the tensor's dtype.
pub trait IntoOperand {
    fn into_operand(self) -> ScalarOr;
}

/// A tensor, or a number on its way to being one.
#[derive(Debug, Clone)]
pub enum ScalarOr {
    Tensor(Tensor),
    Scalar(f64),
}

impl IntoOperand for &Tensor {
    fn into_operand(self) -> ScalarOr {
        ScalarOr::Tensor(self.clone())
    }
}

impl IntoOperand for f32 {
    fn into_operand(self) -> ScalarOr {
        ScalarOr::Scalar(f64::from(self))
    }
}

impl IntoOperand for f64 {
    fn into_operand(self) -> ScalarOr {
        ScalarOr::Scalar(self)
    }
}

impl IntoOperand for i32 {
    fn into_operand(self) -> ScalarOr {
        ScalarOr::Scalar(f64::from(self))
    }
}

pub(crate) fn scalar_bits(op: &'static str, number: f64, dtype: DType) -> Result<u32> {
    let out_of_range = || {
        Error::attribute(
            op,
            format!("the number {number} is no {dtype}, the dtype of the tensor"),
        )
    };
    match dtype {
        DType::F32 | DType::F16 => Ok((number as f32).to_bits()),
        DType::I32 if number == f64::from(number as i32) => Ok(number as i32 as u32),
        DType::U32 if number == f64::from(number as u32) => Ok(number as u32),
        DType::I32 | DType::U32 => Err(out_of_range()),
    }
}
