//! How long something takes: by the device's timestamps, or by the wall clock where it has none.

use std::time::Instant;

use crate::bench::report::Timing;
use crate::bench::statistics::{Budget, Samples};
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::gpu::stream::BATCH;

/// What tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Timestamps around the dispatches on the device.
    Timestamps,
    /// The host's, around calls that have been waited for.
    Wall,
}

/// Ticks of the device's clock that a sample should last, so that a coarse clock errs by a hundredth at most.
const TICKS: f64 = 100.0;
/// Seconds that a sample by wall clock should last at least: a submission costs some ten microseconds.
const WALL_SECS: f64 = 200e-6;

impl Clock {
    pub fn of(device: &Device) -> Self {
        match device.caps().timestamps {
            true => Clock::Timestamps,
            false => Clock::Wall,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Clock::Timestamps => "timestamps",
            Clock::Wall => "wall",
        }
    }

    /// Seconds per call of `call`, which records `n_dispatches`; it has been called before.
    ///
    /// A call that is short against the clock is repeated within one sample: within one pass, if its dispatches allow.
    pub fn time(
        self,
        device: &Device,
        budget: &Budget,
        n_dispatches: u64,
        call: impl Fn() -> Result<()>,
    ) -> Result<Timing> {
        self.time_prepared(device, budget, n_dispatches, || Ok(()), |()| call())
    }

    /// As [`time`](Self::time), of work on something that is prepared anew for each call, outside of the time.
    pub fn time_prepared<T>(
        self,
        device: &Device,
        budget: &Budget,
        n_dispatches: u64,
        prepare: impl Fn() -> Result<T>,
        work: impl Fn(T) -> Result<()>,
    ) -> Result<Timing> {
        let once = |repeats: u64| -> Result<f64> {
            let prepared = (0..repeats)
                .map(|_| prepare())
                .collect::<Result<Vec<T>>>()?;
            let secs = self.sample(device, || prepared.into_iter().try_for_each(&work))?;
            Ok(secs / repeats as f64)
        };
        let first = once(1)?;
        let wanted = match self {
            Clock::Timestamps => TICKS * f64::from(device.caps().timestamp_period_ns) * 1e-9,
            Clock::Wall => WALL_SECS,
        };
        let most = u64::from(BATCH) / n_dispatches.max(1);
        // A clock that stood still says nothing about how often: as often as one pass allows.
        let repeats = match first > 0.0 {
            true => ((wanted / first).ceil() as u64).clamp(1, most.max(1)),
            false => most.max(1),
        };
        sample(budget, || once(repeats))
    }

    /// Seconds of the work, once. 0, which [`Samples`] throws away, where the device's clock says more than the host's: a
    /// timestamp that was not written holds whatever was there.
    pub(super) fn sample(self, device: &Device, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let begin = Instant::now();
        let on_device = match self {
            Clock::Timestamps => Some(device.time_on_device(work)? * 1e-9),
            Clock::Wall => {
                work()?;
                device.wait()?;
                None
            }
        };
        let waited = begin.elapsed().as_secs_f64();
        Ok(match on_device {
            None => waited,
            Some(secs) if secs <= waited => secs,
            Some(_) => 0.0,
        })
    }
}

/// Takes samples until the budget asks for no more.
///
/// Errors: whatever `take` returns; [`Error::Unsupported`] if no sample was above zero.
pub fn sample(budget: &Budget, mut take: impl FnMut() -> Result<f64>) -> Result<Timing> {
    let mut samples = Samples::default();
    let begin = Instant::now();
    while !samples.enough(budget, begin.elapsed().as_secs_f64()) {
        samples.push(take()?);
    }
    samples.timing().ok_or_else(|| Error::Unsupported {
        what: "clock that moves: every sample took no time at all".to_string(),
        adapter: "the device".to_string(),
    })
}
