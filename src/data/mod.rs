//! Recordings, and what stands in for them. Knows no model.

pub mod synthetic;
