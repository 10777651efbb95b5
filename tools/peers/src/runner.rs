//! How an engine is asked to do a piece of work again and again. Knows neither engine nor clock.

use crate::Failure;

/// When what was called goes to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submit {
    /// After every call, so that no engine makes one kernel of several calls.
    Each,
    /// When the engine thinks fit, at the latest before it is waited for. Results are kept until then.
    Together,
}

/// One engine with one piece of work.
pub trait Runner {
    /// Does the work from the beginning and reads the numbers that came out.
    fn result(&mut self) -> Result<Vec<f32>, Failure>;

    /// Does the work once more, without waiting for the device.
    fn call(&mut self) -> Result<(), Failure>;

    /// Reads the numbers of the last call, which show that the device did what was timed. `None` where every call
    /// goes on from the one before, so that there is nothing to compare with.
    fn last(&mut self) -> Result<Option<Vec<f32>>, Failure>;

    /// Waits until the device has done everything.
    fn wait(&mut self) -> Result<(), Failure>;
}
