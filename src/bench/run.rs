//! One run on one adapter: ceilings, then every row against them, then training steps, then whether to believe it all.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::bench::ceilings;
use crate::bench::clock::Clock;
use crate::bench::compare::{Baseline, places_of};
use crate::bench::report::{
    Beside, Ceilings, Change, Environment, Health, Machine, Row, RowVerdict, Step,
};
use crate::bench::statistics::Budget;
use crate::bench::{rows, steps};
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::verdict::has_spoiled;

/// Copying slower after the run than before by this much is called throttling. On a shared machine it differs by a tenth or
/// two from one run to the next.
const THROTTLED: f64 = 1.3;
/// Working set whose copying is timed before and after: beyond the caches of most, short on all.
const REFERENCE: u64 = 16 << 20;
/// Most rounds in which a row that looks slower than the baseline is measured again: one after the rows, one after the
/// training steps, the others at the end. A row is as fast as in its best round.
const ROUNDS: usize = 6;

/// What to run.
pub struct Settings {
    pub rows: Vec<rows::Subject>,
    pub steps: Vec<steps::Subject>,
    /// For each row and each ceiling.
    pub budget: Budget,
    /// For each part of a training step.
    pub step_budget: Budget,
    /// What to hold rows and steps against. Those that look slower are measured again, on devices of their own.
    pub baseline: Option<Baseline>,
}

impl Settings {
    /// Name and sizes of each row and step.
    pub fn sized(&self) -> Vec<(String, String)> {
        let rows = self.rows.iter().map(|s| (s.name(), s.shapes()));
        let steps = self.steps.iter().map(|s| (s.name(), s.sizes()));
        rows.chain(steps).collect()
    }
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
    /// A row that looked slower than the baseline in every round so far has been measured once more.
    Again {
        name: &'a str,
        beside: &'a Beside,
        /// What is wrong with it, if it was wrong this time.
        detail: Option<&'a str>,
    },
}

/// Runs it. `tell` hears of each finding and may end the run early; what was found until then is returned.
///
/// A device that is lost ends the run too: [`Health::lost`] says why and [`Health::missing`] what is not there.
/// Errors: those of [`ceilings::measure`] but for a lost device; [`Error::Incomparable`] if the baseline has rows of other
/// sizes.
pub fn run(
    device: &Device,
    environment: Environment,
    settings: &Settings,
    tell: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Machine> {
    let begin = Instant::now();
    let mut run = Run {
        device,
        settings,
        tell,
        ended: false,
        reference: None,
        noise: None,
        machine: Machine {
            environment,
            ..Machine::default()
        },
    };
    let lost = match run.everything() {
        Ok(()) => None,
        Err(lost @ Error::DeviceLost { .. }) => Some(lost.to_string()),
        Err(other) => return Err(other),
    };
    let missing = match lost.is_some() {
        true => run.missing(),
        false => Vec::new(),
    };
    let (before, noise, mut machine) = (run.reference, run.noise, run.machine);
    let after = match lost.is_some() {
        true => None,
        false => ceilings::copy_secs(device, REFERENCE, &settings.budget).ok(),
    };
    let slowdown = after
        .zip(before)
        .map_or(0.0, |(after, before)| after / before);
    machine.health = Health {
        clock: Clock::of(device).name().to_string(),
        slowdown,
        throttled: slowdown > THROTTLED,
        spoiled: device.mode().corrupt.map(|_| has_spoiled(device)),
        lost,
        missing,
        seconds: begin.elapsed().as_secs_f64(),
        ..health_of(&machine)
    };
    if let Some(baseline) = &settings.baseline {
        // A run that ended within the rows has not come to it.
        let noise = match machine.health.lost.is_some() && noise.is_none() {
            true => baseline.noise(&machine)?,
            false => noise,
        };
        baseline.judge(&mut machine, noise)?;
    }
    Ok(machine)
}

/// What rows and steps say about the run.
fn health_of(machine: &Machine) -> Health {
    let rows = machine.rows.iter();
    let rows = rows.map(|r| (r.verdict, r.name(), &r.detail));
    let steps = machine.steps.iter();
    let steps = steps.map(|s| (s.verdict, s.name(), &s.detail));
    let skipped = rows
        .chain(steps)
        .filter(|(verdict, ..)| *verdict == RowVerdict::Skipped);
    Health {
        n_noisy: machine.rows.iter().filter(|row| row.noisy).count(),
        n_discarded: machine.rows.iter().map(Row::n_discarded).sum(),
        skipped: skipped
            .map(|(_, name, detail)| format!("{name}: {}", detail.as_deref().unwrap_or_default()))
            .collect(),
        ..Health::default()
    }
}

/// A run as it goes on.
struct Run<'a> {
    device: &'a Device,
    settings: &'a Settings,
    tell: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    /// Whoever listens has heard enough.
    ended: bool,
    /// Seconds of the reference before the rows.
    reference: Option<f64>,
    /// Between this run and that of the baseline.
    noise: Option<f64>,
    machine: Machine,
}

impl Run<'_> {
    fn everything(&mut self) -> Result<()> {
        let measured = self.ceilings(0)?;
        self.ended |= (self.tell)(Event::Ceilings(&measured)).is_break();
        self.machine.ceilings = Some(measured);
        let reference = ceilings::copy_secs(self.device, REFERENCE, &self.settings.budget)?;
        self.reference = Some(reference);
        self.rows()?;
        if let Some(baseline) = &self.settings.baseline {
            // Before the slow ones are measured again and the best of each is kept.
            self.noise = baseline.noise(&self.machine)?;
        }
        self.look_again()?;
        self.steps()?;
        self.look_again()?;
        if !self.ended && !self.machine.rows.is_empty() {
            let again = self.ceilings(self.n())?;
            let ceilings = self.machine.ceilings.as_mut().expect("they were measured");
            ceilings.take_better(&again);
            for row in &mut self.machine.rows {
                row.rate(ceilings);
            }
        }
        for _ in 2..ROUNDS {
            self.look_again()?;
        }
        Ok(())
    }

    /// How many rows and steps there are.
    fn n(&self) -> usize {
        self.settings.rows.len() + self.settings.steps.len()
    }

    fn ceilings(&mut self, i: usize) -> Result<Ceilings> {
        let n = self.n();
        ceilings::measure(self.device, &self.settings.budget, &mut |name| {
            let _ = (self.tell)(Event::Measuring { name, i, n });
        })
    }

    fn rows(&mut self) -> Result<()> {
        let ceilings = self.machine.ceilings.clone().unwrap_or_default();
        for (i, subject) in self.settings.rows.iter().enumerate() {
            if self.ended {
                break;
            }
            let (name, n) = (&subject.name(), self.n());
            let _ = (self.tell)(Event::Measuring { name, i, n });
            let row = subject.measure(self.device, &ceilings, &self.settings.budget)?;
            self.ended |= (self.tell)(Event::Row(&row)).is_break();
            self.machine.rows.push(row);
        }
        Ok(())
    }

    fn steps(&mut self) -> Result<()> {
        for (i, subject) in self.settings.steps.iter().enumerate() {
            if self.ended {
                break;
            }
            let (name, n) = (&subject.name(), self.n());
            let i = i + self.machine.rows.len();
            let _ = (self.tell)(Event::Measuring { name, i, n });
            let step = subject.measure(self.device, &self.settings.step_budget)?;
            self.ended |= (self.tell)(Event::Step(&step)).is_break();
            self.machine.steps.push(step);
        }
        Ok(())
    }

    /// Measures what looks slower than the baseline once more, each on a device of its own: buffers lie elsewhere, kernels
    /// are compiled anew, and a software driver starts other threads.
    fn look_again(&mut self) -> Result<()> {
        let Some(baseline) = self.settings.baseline.as_ref().filter(|_| !self.ended) else {
            return Ok(());
        };
        for name in baseline.suspects(&self.machine)? {
            let n = self.n();
            let _ = (self.tell)(Event::Measuring {
                name: &format!("{name} again"),
                i: n,
                n,
            });
            let fresh = match self.device.recover() {
                Ok(fresh) => fresh.with_mode(self.device.mode()),
                // An app's own device is the only one of its kind.
                Err(_) => self.device.clone(),
            };
            self.once_more(&name, &fresh)?;
            baseline.judge(&mut self.machine, self.noise)?;
            let place = places_of(&self.machine)[&name];
            let detail = place.detail(&self.machine).map(str::to_string);
            let beside = place.of(&mut self.machine);
            if let Some(beside) = beside {
                let event = Event::Again {
                    name: &name,
                    beside,
                    detail: detail.as_deref(),
                };
                self.ended |= (self.tell)(event).is_break();
            }
        }
        Ok(())
    }

    /// Measures a row or a step, which keeps the better time of the two and a note of all. What is wrong this time is
    /// wrong.
    fn once_more(&mut self, name: &str, device: &Device) -> Result<()> {
        let machine = &mut self.machine;
        let (old, new) = if let Some(row) = machine.rows.iter_mut().find(|r| r.name() == name) {
            let mut subjects = self.settings.rows.iter();
            let subject = subjects.find(|s| s.name() == name);
            let ceilings = machine.ceilings.clone().unwrap_or_default();
            let subject = subject.expect("a row is of a subject");
            let again = subject.measure(device, &ceilings, &self.settings.budget)?;
            let medians = (row.median, again.median);
            if stands((row.verdict, row.median), (again.verdict, again.median)) {
                let beside = row.beside.take();
                *row = Row { beside, ..again };
            }
            medians
        } else {
            let mut subjects = self.settings.steps.iter();
            let subject = subjects.find(|s| s.name() == name);
            let subject = subject.expect("a step is of a subject");
            let again = subject.measure(device, &self.settings.step_budget)?;
            let mut steps = machine.steps.iter_mut();
            let step = steps.find(|s| s.name() == name).expect("it was measured");
            let medians = (step.median, again.median);
            if stands((step.verdict, step.median), (again.verdict, again.median)) {
                let (beside, first) = (step.beside.take(), step.first);
                *step = Step {
                    beside,
                    first,
                    ..again
                };
            }
            medians
        };
        let place = places_of(machine)[name];
        let beside = place.of(machine).get_or_insert(Beside {
            change: Change::Slower,
            median: None,
            ratio: None,
            rounds: Vec::new(),
        });
        if beside.rounds.is_empty() {
            beside.rounds.extend(old);
        }
        beside.rounds.extend(new);
        Ok(())
    }

    /// Rows and steps that were asked for and are not there.
    fn missing(&self) -> Vec<String> {
        let rows = self.settings.rows.iter().skip(self.machine.rows.len());
        let steps = self.settings.steps.iter().skip(self.machine.steps.len());
        let rows = rows.map(rows::Subject::name);
        rows.chain(steps.map(steps::Subject::name)).collect()
    }
}

/// Whether what was found when looking again, verdict and median, takes the place of what was found before.
fn stands(
    (verdict, old): (RowVerdict, Option<f64>),
    (again, new): (RowVerdict, Option<f64>),
) -> bool {
    match (verdict, again) {
        (RowVerdict::Right, RowVerdict::Right) => old.zip(new).is_some_and(|(old, new)| new < old),
        (RowVerdict::Right, RowVerdict::Wrong) => true,
        // What is skipped on a device beside the first one may lack room for two.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_again_keeps_the_better_time_and_whatever_is_wrong() {
        let right = |median| (RowVerdict::Right, Some(median));
        assert!(stands(right(2.0), right(1.0)));
        assert!(!stands(right(1.0), right(2.0)));
        assert!(stands(right(1.0), (RowVerdict::Wrong, None)));
        assert!(!stands(right(1.0), (RowVerdict::Skipped, None)));
        assert!(!stands((RowVerdict::Wrong, None), right(1.0)));
    }
}
