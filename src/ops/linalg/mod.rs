//! Products of matrices.
//!
//! `matmul` has the ladder that the others of this family will climb: `matmul_plan` picks a kernel, `matmul_gen`
//! writes those that are pure unrollings.

pub mod matmul;
pub(crate) mod matmul_gen;
pub(crate) mod matmul_plan;

use crate::ops::op::Op;

pub(crate) static OPS: &[&dyn Op] = &[&matmul::Matmul];
