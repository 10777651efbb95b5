//! `affekt bench`: how far every kernel is from what this adapter could do.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use affekt::bench::compare::{Baseline, MARGIN, MOST_SLACK, align, regressions};
use affekt::bench::report::{Environment, Machine, RowVerdict};
use affekt::bench::statistics::Budget;
use affekt::bench::{Event, Report, Settings, page, rows, run, rungs, steps};
use affekt::fuse::FUSED;
use affekt::gpu::Mode;
use affekt::{Device, DeviceOptions, ops};
use clap::Args;

use crate::check::Profile;
use crate::outcome::{Failure, Outcome, flatten, say};
use crate::print;
use crate::progress::Progress;
use crate::session::{Session, try_beside};

mod table;

use table::{Shown, print_losers, say_health, side_by_side};

/// Time every kernel against what this adapter can do, and training steps of the models
#[derive(Args)]
#[command(
    after_help = "A row is named operator/case, operator/case backward or step/model. Wrong kernels have no speed; they end with exit 1.\n\n\
                  Examples:\n  affekt bench matmul --html matmul.html\n  \
                  affekt bench --json > mine.json\n  \
                  affekt bench --compare theirs.json mine.json --html both.html\n  \
                  affekt bench --baseline mine.json\n  affekt bench softmax --rungs\n  affekt bench \" backward\""
)]
pub struct Bench {
    /// Only rows whose name contains this
    filter: Option<String>,
    /// Every adapter in turn, instead of one
    #[arg(long, conflicts_with = "compare")]
    all_adapters: bool,
    /// Everything the adapter has, or the WebGPU defaults and no features
    #[arg(long, value_enum, default_value = "full")]
    limits: Profile,
    /// Most seconds to spend on the samples of a row; five times as many on those of a part of a training step
    #[arg(
        long,
        value_name = "S",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Leave out what compiling takes, which needs three more runs of the program. Only Mesa's and NVIDIA's caches can be
    /// emptied: with other drivers "cold" may be warm
    #[arg(long)]
    no_compile: bool,
    /// Measure nothing: put the results of these files side by side, or those rows of them that the filter names
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["limits", "seconds", "no_compile"]
    )]
    compare: Vec<PathBuf>,
    /// Print ratios to the results of this file, of the same adapter and `--limits`; a row that is slower beyond spread and
    /// margin, however often it is measured again, ends with exit 1. What the whole machine is slower is taken off. With
    /// several such options ratios are to the first, and what is not slower than one of them is no regression
    #[arg(long, value_name = "FILE")]
    baseline: Vec<PathBuf>,
    /// Measure every rung of every row that has several, in turns, and name the rows whose chosen rung is not the fastest.
    /// A rung of which one call takes longer than `--seconds` is left out
    #[arg(long, conflicts_with_all = ["compare", "baseline", "no_compile"])]
    rungs: bool,
    /// With `--rungs`: the small cases that conformance looks at, too
    #[arg(long, requires = "rungs")]
    all_cases: bool,
    /// How much slower than the baseline, or than another rung, is nothing yet, whatever the spread [default: 0.05, or what
    /// the ratios of all rows to the baseline scatter by]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    margin: Option<f64>,
    /// Spoil what this entry point writes, as a broken driver would: shows that the next rung takes over. `fused` stands for
    /// all generated kernels of several functions, the name of an elementwise operator for those of that one alone.
    /// If nothing that ran is called so, the end is exit 2
    #[arg(long, value_name = "ENTRY", conflicts_with = "compare")]
    corrupt: Option<String>,
    /// Lose the device after so many findings: shows that they are kept
    #[arg(long, hide = true, value_name = "N")]
    lose_after: Option<usize>,
    /// Write one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print what the first call of each row takes on a fresh device, as JSON
    #[arg(long, hide = true)]
    first_calls: bool,
    /// Folder where `--first-calls` keeps pipelines
    #[arg(long, hide = true, value_name = "DIR")]
    pipelines: Option<PathBuf>,
}

impl Bench {
    pub fn run(&self, session: &Session) -> Outcome {
        if !(self.seconds > 0.0 && self.seconds.is_finite()) {
            return Err(Failure::Wrong(format!(
                "--seconds is {}, expected a time above 0",
                self.seconds
            )));
        }
        if let Some(margin) = self.margin {
            if !(margin >= 0.0 && margin.is_finite()) {
                return Err(Failure::Wrong(format!(
                    "--margin is {margin}, expected a share of at least 0"
                )));
            }
            if self.baseline.is_empty() && !self.rungs && self.compare.is_empty() {
                return Err(Failure::Wrong(
                    "--margin has no meaning without --baseline, --rungs or --compare".to_string(),
                ));
            }
        }
        if !self.compare.is_empty() {
            session.takes_no_adapter("--compare")?;
        }
        if self.first_calls {
            return self.print_first_calls(session);
        }
        // Before an hour of measuring, not after it.
        let runs = self.baseline.iter().map(|file| Report::read(file));
        let runs = runs.collect::<affekt::Result<Vec<_>>>()?;
        let baseline = (!runs.is_empty()).then_some(runs.as_slice());
        if let Some(file) = &self.html {
            let read = self.compare.iter().chain(&self.baseline);
            let place = |f: &PathBuf| f.canonicalize().ok();
            if place(file).is_some() && read.map(place).any(|other| other == place(file)) {
                return Err(Failure::Wrong(format!(
                    "--html would overwrite {}, which is read",
                    file.display()
                )));
            }
            try_beside(file)?;
        }
        let report = match (self.compare.is_empty(), self.rungs) {
            (true, false) => self.measure(session, baseline)?,
            (true, true) => self.measure_rungs(session)?,
            (false, _) => self.read(baseline)?,
        };
        let machines: Vec<&Machine> = report.machines.iter().collect();
        let lines = align(&machines)?;
        if let Some(file) = &self.html {
            page::write(&report, file)?;
        }
        let mut out = io::stdout().lock();
        if self.json {
            out.write_all(report.to_json().as_bytes())?;
        } else if !self.compare.is_empty() {
            if !lines.is_empty() {
                side_by_side(&mut out, &machines, &lines)?;
            }
            let mut climbed = machines.clone();
            climbed.retain(|m| !m.ladders.is_empty());
            print_losers(&mut out, &climbed, self.margin())?;
        }
        if let Some([baseline, ..]) = baseline {
            if !self.json {
                against(&mut out, baseline, &report)?;
            }
            in_common(baseline, &report)?;
        }
        if self.rungs && !self.json {
            print_losers(&mut out, &machines, self.margin())?;
        }
        out.flush()?;
        self.verdict(&machines)
    }

    /// How a run with these results ends.
    fn verdict(&self, machines: &[&Machine]) -> Outcome {
        // What files say of other runs is no failure of this one.
        let of_this_run = |m: &&&Machine| self.compare.is_empty() && m.health.lost.is_some();
        if let Some(machine) = machines.iter().find(of_this_run) {
            return Err(Failure::Wrong(lost(machine)));
        }
        if let Some(entry) = &self.corrupt {
            if machines.iter().all(|m| m.health.spoiled == Some(false)) {
                return Err(Failure::Wrong(format!(
                    "nothing that ran is called {entry}"
                )));
            }
        }
        let wrong: Vec<String> = match self.compare.is_empty() {
            true => machines.iter().flat_map(|m| wrong_rows(m)).collect(),
            false => Vec::new(),
        };
        let slower: Vec<String> = machines.iter().flat_map(|m| regressions(m)).collect();
        match (wrong.as_slice(), slower.as_slice()) {
            ([], slower) if slower.is_empty() || self.baseline.is_empty() => Ok(()),
            ([], slower) => Err(Failure::Checked(format!(
                "slower than the baseline: {}",
                slower.join(", ")
            ))),
            (wrong, _) => Err(Failure::Checked(format!("wrong: {}", wrong.join(", ")))),
        }
    }

    /// What the files of `--compare` say of the rows that the filter names.
    fn read(&self, baseline: Option<&[Report]>) -> Result<Report, Failure> {
        let read = self.compare.iter().map(|file| Report::read(file));
        let reports = read.collect::<affekt::Result<Vec<_>>>()?;
        let mut machines: Vec<Machine> = reports.into_iter().flat_map(|r| r.machines).collect();
        if let Some(filter) = &self.filter {
            for machine in &mut machines {
                machine.keep(filter);
            }
            if machines.iter().all(Machine::is_empty) {
                return Err(Failure::Wrong(format!(
                    "no row of these files has {filter:?} in its name"
                )));
            }
        }
        if let Some(baseline) = baseline {
            for machine in &mut machines {
                let baseline = self.of_baseline(baseline, &machine.environment)?;
                let noise = baseline.noise(machine)?;
                baseline.judge(machine, noise)?;
            }
        }
        Ok(Report::new(machines))
    }

    /// What the runs of the baseline, one at least, have of this adapter and engine.
    fn of_baseline(&self, runs: &[Report], environment: &Environment) -> Result<Baseline, Failure> {
        let runs = runs.iter().map(|run| Ok(old_of(run, environment)?.clone()));
        let mut runs = runs.collect::<Result<Vec<Machine>, Failure>>()?;
        let machine = runs.remove(0);
        Ok(Baseline {
            machine,
            others: runs,
            margin: self.margin,
        })
    }

    fn subjects(&self) -> Result<(Vec<rows::Subject>, Vec<steps::Subject>), Failure> {
        let filter = self.filter.as_deref();
        let (rows, steps) = (rows::subjects(filter), steps::subjects(filter));
        if rows.is_empty() && steps.is_empty() {
            let all = rows::subjects(None);
            let wanted = filter.unwrap_or_default();
            let near = ops::find(wanted.split('/').next().unwrap_or_default()).err();
            return Err(Failure::Wrong(format!(
                "no row has {wanted:?} in its name; there are {}, {} for one{}",
                all.len() + steps::subjects(None).len(),
                all[0].name(),
                near.map_or(String::new(), |e| format!("; {e}"))
            )));
        }
        Ok((rows, steps))
    }

    fn margin(&self) -> f64 {
        self.margin.unwrap_or(MARGIN)
    }

    fn budget(&self) -> Budget {
        Budget {
            max_secs: self.seconds,
            min_secs: Budget::default().min_secs.min(self.seconds),
            ..Budget::default()
        }
    }

    /// Measures rows and steps on the adapter asked for, or on all.
    fn measure(&self, session: &Session, baseline: Option<&[Report]>) -> Result<Report, Failure> {
        let (rows, steps) = self.subjects()?;
        let mut settings = Settings {
            rows,
            steps,
            budget: self.budget(),
            step_budget: Budget {
                max_secs: 5.0 * self.seconds,
                ..Budget::default()
            },
            baseline: None,
        };
        self.on_adapters(session, |device, adapter, environment, corrupt| {
            settings.baseline = match baseline {
                Some(baseline) => Some(self.of_baseline(baseline, &environment)?),
                None => None,
            };
            // Before anything is measured, not after it.
            if let Some(baseline) = &settings.baseline {
                if !baseline.meets(&settings.sized())? {
                    return Err(nothing_in_common());
                }
            }
            say(&format!(
                "{} and {} on {}, {} limits",
                print::counted(settings.rows.len(), "row"),
                print::counted(settings.steps.len(), "training step"),
                device.adapter().label(),
                self.limits.name()
            ));
            self.measure_one(device, adapter, environment, &settings, corrupt)
        })
    }

    /// Measures the rungs of all cases, on the adapter asked for or on all.
    fn measure_rungs(&self, session: &Session) -> Result<Report, Failure> {
        let filter = self.filter.as_deref();
        let subjects = match self.all_cases {
            true => rows::all_subjects(filter),
            false => rows::subjects(filter),
        };
        if subjects.is_empty() {
            // Says which names there are.
            self.subjects()?;
            return Err(Failure::Wrong("a training step has no rungs".to_string()));
        }
        let settings = rungs::Settings {
            budget: self.budget(),
            limit: self.seconds,
            margin: self.margin(),
        };
        self.on_adapters(session, |device, _, environment, _| {
            say(&format!(
                "the rungs of {} on {}, {} limits",
                print::counted(subjects.len(), "case"),
                device.adapter().label(),
                self.limits.name()
            ));
            let mut shown = Shown::new(self.json, &subjects);
            let mut failed = None;
            let mut n_found = 0;
            let machine = rungs::run(&device, environment, &subjects, &settings, &mut |event| {
                if matches!(event, rungs::Event::Ladder(_)) {
                    n_found += 1;
                    self.lose(&device, n_found);
                }
                going(shown.tell_rungs(event), &mut failed)
            })?;
            shown.progress.clear();
            match failed.filter(|_| self.html.is_none()) {
                Some(error) => Err(error.into()),
                None => Ok(machine),
            }
        })
    }

    /// Ends the device where a trial asks for it.
    fn lose(&self, device: &Device, n_found: usize) {
        if self.lose_after == Some(n_found) {
            device.destroy();
        }
    }

    /// Opens each adapter asked for and measures there.
    fn on_adapters(
        &self,
        session: &Session,
        mut measure: impl FnMut(
            Device,
            Option<&str>,
            Environment,
            Option<&'static str>,
        ) -> Result<Machine, Failure>,
    ) -> Result<Report, Failure> {
        let corrupt = self.corrupt.as_deref().map(entry_point).transpose()?;
        let mut machines = Vec::new();
        for adapter in session.adapters(self.all_adapters)? {
            let adapter = adapter.as_deref();
            let measured = self.open(session, adapter, corrupt).and_then(|device| {
                let environment = Environment::of(&device, self.limits.limits());
                measure(device, adapter, environment, corrupt)
            });
            match measured {
                Ok(machine) => machines.push(machine),
                // Of several, one that cannot be had is no reason to say nothing of the others.
                Err(Failure::Wrong(reason)) if self.all_adapters => say(&format!(
                    "affekt: {}: {}",
                    adapter.unwrap_or_default(),
                    flatten(&reason)
                )),
                Err(other) => return Err(other),
            }
        }
        if machines.is_empty() {
            return Err(Failure::Wrong("no adapter could be measured".to_string()));
        }
        Ok(Report::new(machines))
    }

    fn open(
        &self,
        session: &Session,
        adapter: Option<&str>,
        corrupt: Option<&'static str>,
    ) -> Result<Device, Failure> {
        let limits = self.limits.limits();
        // What a spoiled kernel is judged to be must not be remembered.
        let device = match corrupt {
            None => session.open_as(adapter, limits)?,
            Some(_) => Device::open(DeviceOptions {
                adapter: adapter.map(str::to_string),
                limits,
                ..DeviceOptions::default()
            })?,
        };
        Ok(device.with_mode(Mode {
            corrupt,
            ..device.mode()
        }))
    }

    fn measure_one(
        &self,
        device: Device,
        adapter: Option<&str>,
        environment: Environment,
        settings: &Settings,
        corrupt: Option<&'static str>,
    ) -> Result<Machine, Failure> {
        let mut shown = Shown::new(self.json, &settings.rows);
        let mut failed = None;
        let mut n_found = 0;
        let mut machine = run(&device, environment, settings, &mut |event| {
            if matches!(event, Event::Row(_) | Event::Step(_)) {
                n_found += 1;
                self.lose(&device, n_found);
            }
            going(shown.tell(event), &mut failed)
        })?;
        shown.progress.clear();
        match failed {
            Some(error) if self.html.is_none() => return Err(error.into()),
            Some(_) => return Ok(machine),
            None => {}
        }
        drop(device);
        let whole = corrupt.is_none() && machine.health.lost.is_none();
        if !self.no_compile && whole && !settings.rows.is_empty() {
            self.add_compile_times(adapter, &mut machine, &mut shown.progress);
        }
        shown.progress.clear();
        if !self.json {
            say_health(&machine);
        }
        Ok(machine)
    }

    /// What compiling takes, from runs of this program with the driver's caches off, empty, and filled.
    fn add_compile_times(
        &self,
        adapter: Option<&str>,
        machine: &mut Machine,
        progress: &mut Progress,
    ) {
        let folder = std::env::temp_dir().join(format!("affekt-bench-{}", std::process::id()));
        let mut child = |what: &str, cached: bool| {
            progress.show(&format!("compiling, {what}"));
            self.first_calls_of_a_run(adapter, cached.then_some(folder.as_path()))
        };
        let cold = child("nothing cached", false);
        let cached = child("to fill caches", true).and_then(|_| child("from caches", true));
        let _ = std::fs::remove_dir_all(&folder);
        match (cold, cached) {
            (Ok(cold), Ok(cached)) => {
                for row in &mut machine.rows {
                    row.compile_cold = cold.get(&row.name()).copied();
                    row.compile_cached = cached.get(&row.name()).copied();
                }
            }
            (Err(reason), _) | (_, Err(reason)) => {
                progress.say(&format!("affekt: warning: no compile times: {reason}"));
            }
        }
    }

    fn first_calls_of_a_run(
        &self,
        adapter: Option<&str>,
        caches: Option<&Path>,
    ) -> Result<BTreeMap<String, f64>, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args(["bench", "--first-calls", "--limits", self.limits.name()]);
        command.args(&self.filter);
        match adapter {
            Some(adapter) => command.args(["--adapter", adapter]),
            None => command.env_remove("AFFEKT_ADAPTER"),
        };
        match caches {
            // Mesa's and NVIDIA's own caches, and ours.
            Some(folder) => command
                .env("MESA_SHADER_CACHE_DIR", folder)
                .env("__GL_SHADER_DISK_CACHE_PATH", folder)
                .arg("--pipelines")
                .arg(folder),
            None => command
                .env("MESA_SHADER_CACHE_DISABLE", "true")
                .env("__GL_SHADER_DISK_CACHE", "0"),
        };
        let ran = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        serde_json::from_slice(&ran.stdout).map_err(|_| format!("a run ended with {}", ran.status))
    }

    fn print_first_calls(&self, session: &Session) -> Outcome {
        let options = DeviceOptions {
            adapter: session.adapter.clone(),
            limits: self.limits.limits(),
            cache_dir: self.pipelines.clone(),
            ..DeviceOptions::default()
        };
        let mut secs = BTreeMap::new();
        for subject in self.subjects()?.0 {
            // A row that does not run has no such time.
            if let Ok(first) = subject.first_call(&options) {
                secs.insert(subject.name(), first);
            }
        }
        Ok(print::json(
            &mut io::stdout().lock(),
            &serde_json::json!(secs),
        )?)
    }
}

/// Whether a run goes on after something was shown. Whoever closed the pipe has seen enough; the page is written from what
/// there is.
fn going(shown: io::Result<()>, failed: &mut Option<io::Error>) -> ControlFlow<()> {
    match shown {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => {
            failed.get_or_insert(e);
            ControlFlow::Break(())
        }
    }
}

/// One line on a run that ended early.
fn lost(machine: &Machine) -> String {
    let health = &machine.health;
    let n = machine.rows.len() + machine.steps.len() + machine.ladders.len();
    format!(
        "{} after {n} findings, which are kept; missing: {}",
        health.lost.as_deref().unwrap_or_default(),
        health.missing.join(", ")
    )
}

/// The machine of the baseline with this adapter, engine and profile of limits.
fn old_of<'a>(baseline: &'a Report, new: &Environment) -> Result<&'a Machine, Failure> {
    let same = |old: &&Machine| old.environment.is_of(new);
    let mut of_adapter = baseline.machines.iter().filter(same).peekable();
    let Some(first) = of_adapter.peek().copied() else {
        return Err(Failure::Wrong(format!(
            "the baseline has nothing of {} on {}",
            new.engine, new.adapter
        )));
    };
    // Other limits are other plans and kernels.
    let old = of_adapter
        .find(|old| old.environment.limits == new.limits)
        .ok_or_else(|| {
            Failure::Wrong(format!(
                "the baseline was measured on {} with {:?} limits, this is with {:?} limits",
                new.adapter, first.environment.limits, new.limits
            ))
        })?;
    match old.health.spoiled {
        Some(true) => Err(Failure::Wrong(
            "the baseline was measured with a spoiled kernel (--corrupt)".to_string(),
        )),
        _ => Ok(old),
    }
}

/// Whether each machine has something that the baseline has too.
fn in_common(baseline: &Report, report: &Report) -> Outcome {
    // A machine that was lost has another complaint.
    for machine in report.machines.iter().filter(|m| m.health.lost.is_none()) {
        let lines = align(&[old_of(baseline, &machine.environment)?, machine])?;
        if !lines
            .iter()
            .any(|line| line.cells.iter().all(Option::is_some))
        {
            return Err(nothing_in_common());
        }
    }
    Ok(())
}

fn nothing_in_common() -> Failure {
    Failure::Wrong("the baseline has none of these rows".to_string())
}

/// Ratios to the baseline.
fn against(out: &mut impl io::Write, baseline: &Report, report: &Report) -> Outcome {
    for machine in &report.machines {
        let old = old_of(baseline, &machine.environment)?;
        let mut lines = align(&[old, machine])?;
        // What was not measured is not missing: the filter or the files name what is of interest.
        lines.retain(|line| line.cells[1].is_some());
        writeln!(out)?;
        side_by_side(out, &[old, machine], &lines)?;
        if let Some(slack) = machine.health.slack.filter(|s| *s > 1.005) {
            writeln!(
                out,
                "the machine itself is {}{slack:.2} times as slow as that of the baseline, by its ceilings; ratios are judged after division by that",
                if slack < MOST_SLACK { "" } else { "at least " }
            )?;
        }
        if let Some(noise) = machine.health.noise {
            writeln!(
                out,
                "rows up to {noise:.2} times as slow are taken for noise, by how far the ratios of all rows lie apart"
            )?;
        }
    }
    Ok(())
}

/// The entry point of that name among all that operators have.
fn entry_point(name: &str) -> Result<&'static str, Failure> {
    let entries = ops::all()
        .flat_map(|op| op.entries())
        .map(|entry| entry.name());
    let functions = ops::all()
        .filter_map(|op| op.function())
        .map(|function| function.name);
    entries
        .chain(functions)
        .chain([FUSED])
        .find(|known| *known == name)
        .ok_or_else(|| {
            Failure::Wrong(format!(
                "no entry point is called {name}; `affekt ops NAME` lists those of an operator"
            ))
        })
}

fn wrong_rows(machine: &Machine) -> Vec<String> {
    let rows = machine.rows.iter().map(|r| (r.name(), r.verdict));
    let steps = machine.steps.iter().map(|s| (s.name(), s.verdict));
    rows.chain(steps)
        .filter(|(_, verdict)| *verdict == RowVerdict::Wrong)
        .map(|(name, _)| name)
        .collect()
}
