//! Pending elementwise expressions and the kernels made of them. Knows scalar functions, no operator families.
//!
//! An elementwise operator does not run: it notes a [`Function`] and its operands ([`expression`]). When something
//! needs the numbers, the expressions that are still pending become one generated kernel ([`kernel`]), compiled once
//! per structure and checked against the functions' f64 twins at its first use ([`verify`]), within the bounds of [`bound`]. What is fused depends
//! on the sequence of calls, the shapes and the device's limits only: never on time or memory pressure.

pub(crate) mod bound;
pub(crate) mod expression;
pub(crate) mod function;
pub(crate) mod graph;
pub(crate) mod kernel;
mod reading;
mod verify;
mod write;

#[cfg(feature = "check")]
pub(crate) use crate::gpu::stream::MAX_BINDINGS;
#[cfg(feature = "check")]
pub(crate) use expression::MAX_NODES;
pub(crate) use expression::{Operand, add, apply, cast, contiguous, materialise_all};
pub use function::ADD;
pub use function::{Course, Function, Kind, Param};
pub(crate) use function::{Variant, side, wgsl};
#[cfg(feature = "bench")]
pub(crate) use kernel::take_given_way;
pub use kernel::{FUSED, generated};
