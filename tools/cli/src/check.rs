//! `affekt check`: every kernel against its definition, on this adapter.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use affekt::Device;
use affekt::check::report::{Case, Machine, Operator, Report, Verdict};
use affekt::check::{Environment, Trial, page, trials};
use affekt::gpu::{AdapterInfo, Limits, adapter};
use clap::{Args, ValueEnum};

use crate::outcome::{Failure, Outcome, say};
use crate::progress::Progress;
use crate::session::{self, Session};

/// Check every operator against its definition on this adapter, case by case
#[derive(Args)]
#[command(
    after_help = "A case is named operator/case/property, with @ENTRY where one entry point is forced.\n\n\
                  Example:\n  affekt check softmax/ --limits default --html softmax.html"
)]
pub struct Check {
    /// Only cases whose name contains this
    filter: Option<String>,
    /// Everything the adapter has, or the WebGPU defaults and no features
    #[arg(long, value_enum, default_value = "full")]
    limits: Profile,
    /// Every adapter in turn; those of OpenGL too where --adapter is gl
    #[arg(long)]
    all_adapters: bool,
    /// Write a page of the verdicts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print every verdict, not only those of what failed
    #[arg(long, short)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Profile {
    Default,
    Full,
}

impl Profile {
    pub fn limits(self) -> Limits {
        match self {
            Profile::Default => Limits::Default,
            Profile::Full => Limits::Full,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Full => "full",
        }
    }
}

/// `5 right, 1 wrong`.
fn words(n_right: usize, n_wrong: usize, n_skipped: usize) -> String {
    let mut words = format!("{n_right} right");
    for (n, what) in [(n_wrong, "wrong"), (n_skipped, "skipped")] {
        if n > 0 {
            words.push_str(&format!(", {n} {what}"));
        }
    }
    words
}

impl Check {
    pub fn run(&self, session: &Session) -> Outcome {
        let all = trials();
        let n_all = all.len();
        let wanted: Vec<Trial> = all
            .into_iter()
            .filter(|t| self.filter.as_ref().is_none_or(|f| t.name().contains(f)))
            .collect();
        if wanted.is_empty() {
            return Err(Failure::Wrong(format!(
                "no case has {:?} in its name; `affekt check --verbose` names all {n_all}",
                self.filter.as_deref().unwrap_or_default()
            )));
        }
        if let Some(file) = &self.html {
            session::try_beside(file)?;
        }
        let machines = match self.all_adapters {
            true => self.check_all(session, &wanted)?,
            false => {
                let device = session.open(self.limits.limits())?;
                vec![self.check_device(&device, &wanted)?]
            }
        };
        let report = Report::new(machines, self.filter.clone());
        if let Some(file) = &self.html {
            page::write(&report, file)?;
        }
        if self.json {
            let mut out = io::stdout().lock();
            out.write_all(report.to_json().as_bytes())?;
            out.flush()?;
        }
        let wrong: Vec<String> = report.machines.iter().filter_map(what_is_wrong).collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Failure::Checked(wrong.join("; "))),
        }
    }

    /// Every adapter in turn, each opened and closed by itself. One that fails is noted, and the others go on.
    fn check_all(&self, session: &Session, wanted: &[Trial]) -> Result<Vec<Machine>, Failure> {
        // By itself all but those of OpenGL.
        let name = session.adapter.as_deref().unwrap_or_default();
        let with_gl = name.eq_ignore_ascii_case("gl");
        if !with_gl {
            session.takes_no_adapter("--all-adapters")?;
        }
        let found = Device::adapters(with_gl);
        let infos: Vec<AdapterInfo> = found.into_iter().map(|(info, _, _)| info).collect();
        // Says what to install where there is none.
        adapter::pick(&infos, None)?;
        let mut machines = Vec::new();
        for (i, info) in infos.iter().enumerate() {
            // Adapters of one name differ by their number; those of OpenGL are found by name alone.
            let choice = match info.backend.as_str() {
                "gl" => info.label(),
                _ => i.to_string(),
            };
            let limits = self.limits.limits();
            machines.push(match session.open_as(Some(&choice), limits) {
                Ok(device) => self.check_device(&device, wanted)?,
                Err(error) => {
                    say(&format!("affekt: {}: {error}", info.label()));
                    Machine {
                        environment: Environment::of_adapter(info, limits),
                        error: Some(error.to_string()),
                        ..Machine::default()
                    }
                }
            });
        }
        Ok(machines)
    }

    /// All cases on one device, until it is lost.
    fn check_device(&self, device: &Device, wanted: &[Trial]) -> Result<Machine, Failure> {
        let limits = self.limits.limits();
        let place = format!(
            "{}, {} limits",
            device.adapter().label(),
            self.limits.name()
        );
        let cases = if wanted.len() == 1 { "case" } else { "cases" };
        say(&format!("{} {cases} on {place}", wanted.len()));
        let start = Instant::now();
        let mut machine = Machine {
            environment: Environment::of(device, limits),
            ..Machine::default()
        };
        let mut ongoing = Ongoing {
            n: wanted.len(),
            ..Ongoing::default()
        };
        let names = wanted.iter().map(|t| t.op.signature().name.len());
        let width = names.max().unwrap_or(0);
        for of_one in wanted.chunk_by(|a, b| a.op.signature().name == b.op.signature().name) {
            self.check_operator(device, of_one, width, &mut ongoing, &mut machine)?;
            if machine.error.is_some() {
                break;
            }
        }
        ongoing.progress.clear();
        machine.seconds = start.elapsed().as_secs_f64();
        if let Some(error) = &machine.error {
            say(&format!("affekt: {place}: {error}"));
        }
        if !self.json {
            let mut out = io::stdout().lock();
            writeln!(
                out,
                "\n{} on {place}, in {:.1} s",
                words(machine.n_right, machine.n_wrong, machine.n_skipped),
                machine.seconds
            )?;
            if self.all_adapters {
                writeln!(out)?;
            }
            out.flush()?;
        }
        Ok(machine)
    }

    /// The cases of one operator: their verdicts, then a line for all of them.
    fn check_operator(
        &self,
        device: &Device,
        trials: &[Trial],
        width: usize,
        ongoing: &mut Ongoing,
        machine: &mut Machine,
    ) -> Outcome {
        let mut operator = Operator::new(trials[0].op.signature().name);
        let mut lines = Vec::new();
        for trial in trials {
            let name = trial.name();
            ongoing.show(&name);
            let start = Instant::now();
            let outcome = match trial.run(device) {
                Ok(outcome) => outcome,
                Err(error) => {
                    machine.error = Some(format!("{error}, in {name}"));
                    break;
                }
            };
            let case = Case::of(trial, &outcome, start.elapsed().as_secs_f64());
            operator.count(case.verdict, case.seconds);
            if self.verbose || case.verdict == Verdict::Wrong {
                let detail = case.detail.as_deref();
                let detail = detail.map_or(String::new(), |d| format!(": {d}"));
                lines.push(format!("  {:<7} {name}{detail}", case.verdict.name()));
            }
            machine.cases.push(case);
        }
        if !self.json {
            ongoing.progress.clear();
            let mut out = io::stdout().lock();
            let mark = match (operator.n_wrong, &machine.error) {
                (0, None) => "right",
                (0, Some(_)) => "lost ",
                _ => "WRONG",
            };
            writeln!(
                out,
                "{mark}  {:<width$}  {:<28} {:>6.2} s",
                operator.name,
                words(operator.n_right, operator.n_wrong, operator.n_skipped),
                operator.seconds
            )?;
            for line in lines {
                writeln!(out, "{line}")?;
            }
            out.flush()?;
        }
        machine.add(operator);
        Ok(())
    }
}

/// Why a machine makes the command end with 1.
fn what_is_wrong(machine: &Machine) -> Option<String> {
    let adapter = &machine.environment.adapter;
    let n_cases = machine.cases.len();
    let failed = format!("{} of {n_cases} cases failed on {adapter}", machine.n_wrong);
    match (&machine.error, machine.n_wrong) {
        (None, 0) => None,
        (None, _) => Some(failed),
        (Some(error), 0) => Some(format!("{adapter} was not checked to the end: {error}")),
        (Some(error), _) => Some(format!(
            "{failed}, which was not checked to the end: {error}"
        )),
    }
}

/// How far the cases are.
#[derive(Default)]
struct Ongoing {
    n: usize,
    n_done: usize,
    progress: Progress,
}

impl Ongoing {
    fn show(&mut self, name: &str) {
        self.n_done += 1;
        self.progress
            .show(&format!("{}/{} {name}", self.n_done, self.n));
    }
}
