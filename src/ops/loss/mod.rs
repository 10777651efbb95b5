//! Losses: how far a prediction is from its target, as one number or one per row.

pub mod cross_entropy;

use crate::ops::op::Op;

pub use cross_entropy::{CrossEntropy, Reduction};

pub(crate) static OPS: &[&dyn Op] = &[&cross_entropy::CROSS_ENTROPY];
