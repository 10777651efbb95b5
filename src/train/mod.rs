//! Training: a recipe, the loop, protocols over folds, checkpoints, and what a run measures and draws.
//!
//! ```text
//! recordings → FrontEnd → Spectrogram → Examples → fit (one fold) → experiment::run (a protocol)
//! ```

pub mod baseline;
pub mod checkpoint;
pub mod experiment;
pub mod fit;
pub mod front_end;
pub mod log;
pub mod metrics;
pub mod picture;
pub mod plot;
pub mod recipe;
pub mod report;
pub mod spectrograms;

pub use front_end::FrontEnd;
pub use log::MetricsLog;
pub use metrics::{Confusion, Scores};
pub use recipe::Recipe;
pub use spectrograms::{Cut, Examples, Excerpt, Normalisation, Padding, Spectrogram};
