//! What a benchmark found, as it is kept in files: plain data with a schema version. Measures nothing.
//!
//! Times are in seconds, rates in 10⁹ per second, sizes in bytes. A file holds one machine or several; `affekt bench`
//! writes them and reads them back for `--compare` and `--baseline`, and `tools/peers` writes the same for other engines.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::statistics::Ratio;
pub use crate::check::Environment;
use crate::disk::write_by_rename;
use crate::error::{Error, Result};

/// What the field `schema` says.
pub const SCHEMA: &str = "affekt-bench";
/// No time, rate, size or count that is measured is as large: 10¹⁵ seconds, bytes or operations.
const MOST: f64 = 1e15;
/// Raised whenever a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// A file of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub schema_version: u32,
    pub machines: Vec<Machine>,
}

/// One run of one engine on one adapter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Machine {
    pub environment: Environment,
    /// `None` where an engine other than this one ran.
    #[serde(default)]
    pub ceilings: Option<Ceilings>,
    pub rows: Vec<Row>,
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Of `--rungs`: what each rung takes on each case that has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladders: Vec<Ladder>,
    #[serde(default)]
    pub health: Health,
}

/// What the adapter can do at most, through this stack.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ceilings {
    /// Rates of memory over growing working sets.
    pub memory: Vec<MemoryPoint>,
    /// Multiply-adds in registers, counted as two operations each.
    pub f32_gflop_s: f64,
    /// `None` where kernels may not use f16.
    pub f16_gflop_s: Option<f64>,
    /// What a dispatch of an empty kernel costs by wall clock, submission and waiting included, by dispatches per
    /// submission.
    pub launch: Vec<LaunchPoint>,
    /// The same by the device's timestamps, by dispatches of one pass; empty where it has none.
    pub launch_on_device: Vec<LaunchPoint>,
    pub upload_gb_s: f64,
    pub download_gb_s: f64,
    /// From asking for one number to having it.
    pub readback: Timing,
    /// Shapes that the adapter multiplies in one instruction, `16x16x16 f16 to f32`; empty where it has none.
    pub cooperative: Vec<String>,
}

/// Rates at one working set: all bytes that are read or written between two visits of an element.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MemoryPoint {
    pub bytes: u64,
    pub copy_gb_s: f64,
    /// Two bytes read for each that is written.
    #[serde(default)]
    pub sum_of_two_gb_s: f64,
    /// Three bytes read for each that is written.
    #[serde(default)]
    pub sum_of_three_gb_s: f64,
    pub read_gb_s: f64,
    pub write_gb_s: f64,
}

impl MemoryPoint {
    /// What the rates are of, in the order of [`rates`](Self::rates).
    pub const NAMES: [&str; 5] = ["copy", "sum of two", "sum of three", "read", "write"];

    /// The rates; 0 for what an older file does not have.
    pub fn rates(&self) -> [f64; 5] {
        [
            self.copy_gb_s,
            self.sum_of_two_gb_s,
            self.sum_of_three_gb_s,
            self.read_gb_s,
            self.write_gb_s,
        ]
    }

    /// The better of each rate.
    pub(super) fn take_better(&mut self, other: &MemoryPoint) {
        self.copy_gb_s = self.copy_gb_s.max(other.copy_gb_s);
        self.sum_of_two_gb_s = self.sum_of_two_gb_s.max(other.sum_of_two_gb_s);
        self.sum_of_three_gb_s = self.sum_of_three_gb_s.max(other.sum_of_three_gb_s);
        self.read_gb_s = self.read_gb_s.max(other.read_gb_s);
        self.write_gb_s = self.write_gb_s.max(other.write_gb_s);
    }
}

/// Seconds per dispatch, where so many go together.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LaunchPoint {
    pub n_dispatches: u32,
    pub secs: f64,
}

/// Times of one thing done many times.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    pub n: usize,
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    pub p99: f64,
    /// Samples thrown away because the device's clock ran backwards or stood still.
    #[serde(default)]
    pub n_discarded: usize,
    /// Median of the last tenth of the samples over that of the first.
    #[serde(default)]
    pub drift: f64,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// The numbers are right, and the times are of right numbers.
    Right,
    /// The numbers are wrong; there are no times.
    Wrong,
    /// The device cannot run it, or it was left out; `detail` says why.
    Skipped,
}

/// What a time is bound by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    Memory,
    Compute,
    Launch,
}

/// One case of one operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub op: String,
    pub case: String,
    /// Whether the backward pass alone was timed, after a forward pass that was waited for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backward: bool,
    /// Shapes and dtypes of the inputs, `f32[512, 512] f32[512, 512]`. Rows of equal name and other shapes are not compared.
    pub shapes: String,
    pub verdict: RowVerdict,
    #[serde(default)]
    pub detail: Option<String>,
    /// Seconds per call: `gpu` where there are timestamps, else `wall`. `None` without a right result.
    pub median: Option<f64>,
    #[serde(default)]
    pub gpu: Option<Timing>,
    #[serde(default)]
    pub wall: Option<Timing>,
    /// What the plan chose and why, in one line.
    #[serde(default)]
    pub plan: Option<String>,
    /// Entry points that a call dispatches.
    #[serde(default)]
    pub entries: Vec<String>,
    /// Entry points that were found wrong on this adapter and are not used, each with what was found.
    #[serde(default)]
    pub dropped: Vec<String>,
    #[serde(default)]
    pub n_dispatches: u64,
    /// Compulsory: inputs read once, outputs written once.
    #[serde(default)]
    pub bytes: u64,
    /// Those of `bytes` that are written.
    #[serde(default)]
    pub written_bytes: u64,
    #[serde(default)]
    pub flops: u64,
    #[serde(default)]
    pub gb_s: Option<f64>,
    #[serde(default)]
    pub gflop_s: Option<f64>,
    /// Of what the ceilings allow, 0 to 100.
    #[serde(default)]
    pub percent: Option<f64>,
    /// `percent` is above 100: the ceiling was measured too low, or the row's work is counted too high.
    #[serde(default, skip_serializing_if = "is_false")]
    pub above_ceiling: bool,
    #[serde(default)]
    pub bound: Option<Bound>,
    /// Most bytes in use during a call beside inputs and outputs.
    #[serde(default)]
    pub workspace_bytes: u64,
    /// First call on a fresh device less a later one: compiling, nothing being cached.
    #[serde(default)]
    pub compile_cold: Option<f64>,
    /// The same where pipelines of an earlier run were kept.
    #[serde(default)]
    pub compile_cached: Option<f64>,
    /// The spread is wide, or the end differs from the beginning.
    #[serde(default)]
    pub noisy: bool,
    /// Of `--baseline`: this row beside that of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A row or a step beside that of a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    pub change: Change,
    /// Seconds of the baseline.
    #[serde(default)]
    pub median: Option<f64>,
    /// Time over that of the baseline, with the interval that the spreads allow; `None` without two times.
    #[serde(default)]
    pub ratio: Option<Ratio>,
    /// Medians of all rounds, where a suspicion was looked at again; the best one stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<f64>,
}

/// How a row stands to that of a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Beyond the interval.
    Faster,
    /// The interval or the margin explains the difference.
    Equal,
    /// Beyond interval and margin in every round.
    Slower,
    /// Right in the baseline and wrong now.
    Wrong,
    /// Right in the baseline and skipped now.
    Skipped,
    /// Not in the baseline, or without a right result there.
    New,
}

impl Change {
    pub fn name(self) -> &'static str {
        match self {
            Change::Faster => "faster",
            Change::Equal => "equal",
            Change::Slower => "slower",
            Change::Wrong => "wrong",
            Change::Skipped => "skipped",
            Change::New => "new",
        }
    }

    pub fn is_regression(self) -> bool {
        matches!(self, Change::Slower | Change::Wrong | Change::Skipped)
    }
}

impl Row {
    /// A row without a time.
    pub fn without_time(op: &str, case: &str, shapes: String, verdict: RowVerdict) -> Self {
        Row {
            op: op.to_string(),
            case: case.to_string(),
            backward: false,
            shapes,
            verdict,
            detail: None,
            median: None,
            gpu: None,
            wall: None,
            plan: None,
            entries: Vec::new(),
            dropped: Vec::new(),
            n_dispatches: 0,
            bytes: 0,
            written_bytes: 0,
            flops: 0,
            gb_s: None,
            gflop_s: None,
            percent: None,
            above_ceiling: false,
            bound: None,
            workspace_bytes: 0,
            compile_cold: None,
            compile_cached: None,
            noisy: false,
            beside: None,
        }
    }

    /// Whether the row is faster than the ceiling says is possible.
    pub fn is_above_ceiling(&self) -> bool {
        self.percent.is_some_and(|p| p.is_finite() && p > 100.0)
    }

    /// `matmul/512`, `matmul/512 backward`.
    pub fn name(&self) -> String {
        row_name(&self.op, &self.case, self.backward)
    }

    /// What stands behind the operator in [`name`](Self::name).
    pub fn title(&self) -> String {
        let name = self.name();
        name[self.op.len() + 1..].to_string()
    }

    /// Samples of `median` that no clock could have meant.
    pub(super) fn n_discarded(&self) -> usize {
        self.timing().map_or(0, |t| t.n_discarded)
    }

    /// The samples behind `median`.
    pub fn timing(&self) -> Option<&Timing> {
        self.gpu.as_ref().or(self.wall.as_ref())
    }
}

pub(super) fn row_name(op: &str, case: &str, backward: bool) -> String {
    let end = if backward { " backward" } else { "" };
    format!("{op}/{case}{end}")
}

/// A training step of a model. Parts are waited for one by one; a whole step lets host and device overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub model: String,
    pub config: String,
    pub batch: usize,
    pub n_parameters: usize,
    pub verdict: RowVerdict,
    #[serde(default)]
    pub detail: Option<String>,
    /// Seconds of a whole step.
    pub median: Option<f64>,
    #[serde(default)]
    pub step: Option<Timing>,
    #[serde(default)]
    pub forward: Option<Timing>,
    #[serde(default)]
    pub backward: Option<Timing>,
    #[serde(default)]
    pub optimizer: Option<Timing>,
    /// The first step, which compiles and verifies.
    #[serde(default)]
    pub first: Option<f64>,
    #[serde(default)]
    pub n_dispatches: u64,
    #[serde(default)]
    pub n_submissions: u64,
    /// Sizes of all tensors that the dispatches were given, added up.
    #[serde(default)]
    pub bytes: u64,
    /// Most bytes of the pool in use.
    #[serde(default)]
    pub peak_bytes: u64,
    /// Kernels that were found wrong on this adapter and are not used, each with what was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Of `--baseline`: this step beside that of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

impl Step {
    /// `step/speech-swin`.
    pub fn name(&self) -> String {
        format!("step/{}", self.model)
    }

    /// What it worked on: steps of equal name and other sizes are not compared.
    pub fn sizes(&self) -> String {
        step_sizes(&self.config, self.batch)
    }
}

pub(super) fn step_sizes(config: &str, batch: usize) -> String {
    format!("{config}, batch {batch}")
}

/// Every rung of one role on one case, timed in turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ladder {
    pub op: String,
    pub case: String,
    pub shapes: String,
    /// `forward`, or `backward`: the backward pass alone.
    pub role: String,
    /// Whether times are by the device's timestamps.
    pub on_device: bool,
    pub rungs: Vec<Rung>,
    /// Why none was timed.
    #[serde(default)]
    pub detail: Option<String>,
}

/// One rung of a [`Ladder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// `naive`, `tiled`, …
    pub rung: String,
    /// Entry points that a call of it dispatches.
    pub entries: Vec<String>,
    /// Whether the plan takes it for this case.
    pub chosen: bool,
    /// Whether it is the plain kernel, which is called like the operator and is the oracle of the others on the device.
    #[serde(default)]
    pub naive: bool,
    #[serde(default)]
    pub timing: Option<Timing>,
    /// Time of the chosen rung over that of this one, with the interval that the spreads allow.
    #[serde(default)]
    pub chosen_over_this: Option<Ratio>,
    /// Why it was not timed.
    #[serde(default)]
    pub skipped: Option<String>,
}

impl Ladder {
    /// `softmax/rows_of_32 forward`.
    pub fn name(&self) -> String {
        format!("{}/{} {}", self.op, self.case, self.role)
    }

    pub fn chosen(&self) -> Option<&Rung> {
        self.rungs.iter().find(|r| r.chosen)
    }

    /// The rungs that are faster than the chosen one beyond interval and margin.
    pub fn faster(&self, margin: f64) -> impl Iterator<Item = (&Rung, Ratio)> {
        self.rungs.iter().filter_map(move |rung| {
            let ratio = rung.chosen_over_this?;
            (!rung.chosen && ratio.is_slower(margin)).then_some((rung, ratio))
        })
    }
}

/// Whether the numbers can be believed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `timestamps` of the device, or `wall` where it has none.
    pub clock: String,
    /// Time of one fixed piece of work after the run over that before it.
    pub slowdown: f64,
    /// The machine was slower after the run than before: it throttles, or others use it.
    pub throttled: bool,
    pub n_noisy: usize,
    pub n_discarded: usize,
    /// Of `--baseline`: how much slower this adapter's ceilings are than the baseline's. Ratios are judged after division by
    /// it: a machine that others use is no regression of a kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<f64>,
    /// Of `--baseline`: how much slower than the baseline a row may be for the noise between the two runs, by how far the
    /// ratios of all rows lie apart, where that is beyond the margin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// Of `--corrupt`: whether anything that ran was spoiled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spoiled: Option<bool>,
    /// Rows that were skipped, each with the reason.
    pub skipped: Vec<String>,
    /// What ended the run before its end, if something did: what was measured until then is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Rows and steps that the run did not come to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The whole run.
    pub seconds: f64,
}

impl Machine {
    /// Leaves the rows and steps whose name contains the filter.
    pub fn keep(&mut self, filter: &str) {
        self.rows.retain(|row| row.name().contains(filter));
        self.steps.retain(|step| step.name().contains(filter));
        self.ladders.retain(|ladder| ladder.name().contains(filter));
        let health = &mut self.health;
        let named = |line: &String| line.split(": ").next().unwrap_or_default().contains(filter);
        health.skipped.retain(named);
        health.missing.retain(|name| name.contains(filter));
        health.n_noisy = self.rows.iter().filter(|row| row.noisy).count();
        health.n_discarded = self.rows.iter().map(Row::n_discarded).sum();
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.steps.is_empty() && self.ladders.is_empty()
    }
}

impl Report {
    pub fn new(machines: Vec<Machine>) -> Self {
        Report {
            schema: SCHEMA.to_string(),
            schema_version: SCHEMA_VERSION,
            machines,
        }
    }

    /// Reads a file of results.
    ///
    /// Errors: [`Error::Format`] if it cannot be read, holds something else, or is of another schema version.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|e| Error::format(file, e.to_string()))?;
        let mut value: Value = serde_json::from_str(&text)
            .map_err(|e| Error::format(file, format!("no JSON: {e}")))?;
        if value["schema"].as_str() != Some(SCHEMA) {
            return Err(Error::format(
                file,
                "no results of affekt bench: its field schema does not say so".to_string(),
            ));
        }
        let version = value["schema_version"].as_u64();
        if version != Some(u64::from(SCHEMA_VERSION)) {
            return Err(Error::format(
                file,
                format!(
                    "schema version {}, this program reads {SCHEMA_VERSION}",
                    version.map_or("missing".to_string(), |v| v.to_string())
                ),
            ));
        }
        plain(&mut value);
        if let Some(flaw) = wild(&value) {
            return Err(Error::format(file, format!("broken results: {flaw}")));
        }
        let report: Report = serde_json::from_value(value)
            .map_err(|e| Error::format(file, format!("broken results: {e}")))?;
        match report.flaw() {
            Some(flaw) => Err(Error::format(file, format!("broken results: {flaw}"))),
            None => Ok(report),
        }
    }

    /// What no run could have written, if there is something.
    fn flaw(&self) -> Option<String> {
        if self.machines.is_empty() {
            return Some("no machine".to_string());
        }
        let ordered =
            |t: &Timing| t.p10 > 0.0 && t.p10 <= t.median && t.median <= t.p90 && t.p90 < MOST;
        for machine in &self.machines {
            let rows = machine.rows.iter();
            let rows = rows.map(|r| (r.name(), r.median, vec![&r.gpu, &r.wall]));
            let steps = machine.steps.iter().map(|s| {
                let timings = vec![&s.step, &s.forward, &s.backward, &s.optimizer];
                (s.name(), s.median, timings)
            });
            let mut names = std::collections::HashSet::new();
            for (name, median, timings) in rows.chain(steps) {
                let timings = timings.into_iter().flatten();
                if !(median.is_none_or(|m| m > 0.0) && timings.into_iter().all(ordered)) {
                    return Some(format!("{name} has times that are none"));
                }
                if !names.insert(name.clone()) {
                    return Some(format!("{name} is there twice"));
                }
            }
            for ladder in &machine.ladders {
                let mut timings = ladder.rungs.iter().filter_map(|r| r.timing.as_ref());
                if !timings.all(ordered) {
                    return Some(format!("{} has times that are none", ladder.name()));
                }
            }
        }
        None
    }

    /// Writes the file, whole or not at all.
    ///
    /// Errors: [`Error::Io`] if it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        write_by_rename(file, self.to_json().as_bytes()).map_err(|e| Error::io(file, &e))
    }

    /// The file as text.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("names are text and numbers are finite");
        text.push('\n');
        text
    }
}

/// Leaves no character in any text that moves a terminal's cursor, turns the direction of writing, or ends a line.
fn plain(value: &mut Value) {
    match value {
        Value::String(text) => {
            let plain = text.chars().map(|c| match c {
                '\n' | '\r' | '\t' => ' ',
                c if c.is_control() => char::REPLACEMENT_CHARACTER,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
                c => c,
            });
            *text = plain.collect();
        }
        Value::Array(list) => list.iter_mut().for_each(plain),
        Value::Object(fields) => {
            let old = std::mem::take(fields);
            fields.extend(old.into_iter().map(|(name, mut value)| {
                let mut name = Value::String(name);
                plain(&mut name);
                plain(&mut value);
                (name.as_str().unwrap_or_default().to_string(), value)
            }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first number that nothing measured could be, with its place. Limits of a device may be as large as they like.
fn wild(report: &Value) -> Option<String> {
    let machines = report["machines"].as_array()?;
    machines.iter().find_map(|machine| {
        let fields = machine.as_object()?.iter();
        fields
            .filter(|(name, _)| *name != "environment")
            .find_map(|(name, value)| wild_in(name, value))
    })
}

fn wild_in(place: &str, value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let measurable = |x: f64| x == 0.0 || (1.0 / MOST..MOST).contains(&x);
            (!number.as_f64().is_some_and(measurable)).then(|| {
                format!(
                    "{place} is {number}, expected 0 or a number between {:e} and {MOST:e}",
                    1.0 / MOST
                )
            })
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .find_map(|(i, value)| wild_in(&format!("{place}[{i}]"), value)),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| wild_in(&format!("{place}.{name}"), value)),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}
