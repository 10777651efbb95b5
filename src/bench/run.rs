//! One run on one adapter: ceilings, then every row against them, then training steps, then whether to believe it all.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::bench::ceilings;
use crate::bench::clock::Clock;
use crate::bench::report::{Ceilings, Environment, Health, Machine, Row, RowVerdict, Step};
use crate::bench::statistics::Budget;
use crate::bench::{rows, steps};
use crate::error::Result;
use crate::gpu::Device;

/// Copying slower after the run than before by this much is called throttling. On a shared machine it differs by a tenth or
/// two from one run to the next.
const THROTTLED: f64 = 1.3;
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
/// `tell` may end it early; what was found until then is the result. The ceilings are measured before and after the rows,
/// and the better ones count: whatever else ran on the machine meanwhile has only made them lower.
/// Errors: [`Error::DeviceLost`](crate::Error::DeviceLost); those of the ceilings. A row that goes wrong is in the result.
pub fn run(
    device: &Device,
    environment: Environment,
    settings: &Settings,
    tell: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Machine> {
    let begin = Instant::now();
    let n = settings.rows.len() + settings.steps.len();
    let measure = |tell: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>, i| {
        ceilings::measure(device, &settings.budget, &mut |name| {
            let _ = tell(Event::Measuring { name, i, n });
        })
    };
    let mut measured = measure(tell, 0)?;
    let mut going = tell(Event::Ceilings(&measured));
    let before = ceilings::copy_secs(device, REFERENCE, &settings.budget)?;
    let mut found = Vec::with_capacity(settings.rows.len());
    for (i, subject) in settings.rows.iter().enumerate() {
        if going.is_break() {
            break;
        }
        let name = &subject.name();
        let _ = tell(Event::Measuring { name, i, n });
        let row = subject.measure(device, &measured, &settings.budget)?;
        going = tell(Event::Row(&row));
        found.push(row);
    }
    let mut trained = Vec::with_capacity(settings.steps.len());
    for (i, subject) in settings.steps.iter().enumerate() {
        if going.is_break() {
            break;
        }
        let (name, i) = (&subject.name(), i + found.len());
        let _ = tell(Event::Measuring { name, i, n });
        let step = subject.measure(device, &settings.step_budget)?;
        going = tell(Event::Step(&step));
        trained.push(step);
    }
    if going.is_continue() && !found.is_empty() {
        measured.take_better(&measure(tell, n)?);
        for row in &mut found {
            row.rate(&measured);
        }
    }
    let slowdown = ceilings::copy_secs(device, REFERENCE, &settings.budget)? / before;
    let discarded = |row: &Row| row.timing().map_or(0, |t| t.n_discarded);
    let rows = found.iter().map(|r| (r.verdict, r.name(), &r.detail));
    let steps = trained
        .iter()
        .map(|s| (s.verdict, format!("step/{}", s.model), &s.detail));
    let skipped = rows
        .chain(steps)
        .filter(|(verdict, ..)| *verdict == RowVerdict::Skipped);
    let health = Health {
        clock: Clock::of(device).name().to_string(),
        slowdown,
        throttled: slowdown > THROTTLED,
        n_noisy: found.iter().filter(|row| row.noisy).count(),
        n_discarded: found.iter().map(discarded).sum(),
        skipped: skipped
            .map(|(_, name, detail)| format!("{name}: {}", detail.as_deref().unwrap_or_default()))
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
