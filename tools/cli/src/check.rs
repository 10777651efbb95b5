//! `affekt check`: every kernel against its definition, on this adapter.

use std::io::{self, Write as _};
use std::time::Instant;

use affekt::Device;
use affekt::check::{Outcome as Found, Trial, trials};
use affekt::gpu::Limits;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome, flatten, say};
use crate::print;
use crate::progress::Progress;
use crate::session::Session;

/// Check every operator against its definition on this adapter, case by case
#[derive(Args)]
#[command(
    after_help = "A case is named operator/case/property, with @ENTRY where one entry point is forced.\n\n\
                  Example:\n  affekt check softmax/ --limits default"
)]
pub struct Check {
    /// Only cases whose name contains this
    filter: Option<String>,
    /// Everything the adapter has, or the WebGPU defaults and no features
    #[arg(long, value_enum, default_value = "full")]
    limits: Profile,
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

/// What became of the cases of one operator, or of all.
#[derive(Default)]
struct Tally {
    n_right: usize,
    n_wrong: usize,
    n_skipped: usize,
    seconds: f64,
}

impl Tally {
    fn count(&mut self, found: &Found, seconds: f64) {
        match found {
            Found::Right => self.n_right += 1,
            Found::Wrong(_) => self.n_wrong += 1,
            Found::Skipped(_) => self.n_skipped += 1,
        }
        self.seconds += seconds;
    }

    fn add(&mut self, other: &Tally) {
        self.n_right += other.n_right;
        self.n_wrong += other.n_wrong;
        self.n_skipped += other.n_skipped;
        self.seconds += other.seconds;
    }

    fn words(&self) -> String {
        let mut words = format!("{} right", self.n_right);
        for (n, what) in [(self.n_wrong, "wrong"), (self.n_skipped, "skipped")] {
            if n > 0 {
                words.push_str(&format!(", {n} {what}"));
            }
        }
        words
    }
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
        let device = session.open(match self.limits {
            Profile::Full => Limits::Full,
            Profile::Default => Limits::Default,
        })?;
        let adapter = device.adapter().clone();
        say(&format!(
            "{} cases on {}, {} limits",
            wanted.len(),
            adapter.label(),
            self.limits.name()
        ));
        let start = Instant::now();
        let mut ongoing = Ongoing {
            n: wanted.len(),
            ..Ongoing::default()
        };
        let mut total = Tally::default();
        let mut operators = Vec::new();
        let mut verdicts = Vec::new();
        let names = wanted.iter().map(|t| t.op.signature().name.len());
        let width = names.max().unwrap_or(0);
        for of_one in wanted.chunk_by(|a, b| a.op.signature().name == b.op.signature().name) {
            let tally = self.check_operator(&device, of_one, width, &mut ongoing, &mut verdicts)?;
            operators.push(json!({
                "name": of_one[0].op.signature().name,
                "n_right": tally.n_right,
                "n_wrong": tally.n_wrong,
                "n_skipped": tally.n_skipped,
                "seconds": tally.seconds,
            }));
            total.add(&tally);
        }
        ongoing.progress.clear();
        let seconds = start.elapsed().as_secs_f64();
        let mut out = io::stdout().lock();
        if self.json {
            print::json(
                &mut out,
                &json!({
                    "adapter": adapter.label(),
                    "driver": adapter.driver,
                    "driver_info": adapter.driver_info,
                    "limits": self.limits.name(),
                    "filter": self.filter,
                    "n_right": total.n_right,
                    "n_wrong": total.n_wrong,
                    "n_skipped": total.n_skipped,
                    "seconds": seconds,
                    "operators": operators,
                    "cases": verdicts,
                }),
            )?;
        } else {
            writeln!(
                out,
                "\n{} on {}, {} limits, in {seconds:.1} s",
                total.words(),
                adapter.label(),
                self.limits.name()
            )?;
        }
        out.flush()?;
        match total.n_wrong {
            0 => Ok(()),
            n => Err(Failure::Checked(format!(
                "{n} of {} cases failed on {}",
                wanted.len(),
                adapter.label()
            ))),
        }
    }

    /// The cases of one operator: their verdicts, then a line for all of them.
    fn check_operator(
        &self,
        device: &Device,
        cases: &[Trial],
        width: usize,
        ongoing: &mut Ongoing,
        verdicts: &mut Vec<Value>,
    ) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let mut lines = Vec::new();
        for case in cases {
            let name = case.name();
            ongoing.show(&name);
            let start = Instant::now();
            let found = case.run(device)?;
            let seconds = start.elapsed().as_secs_f64();
            tally.count(&found, seconds);
            let (verdict, detail) = match &found {
                Found::Right => ("right", None),
                Found::Wrong(detail) => ("wrong", Some(flatten(detail))),
                Found::Skipped(detail) => ("skipped", Some(flatten(detail))),
            };
            if self.json {
                verdicts.push(json!({
                    "name": name,
                    "op": case.op.signature().name,
                    "case": case.case.label,
                    "property": case.property.name(),
                    "entry": case.only.map(|(entry, _)| entry),
                    "variant": case.only.map(|(_, variant)| variant),
                    "verdict": verdict,
                    "detail": detail,
                    "seconds": seconds,
                }));
            } else if self.verbose || verdict == "wrong" {
                let detail = detail.map_or(String::new(), |d| format!(": {d}"));
                lines.push(format!("  {verdict:<7} {name}{detail}"));
            }
        }
        if !self.json {
            ongoing.progress.clear();
            let mut out = io::stdout().lock();
            let name = cases[0].op.signature().name;
            let mark = if tally.n_wrong > 0 { "WRONG" } else { "right" };
            writeln!(
                out,
                "{mark}  {name:<width$}  {:<28} {:>6.2} s",
                tally.words(),
                tally.seconds
            )?;
            for line in lines {
                writeln!(out, "{line}")?;
            }
            out.flush()?;
        }
        Ok(tally)
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
