//! What `affekt check` found, as it is kept in files: plain data with a schema version. Checks nothing.
//!
//! Times are in seconds. A file holds one machine or, by `--all-adapters`, several; its form follows that of
//! `affekt bench`.

use serde::{Deserialize, Serialize};

use crate::check::{Environment, Outcome, Trial};

/// What the field `schema` says.
pub const SCHEMA: &str = "affekt-check";
/// Raised whenever a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// A file of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub schema_version: u32,
    /// Only cases whose name contains this were run.
    #[serde(default)]
    pub filter: Option<String>,
    pub machines: Vec<Machine>,
}

/// What was found on one adapter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub environment: Environment,
    /// Why the adapter could not be opened, or that it was lost; the counts are of what had been checked by then.
    pub error: Option<String>,
    pub n_right: usize,
    pub n_wrong: usize,
    pub n_skipped: usize,
    pub seconds: f64,
    pub operators: Vec<Operator>,
    pub cases: Vec<Case>,
}

/// The cases of one operator, counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Operator {
    pub name: String,
    pub n_right: usize,
    pub n_wrong: usize,
    pub n_skipped: usize,
    pub seconds: f64,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Right,
    Wrong,
    /// The device cannot run it; `detail` says why.
    Skipped,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Wrong => "wrong",
            Verdict::Skipped => "skipped",
        }
    }
}

/// One property of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// `layer_norm/far_from_zero/value`, with `@entry` if one is forced.
    pub name: String,
    pub op: String,
    pub case: String,
    pub property: String,
    /// The entry point that was forced.
    #[serde(default)]
    pub entry: Option<String>,
    #[serde(default)]
    pub variant: Option<u32>,
    pub verdict: Verdict,
    #[serde(default)]
    pub detail: Option<String>,
    pub seconds: f64,
}

impl Case {
    /// How that trial ended, in that time. What was found becomes one line.
    pub fn of(trial: &Trial, outcome: &Outcome, seconds: f64) -> Self {
        let (verdict, detail) = match outcome {
            Outcome::Right => (Verdict::Right, None),
            Outcome::Wrong(detail) => (Verdict::Wrong, Some(detail)),
            Outcome::Skipped(detail) => (Verdict::Skipped, Some(detail)),
        };
        Case {
            name: trial.name(),
            op: trial.op.signature().name.to_string(),
            case: trial.case.label.clone(),
            property: trial.property.name().to_string(),
            entry: trial.only.map(|(entry, _)| entry.to_string()),
            variant: trial.only.map(|(_, variant)| variant),
            verdict,
            detail: detail.map(|d| d.split_whitespace().collect::<Vec<_>>().join(" ")),
            seconds,
        }
    }
}

impl Operator {
    pub fn new(name: &str) -> Self {
        Operator {
            name: name.to_string(),
            ..Operator::default()
        }
    }

    pub fn count(&mut self, verdict: Verdict, seconds: f64) {
        match verdict {
            Verdict::Right => self.n_right += 1,
            Verdict::Wrong => self.n_wrong += 1,
            Verdict::Skipped => self.n_skipped += 1,
        }
        self.seconds += seconds;
    }
}

impl Machine {
    /// Takes the counts of an operator whose cases are through, or cut short.
    pub fn add(&mut self, operator: Operator) {
        self.n_right += operator.n_right;
        self.n_wrong += operator.n_wrong;
        self.n_skipped += operator.n_skipped;
        self.operators.push(operator);
    }

    /// Whether the adapter was there to the end and no case was wrong.
    pub fn is_right(&self) -> bool {
        self.error.is_none() && self.n_wrong == 0
    }
}

impl Report {
    pub fn new(machines: Vec<Machine>, filter: Option<String>) -> Self {
        Report {
            schema: SCHEMA.to_string(),
            schema_version: SCHEMA_VERSION,
            filter,
            machines,
        }
    }

    /// The file as text.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("names are text and numbers are finite");
        text.push('\n');
        text
    }
}
