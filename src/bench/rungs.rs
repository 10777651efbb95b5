//! Every rung of an operator on one case, timed in turns: is the one that the plan takes ever slower than another?

use std::ops::ControlFlow;
use std::time::Instant;

use crate::bench::call::Call;
use crate::bench::clock::Clock;
use crate::bench::report::{Environment, Health, Ladder, Machine, Rung};
use crate::bench::rows::{Subject, entry_name};
use crate::bench::statistics::{Budget, Samples};
use crate::error::{Error, Result};
use crate::gpu::{Device, Mode};
use crate::ops::launch::{self, Ledger};
use crate::ops::op::{Entry, Role};
use crate::ops::plan_table::Choice;
use crate::verdict::has_spoiled;

/// A rung that takes so many times as long as the chosen one after [`FEWEST`] samples is timed no further.
const HOPELESS: f64 = 2.0;
const FEWEST: usize = 3;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of each rung.
    pub budget: Budget,
    /// A rung whose single call takes longer, in seconds, is left out.
    pub limit: f64,
    /// How much slower than another rung the chosen one may be, whatever the spread.
    pub margin: f64,
}

/// What is measured now, or has been.
pub enum Event<'a> {
    /// Subject `i` of `n`.
    Measuring {
        name: &'a str,
        i: usize,
        n: usize,
    },
    Ladder(&'a Ladder),
}

/// Measures all rungs of each subject that has several. `tell` may end the run early.
///
/// A device that is lost ends it too: [`Health::lost`] says why and [`Health::missing`] which subjects are not there.
pub fn run(
    device: &Device,
    environment: Environment,
    subjects: &[Subject],
    settings: &Settings,
    tell: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Machine> {
    let begin = Instant::now();
    let mut machine = Machine {
        environment,
        ..Machine::default()
    };
    let n = subjects.len();
    for (i, subject) in subjects.iter().enumerate() {
        let name = &subject.name();
        if tell(Event::Measuring { name, i, n }).is_break() {
            break;
        }
        match ladder(device, subject, settings) {
            Ok(None) => {}
            Ok(Some(ladder)) => {
                let going = tell(Event::Ladder(&ladder));
                machine.ladders.push(ladder);
                if going.is_break() {
                    break;
                }
            }
            Err(error) => {
                machine.health.lost = Some(error.to_string());
                machine.health.missing = subjects[i..].iter().map(Subject::name).collect();
                break;
            }
        }
    }
    machine.health = Health {
        clock: Clock::of(device).name().to_string(),
        spoiled: device.mode().corrupt.map(|_| has_spoiled(device)),
        seconds: begin.elapsed().as_secs_f64(),
        ..machine.health
    };
    Ok(machine)
}

/// All rungs of a subject; `None` if there are not several to choose from.
///
/// Errors: [`Error::DeviceLost`] alone; whatever else goes wrong is the ladder's detail.
pub fn ladder(device: &Device, subject: &Subject, settings: &Settings) -> Result<Option<Ladder>> {
    let entries = subject.candidates(device);
    if entries.len() < 2 {
        return Ok(None);
    }
    let clock = Clock::of(device);
    let empty = Ladder {
        op: subject.op.signature().name.to_string(),
        case: subject.case.label.clone(),
        shapes: subject.shapes(),
        role: match subject.role {
            Role::Forward => "forward",
            Role::Vjp => "backward",
        }
        .to_string(),
        on_device: clock == Clock::Timestamps,
        rungs: Vec::new(),
        detail: None,
    };
    let climb = Climb::new(device, subject, settings);
    match climb.rungs(&entries) {
        Ok(rungs) if rungs.len() < 2 => Ok(None),
        Ok(rungs) => Ok(Some(Ladder { rungs, ..empty })),
        Err(lost @ Error::DeviceLost { .. }) => Err(lost),
        Err(error) => Ok(Some(Ladder {
            detail: Some(error.to_string()),
            ..empty
        })),
    }
}

/// Entry points of one role on one case, timed in turns.
pub(super) struct Climb<'a> {
    device: &'a Device,
    subject: &'a Subject,
    settings: &'a Settings,
    clock: Clock,
}

/// A rung that is timed.
pub(super) struct Runner {
    /// Its place among the rungs; the chosen one has place 0.
    pub place: usize,
    device: Device,
    call: Call,
    pub samples: Samples,
    spent: f64,
}

impl<'a> Climb<'a> {
    pub fn new(device: &'a Device, subject: &'a Subject, settings: &'a Settings) -> Self {
        Climb {
            device,
            subject,
            settings,
            clock: Clock::of(device),
        }
    }

    fn rungs(&self, entries: &[Entry]) -> Result<Vec<Rung>> {
        let planned = self.choices(None)?;
        // What no call of this case comes to use in this role has no rungs here.
        if planned.is_empty() {
            return Ok(Vec::new());
        }
        let mut known = vec![planned.clone()];
        let mut rungs = vec![self.rung(&planned, true)];
        let mut runners = Vec::new();
        let limit = self.settings.limit;
        let too_long = |secs| Some(format!("a call takes {secs:.2} s, the limit is {limit} s"));
        match self.start(None, 0, limit)? {
            Ok(runner) => runners.push(runner),
            Err(secs) => rungs[0].skipped = too_long(secs),
        }
        for entry in entries {
            let choice = (entry.name(), entry.variant);
            let elem = entry.kernel.elem;
            if !launch::is_right(self.subject.op, self.device, elem, choice)? {
                rungs.push(Rung {
                    skipped: Some("wrong on this adapter".to_string()),
                    ..self.rung(&[choice], false)
                });
                continue;
            }
            let got = self.choices(Some(choice))?;
            // Where strides or sizes decide over the variant, another one than asked for may have come, or one that is
            // there already.
            if !got.iter().any(|c| c.0 == choice.0) || known.contains(&got) {
                continue;
            }
            let mut rung = self.rung(&got, false);
            match self.start(Some(choice), rungs.len(), limit)? {
                Ok(runner) => runners.push(runner),
                Err(secs) => rung.skipped = too_long(secs),
            }
            known.push(got);
            rungs.push(rung);
        }
        self.time(&mut runners)?;
        self.fill(&mut rungs, &runners);
        let slower = |rungs: &[Rung]| {
            let ratios = rungs.iter().filter_map(|r| r.chosen_over_this);
            ratios.filter(|r| r.is_slower(self.settings.margin)).count() > 0
        };
        if slower(&rungs) {
            self.time_anew(&mut runners)?;
            self.fill(&mut rungs, &runners);
        }
        Ok(rungs)
    }

    fn rung(&self, choices: &[Choice], chosen: bool) -> Rung {
        let op = self.subject.op;
        let mut words: Vec<&str> = Vec::new();
        for (name, variant) in choices {
            let word = op.entry(name, *variant).map(|e| e.rung);
            words.extend(word.filter(|w| !words.contains(w)));
        }
        let plain = op.signature().name;
        let naive = |(name, variant): &Choice| {
            *variant == 0 && (*name == plain || name.strip_suffix("_vjp") == Some(plain))
        };
        Rung {
            rung: words.join(", "),
            entries: choices.iter().map(|(e, v)| entry_name(e, *v)).collect(),
            chosen,
            naive: choices.iter().any(naive),
            timing: None,
            chosen_over_this: None,
            skipped: None,
        }
    }

    fn handle(&self, only: Option<Choice>, guard: bool, verify: bool) -> Device {
        self.device.with_mode(Mode {
            only,
            guard,
            verify,
            ..self.device.mode()
        })
    }

    /// What a call chooses with this entry point forced, or none.
    pub fn choices(&self, only: Option<Choice>) -> Result<Vec<Choice>> {
        let device = self.handle(only, true, only.is_none());
        Ledger::of(self.device).clear();
        Call::new(self.subject, &device)?.once()?;
        device.wait()?;
        Ok(self.subject.chosen(self.device))
    }

    /// Makes a runner; or says how many seconds a call takes, where that is longer than `limit`.
    pub fn start(
        &self,
        only: Option<Choice>,
        place: usize,
        limit: f64,
    ) -> Result<std::result::Result<Runner, f64>> {
        let device = self.handle(only, false, false);
        let call = Call::new(self.subject, &device)?;
        let runner = Runner {
            place,
            device,
            call,
            samples: Samples::default(),
            spent: 0.0,
        };
        let once = self.once(&runner)?;
        // The first call may have compiled something; only a second one tells of one that was hardly too long.
        let once = match once > limit && once < 2.0 * limit {
            true => self.once(&runner)?,
            false => once,
        };
        Ok(match once > limit {
            true => Err(once),
            false => Ok(runner),
        })
    }

    /// One sample.
    pub fn once(&self, runner: &Runner) -> Result<f64> {
        let prepared = runner.call.prepare()?;
        self.clock
            .sample(&runner.device, || runner.call.work(prepared))
    }

    /// One sample of each in turn, until each has enough, or is hopeless beside the chosen one.
    pub fn time(&self, runners: &mut [Runner]) -> Result<()> {
        let budget = &self.settings.budget;
        loop {
            let mut taken = false;
            let chosen = runners.iter().find(|r| r.place == 0);
            let chosen = chosen.and_then(|r| r.samples.timing());
            let hopeless = chosen.map_or(f64::INFINITY, |t| HOPELESS * t.median);
            for runner in runners.iter_mut() {
                let timing = runner.samples.timing();
                let is_hopeless = timing.is_some_and(|t| t.n >= FEWEST && t.median > hopeless);
                if !is_hopeless && !runner.samples.enough(budget, runner.spent) {
                    let begin = Instant::now();
                    let secs = self.once(runner)?;
                    runner.samples.push(secs);
                    runner.spent += begin.elapsed().as_secs_f64();
                    taken = true;
                }
            }
            if !taken {
                return Ok(());
            }
        }
    }

    /// Samples that owe nothing to those before: what two such sets agree on takes two accidents to be wrong.
    pub fn time_anew(&self, runners: &mut [Runner]) -> Result<()> {
        for runner in runners.iter_mut() {
            (runner.samples, runner.spent) = (Samples::default(), 0.0);
        }
        self.time(runners)
    }

    /// Writes times and ratios into the rungs.
    fn fill(&self, rungs: &mut [Rung], runners: &[Runner]) {
        let chosen = runners.iter().find(|r| r.place == 0);
        for runner in runners {
            let rung = &mut rungs[runner.place];
            rung.timing = runner.samples.timing();
            rung.skipped = match rung.timing {
                Some(_) => None,
                None => Some("the device's clock stood still or ran wild".to_string()),
            };
            let ratio = chosen.and_then(|chosen| chosen.samples.over(&runner.samples));
            rung.chosen_over_this = ratio.filter(|r| r.is_sound());
        }
    }
}
