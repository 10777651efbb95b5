//! How far kernels are from what the adapter could do: ceilings, rows of the registry against them, training steps.
//!
//! Everything here follows from the operators' cases, entries and costs; there is no code per operator.

pub mod page;
pub mod report;
pub mod statistics;

pub use report::Report;
