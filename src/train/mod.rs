//! What a training run measures and draws. Knows no device.

pub mod baseline;
pub mod log;
pub mod metrics;
pub mod picture;
pub mod plot;
pub mod report;

pub use log::MetricsLog;
pub use metrics::{Confusion, Scores};
