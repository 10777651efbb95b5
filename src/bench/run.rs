//! One run on one adapter: ceilings, then every row against them, then training steps, then whether to believe it all.

use std::time::Instant;

use crate::bench::ceilings;
use crate::bench::clock::Clock;
use crate::bench::report::{Ceilings, Environment, Health, Machine, Row, RowVerdict, Step};
use crate::bench::statistics::Budget;
use crate::bench::{rows, steps};
use crate::error::Result;
use crate::gpu::Device;

/// Copying slower after the run than before by this much is called throttling.
const THROTTLED: f64 = 1.15;
/// Working set whose copying is timed before and after: beyond the caches of most, short on all.
const REFERENCE: u64 = 16 << 20;

/// What to run.
pub struct Settings {
    pub rows: Vec<rows::Subject>,
    pub steps: Vec<steps::Subject>,
    /// For each row and each ceiling.
    pub budget: Budget,
    /// For each part of a training step.
    pub step_budget: Budget,
}

/// What has just been found, or is about to be.
pub enum Event<'a> {
    /// The name of what is measured now, and which of how many it is.
    Measuring {
        name: &'a str,
        i: usize,
        n: usize,
    },
    Ceilings(&'a Ceilings),
    Row(&'a Row),
    Step(&'a Step),
}

/// Runs all of it on an open device.
///
/// Errors: [`Error::DeviceLost`](crate::Error::DeviceLost); those of the ceilings. A row that goes wrong is in the result.
pub fn run(
    device: &Device,
    environment: Environment,
    settings: &Settings,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Machine> {
    let begin = Instant::now();
    let n = settings.rows.len() + settings.steps.len();
    let measured = ceilings::measure(device, &settings.budget, &mut |name| {
        tell(Event::Measuring { name, i: 0, n });
    })?;
    tell(Event::Ceilings(&measured));
    let before = ceilings::copy_secs(device, REFERENCE, &settings.budget)?;
    let mut found = Vec::with_capacity(settings.rows.len());
    for (i, subject) in settings.rows.iter().enumerate() {
        let name = &subject.name();
        tell(Event::Measuring { name, i, n });
        let row = subject.measure(device, &measured, &settings.budget)?;
        tell(Event::Row(&row));
        found.push(row);
    }
    let mut trained = Vec::with_capacity(settings.steps.len());
    for (i, subject) in settings.steps.iter().enumerate() {
        let (name, i) = (&subject.name(), i + found.len());
        tell(Event::Measuring { name, i, n });
        let step = subject.measure(device, &settings.step_budget)?;
        tell(Event::Step(&step));
        trained.push(step);
    }
    let slowdown = ceilings::copy_secs(device, REFERENCE, &settings.budget)? / before;
    let discarded = |row: &Row| row.timing().map_or(0, |t| t.n_discarded);
    let skipped = found
        .iter()
        .filter(|row| row.verdict == RowVerdict::Skipped);
    let health = Health {
        clock: Clock::of(device).name().to_string(),
        slowdown,
        throttled: slowdown > THROTTLED,
        n_noisy: found.iter().filter(|row| row.noisy).count(),
        n_discarded: found.iter().map(discarded).sum(),
        skipped: skipped
            .map(|row| {
                format!(
                    "{}: {}",
                    row.name(),
                    row.detail.as_deref().unwrap_or_default()
                )
            })
            .collect(),
        seconds: begin.elapsed().as_secs_f64(),
    };
    Ok(Machine {
        environment,
        ceilings: Some(measured),
        rows: found,
        steps: trained,
        health,
    })
}
