//! How far kernels are from what the adapter could do: ceilings, rows of the registry against them, training steps.
//!
//! Everything here follows from the operators' cases, entries and costs; there is no code per operator.

mod call;
pub mod ceilings;
pub mod clock;
pub mod compare;
pub mod page;
pub mod report;
pub mod rows;
mod run;
pub mod rungs;
pub mod statistics;
pub mod steps;
pub mod tune;

pub use report::Report;
pub use run::{Event, Settings, run};
