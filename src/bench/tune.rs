//! A plan table for the adapter at hand: of the entry points that are right here, which one is fastest for the sizes that
//! operators register for benches.

use std::time::{Duration, Instant};

use crate::bench::rows::Subject;
use crate::bench::rungs::{Climb, Runner, Settings};
use crate::bench::statistics::Budget;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::ops::launch::{self, Ledger};
use crate::ops::plan_table::{Choice, Kind, PlanTable, Preference};

/// How much slower than an entry point the built-in plan must be for that to go into the table: less may be noise.
const GAIN: f64 = 0.03;
/// An entry point of which one call takes so many times as long as one of the plan is not timed.
const HOPELESS: f64 = 4.0;
/// Most seconds for the samples of an entry point.
const MAX_SECS: f64 = 0.4;

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

/// Times what the built-in plans take against what else is right, for each subject, until `limit` is spent; the comparison
/// that is then under way is ended.
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
        let trial = Trial {
            device,
            subject,
            time_is_up: &|| begin.elapsed() >= limit,
        };
        match trial.run(&mut table, tell) {
            Ok(true) => {}
            Ok(false) => {
                tell(Event::OutOfTime { left: n - i });
                break;
            }
            Err(lost @ Error::DeviceLost { .. }) => return Err(lost),
            Err(error) => log::warn!("{name} is left to the built-in plan: {error}"),
        }
    }
    Ok(table)
}

struct Trial<'a> {
    device: &'a Device,
    subject: &'a Subject,
    time_is_up: &'a dyn Fn() -> bool,
}

impl Trial<'_> {
    /// `false` if time ran out before all alternatives were known: the plan is then left as it is.
    fn run(&self, table: &mut PlanTable, tell: &mut dyn FnMut(Event<'_>)) -> Result<bool> {
        let (op, device) = (self.subject.op, self.device);
        let entries = self.subject.candidates(device);
        if entries.len() < 2 {
            return Ok(true);
        }
        let settings = Settings {
            budget: Budget {
                max_secs: MAX_SECS,
                ..Budget::default()
            },
            limit: f64::INFINITY,
            margin: GAIN,
        };
        let climb = Climb::new(device, self.subject, &settings);
        let planned = climb.choices(None)?;
        let kinds = Ledger::of(device).kinds();
        // Nothing asks the table in this call, so nothing could be said to it.
        let Some(kind) = kinds.iter().find(|k| k.op == op.signature().name) else {
            return Ok(true);
        };
        // What no call of this case comes to use in this role has no alternatives.
        if planned.is_empty() {
            return Ok(true);
        }
        let Ok(plan) = climb.start(None, 0, settings.limit)? else {
            return Ok(true);
        };
        let once = climb.once(&plan)?;
        // A clock that stood still bounds nothing.
        let limit = match once > 0.0 {
            true => HOPELESS * once,
            false => f64::INFINITY,
        };
        let mut runners = vec![plan];
        let mut tried = planned.clone();
        // By place; the plan stands first.
        let mut choices: Vec<Option<Choice>> = vec![None];
        for entry in &entries {
            if (self.time_is_up)() {
                return Ok(false);
            }
            let choice = (entry.name(), entry.variant);
            if !launch::is_right(op, device, entry.kernel.elem, choice)? {
                continue;
            }
            let got = climb.choices(Some(choice))?;
            // Where strides decide over the variant, another one than asked for may have come, which must be right too.
            let Some(got) = got.into_iter().find(|c| c.0 == choice.0) else {
                continue;
            };
            if tried.contains(&got) || !launch::is_right(op, device, kind.elem, got)? {
                continue;
            }
            tried.push(got);
            if let Ok(runner) = climb.start(Some(choice), choices.len(), limit)? {
                runners.push(runner);
                choices.push(Some(got));
            }
        }
        let (planned_secs, better) = faster(&climb, runners)?;
        let Some(planned_secs) = planned_secs else {
            return Ok(true);
        };
        let words: Vec<String> = planned
            .iter()
            .map(|(entry, variant)| format!("{entry}.{variant}"))
            .collect();
        let words = words.join(", ");
        let preference = better.and_then(|(place, secs)| {
            let (entry, variant) = choices[place]?;
            Some(Preference {
                entry,
                variant,
                secs,
                planned_secs,
                planned: words.clone(),
            })
        });
        table.forget(kind, |name| entries.iter().any(|e| e.name() == name));
        if let Some(preference) = &preference {
            table.prefer(kind.clone(), preference.clone());
        }
        tell(Event::Found {
            name: &self.subject.name(),
            kind,
            planned: &words,
            planned_secs,
            best: preference.as_ref(),
            table,
        });
        Ok(true)
    }
}

/// Seconds of the plan, and place and seconds of the fastest other where two independent sets of samples, each taken in
/// turns with the plan, agree that it is faster: one busy phase of the machine makes nothing win.
fn faster(
    climb: &Climb<'_>,
    mut runners: Vec<Runner>,
) -> Result<(Option<f64>, Option<(usize, f64)>)> {
    climb.time(&mut runners)?;
    let median = |runner: &Runner| runner.samples.timing().map(|t| t.median);
    let others = runners.iter().filter(|r| r.place != 0);
    let best = others
        .filter_map(|r| Some((r.place, median(r)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let is_faster = |runners: &[Runner], place: usize| {
        let at = |place| runners.iter().find(|r| r.place == place);
        let pair = at(0).zip(at(place));
        let ratio = pair.and_then(|(plan, other)| plan.samples.over(&other.samples));
        ratio.is_some_and(|r| r.is_slower(GAIN))
    };
    let suspect = best
        .map(|b| b.0)
        .filter(|place| is_faster(&runners, *place));
    let mut better = None;
    if let Some(place) = suspect {
        runners.retain(|r| r.place == 0 || r.place == place);
        climb.time_anew(&mut runners)?;
        if is_faster(&runners, place) {
            let winner = runners.iter().find(|r| r.place == place);
            better = winner.and_then(median).map(|secs| (place, secs));
        }
    }
    let plan = runners.iter().find(|r| r.place == 0);
    Ok((plan.and_then(median), better))
}
