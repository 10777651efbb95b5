//! Optimizers, schedules and averages of parameters; also reachable as `affekt::optim`.

mod ema;
mod optimizer;
mod schedule;

pub use ema::Ema;
pub use optimizer::{Group, Later, Optimizer, Step};
pub use schedule::Schedule;
