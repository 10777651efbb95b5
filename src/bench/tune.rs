//! A plan table for the adapter at hand: of the entry points that are right here, which one is fastest for the sizes that
//! operators register for benches.

use std::time::{Duration, Instant};

use crate::bench::clock::Clock;
use crate::bench::report::Timing;
use crate::bench::rows::Subject;
use crate::bench::statistics::{Budget, Ratio};
use crate::error::{Error, Result};
use crate::gpu::{Device, Mode};
use crate::ops::launch::{self, Ledger};
use crate::ops::op::Role;
use crate::ops::plan_table::{Choice, Kind, PlanTable, Preference};
use crate::tensor::Tensor;

/// How much faster than the built-in plan an entry point must be to go into the table: less may be noise.
const GAIN: f64 = 1.03;
/// An entry point that takes so many times as long as the best one after one call is timed no further.
const HOPELESS: f64 = 2.0;

/// What tuning does now, or has found.
pub enum Event<'a> {
    /// Subject `i` of `n`.
    Trying { name: &'a str, i: usize, n: usize },
    /// The plan stands, or this is better.
    Found {
        name: &'a str,
        kind: &'a Kind,
        planned: &'a str,
        planned_secs: f64,
        best: Option<&'a Preference>,
        /// All that is settled so far, with this: what is worth keeping if nothing more comes.
        table: &'a PlanTable,
    },
    /// Time ran out with so many subjects left as they are.
    OutOfTime { left: usize },
}

/// Times what the built-in plans take against what else is right, for each subject, until `limit` is spent.
///
/// Errors: [`Error::DeviceLost`]. A subject that does not run here is left to the plan.
pub fn tune(
    device: &Device,
    subjects: &[Subject],
    limit: Duration,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<PlanTable> {
    let begin = Instant::now();
    // What was measured before stays, unless it is measured again; meanwhile the built-in plans run.
    let mut table = PlanTable::installed(device);
    PlanTable::uninstall(device);
    for (i, subject) in subjects.iter().enumerate() {
        if begin.elapsed() >= limit {
            let left = subjects.len() - i;
            tell(Event::OutOfTime { left });
            break;
        }
        let name = &subject.name();
        let n = subjects.len();
        tell(Event::Trying { name, i, n });
        for role in [Role::Forward, Role::Vjp] {
            let trial = Trial {
                device,
                subject,
                role,
            };
            match trial.run(&mut table, tell) {
                Ok(()) => {}
                Err(lost @ Error::DeviceLost { .. }) => return Err(lost),
                Err(error) => log::warn!("{name} is left to the built-in plan: {error}"),
            }
        }
    }
    Ok(table)
}

struct Trial<'a> {
    device: &'a Device,
    subject: &'a Subject,
    role: Role,
}

/// What a call takes with one entry point forced, or none.
struct Timed {
    /// What was chosen, of the role at hand.
    chosen: Vec<Choice>,
    /// The calls that a table can speak of.
    kinds: Vec<Kind>,
    timing: Option<Timing>,
}

impl Trial<'_> {
    fn run(&self, table: &mut PlanTable, tell: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let op = self.subject.op;
        let entries = self.subject.candidates(self.device, self.role);
        if entries.len() < 2 {
            return Ok(());
        }
        let planned = self.time(None, f64::INFINITY)?;
        // Nothing asks the table in this call, so nothing could be said to it.
        let (Some(kind), Some(planned_timing)) = (
            planned.kinds.iter().find(|k| k.op == op.signature().name),
            planned.timing,
        ) else {
            return Ok(());
        };
        let mut tried = planned.chosen.clone();
        let mut best: Option<(Choice, Timing)> = None;
        for entry in &entries {
            let choice = (entry.name(), entry.variant);
            let right = launch::is_right(op, self.device, entry.kernel.elem, choice)?;
            if !right {
                continue;
            }
            let least = best.map_or(planned_timing.median, |(_, t)| t.median);
            let timed = self.time(Some(choice), HOPELESS * least)?;
            // Where strides decide over the variant, another one than asked for may have come.
            let Some(got) = timed.chosen.iter().find(|c| c.0 == choice.0) else {
                continue;
            };
            if tried.contains(got) {
                continue;
            }
            tried.push(*got);
            if let Some(timing) = timed.timing {
                if timing.median < least {
                    best = Some((*got, timing));
                }
            }
        }
        let words: Vec<String> = planned
            .chosen
            .iter()
            .map(|(entry, variant)| format!("{entry}.{variant}"))
            .collect();
        let words = words.join(", ");
        let better = best.filter(|(choice, timing)| {
            let ratio = Ratio::of(&planned_timing, timing);
            // What strides made of the choice must be right too.
            ratio.value > GAIN
                && ratio.low > 1.0
                && launch::is_right(op, self.device, kind.elem, *choice).unwrap_or(false)
        });
        let preference = better.map(|((entry, variant), timing)| Preference {
            entry,
            variant,
            secs: timing.median,
            planned_secs: planned_timing.median,
            planned: words.clone(),
        });
        table.forget(kind, |name| entries.iter().any(|e| e.name() == name));
        if let Some(preference) = &preference {
            table.prefer(kind.clone(), preference.clone());
        }
        tell(Event::Found {
            name: &self.subject.name(),
            kind,
            planned: &words,
            planned_secs: planned_timing.median,
            best: preference.as_ref(),
            table,
        });
        Ok(())
    }

    /// Times calls; no more than one if that takes longer than `hopeless`.
    fn time(&self, only: Option<Choice>, hopeless: f64) -> Result<Timed> {
        let handle = |guard| {
            self.device.with_mode(Mode {
                verify: false,
                guard,
                only,
                ..self.device.mode()
            })
        };
        let ledger = Ledger::of(self.device);
        ledger.clear();
        self.call(&handle(true))?()?;
        let chosen = self.subject.chosen(self.device, self.role);
        let kinds = ledger.kinds();
        let device = handle(false);
        let call = self.call(&device)?;
        let before = device.stream_stats().n_dispatches;
        call()?;
        device.wait()?;
        let n_dispatches = device.stream_stats().n_dispatches - before;
        let begin = Instant::now();
        call()?;
        device.wait()?;
        let timing = match begin.elapsed().as_secs_f64() > hopeless {
            true => None,
            false => {
                let budget = Budget {
                    max_secs: 0.4,
                    ..Budget::default()
                };
                Some(Clock::of(&device).time(&device, &budget, n_dispatches, call)?)
            }
        };
        Ok(Timed {
            chosen,
            kinds,
            timing,
        })
    }

    /// A call of the subject on this handle, with its backward pass where that is what is looked at.
    fn call(&self, device: &Device) -> Result<impl Fn() -> Result<()>> {
        let op = self.subject.op;
        let attrs = self.subject.attrs()?;
        let backward = self.role == Role::Vjp;
        let inputs = self.subject.upload_for(device, self.role)?;
        Ok(move || {
            let references: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
            let outputs = crate::ops::run(op, &references, &attrs)?;
            if backward && outputs[0].has_grad() {
                let gradients = outputs[0].backward_from(&outputs[0].detach())?;
                for input in inputs.iter().flatten() {
                    gradients.get(input).map_or(Ok(()), Tensor::force)?;
                }
                return Ok(());
            }
            outputs.iter().try_for_each(Tensor::force)
        })
    }
}
