//! Training a model, and saying honestly how good it became.

pub mod baseline;
pub mod report;
