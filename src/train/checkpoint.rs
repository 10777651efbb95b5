//! A training run on disk: everything that its next step depends on, in one file that is replaced whole.

use std::path::Path;

use serde_json::{Value, json};

use crate::data::Position;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::nn::Module;
use crate::nn::optim::{Ema, Optimizer};
use crate::tensor::{Tensor, file};
use crate::train::spectrograms::Normalisation;

/// Where a run is, beside its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub fold: String,
    /// The batch that comes next.
    pub position: Position,
    /// Steps made; also where the random numbers of the next step begin.
    pub step: u64,
    pub seed: u64,
    /// Sum and number of the losses of this epoch so far.
    pub loss: (f64, u64),
    /// The best test UAR so far and its epoch: for the curve, nothing is chosen by it.
    pub best: Option<(f64, u32)>,
    /// Length of the metrics file when this was written.
    pub metrics_bytes: u64,
    /// The model and its sizes, so that a checkpoint can be used without its run.
    pub model: Value,
}

/// What a checkpoint holds.
pub struct Checkpoint {
    pub progress: Progress,
    pub normalisation: Normalisation,
    parameters: Vec<(String, Tensor)>,
    moments: Vec<(String, Tensor)>,
    averages: Vec<(String, Tensor)>,
}

/// What the names of a model's parameters begin with.
pub(crate) const MODEL: &str = "model.";
const OPTIMIZER: &str = "optimizer.";
const EMA: &str = "ema.";
const MEAN: &str = "input.mean";
const DEVIATION: &str = "input.deviation";
/// Most steps that a checkpoint is believed: the random streams of all of them can be counted.
const MOST_TRAINED: u64 = 1 << 46;
/// Of what the note of a checkpoint holds.
const FORMAT: u64 = 1;

/// Writes a checkpoint beside the old one and renames it.
///
/// Errors: [`Error::Io`], [`Error::DeviceLost`]; [`Error::NotFinite`] for a parameter, moment or average that is not: a
/// loss tells of it one step later only. The old checkpoint is still there then.
pub fn save(
    path: &Path,
    model: &dyn Module,
    optimizer: &Optimizer,
    ema: Option<&Ema>,
    normalisation: &Normalisation,
    progress: &Progress,
) -> Result<()> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    let mut take = |prefix: &str, list: Vec<(String, Tensor)>| {
        tensors.extend(list.into_iter().map(|(n, t)| (format!("{prefix}{n}"), t)));
    };
    let state = model.state();
    let device = state
        .first()
        .map(|(_, t)| t.device().clone())
        .ok_or_else(|| Error::State {
            message: "the model has no parameters".to_string(),
        })?;
    take(MODEL, state);
    take(OPTIMIZER, optimizer.state());
    if let Some(ema) = ema {
        take(EMA, ema.state().to_vec());
    }
    for (name, values) in [
        (MEAN, &normalisation.mean),
        (DEVIATION, &normalisation.deviation),
    ] {
        let tensor = Tensor::from_slice(&device, values, [values.len()])?;
        tensors.push((name.to_string(), tensor));
    }
    let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let note = progress.to_json().to_string();
    file::save_finite_with_note(path, &named, &note).map_err(|error| match error {
        Error::NotFinite { what, .. } => Error::NotFinite {
            what,
            step: Some(progress.step),
        },
        other => other,
    })
}

/// Reads a checkpoint onto a device.
///
/// Errors: [`Error::Io`]; [`Error::Format`] if it is no checkpoint of this format.
pub fn load(device: &Device, path: &Path) -> Result<Checkpoint> {
    let (tensors, note) = file::load_with_note(device, path)?;
    let wrong = |message: &str| Error::format(path, format!("no checkpoint: {message}"));
    let note = note.ok_or_else(|| wrong("it carries no note"))?;
    let note: Value = serde_json::from_str(&note).map_err(|e| wrong(&e.to_string()))?;
    if note["format"].as_u64() != Some(FORMAT) {
        return Err(wrong(&format!(
            "format {}, expected {FORMAT}",
            note["format"]
        )));
    }
    let progress = Progress::of_json(&note).ok_or_else(|| wrong("its note lacks a field"))?;
    let mut found = Checkpoint {
        progress,
        normalisation: Normalisation {
            mean: Vec::new(),
            deviation: Vec::new(),
        },
        parameters: Vec::new(),
        moments: Vec::new(),
        averages: Vec::new(),
    };
    for (name, tensor) in tensors {
        let rest = |prefix: &str| name.strip_prefix(prefix).map(str::to_string);
        if let Some(name) = rest(MODEL) {
            found.parameters.push((name, tensor));
        } else if let Some(name) = rest(OPTIMIZER) {
            found.moments.push((name, tensor));
        } else if let Some(name) = rest(EMA) {
            found.averages.push((name, tensor));
        } else if name == MEAN {
            found.normalisation.mean = tensor.to_vec()?;
        } else if name == DEVIATION {
            found.normalisation.deviation = tensor.to_vec()?;
        } else {
            return Err(wrong(&format!("unknown key {name}")));
        }
    }
    if found.normalisation.mean.is_empty()
        || found.normalisation.mean.len() != found.normalisation.deviation.len()
    {
        return Err(wrong("the statistics of its input are missing"));
    }
    Ok(found)
}

impl Checkpoint {
    /// Puts the tested parameters into a model: their average where there is one.
    ///
    /// Errors: [`Error::State`] listing what is missing, unexpected or of another shape.
    pub fn restore_model(&self, model: &dyn Module) -> Result<()> {
        match self.averages.is_empty() {
            true => model.load_state(&self.parameters),
            false => model.load_state(&self.averages),
        }
    }

    /// Puts everything back, to go on with the next step.
    ///
    /// Errors: [`Error::State`], as above, or if the run had an average and this one has none.
    pub fn restore(
        &self,
        model: &dyn Module,
        optimizer: &mut Optimizer,
        ema: Option<&mut Ema>,
    ) -> Result<()> {
        model.load_state(&self.parameters)?;
        optimizer.load_state(model, &self.moments, self.progress.step)?;
        match ema {
            Some(ema) => ema.load_state(&sorted_like(ema.state(), &self.averages)),
            None if self.averages.is_empty() => Ok(()),
            None => Err(Error::State {
                message: "the checkpoint averages its parameters, this run does not".to_string(),
            }),
        }
    }
}

/// `tensors` in the order of `wanted`; what is not wanted comes last.
fn sorted_like(wanted: &[(String, Tensor)], tensors: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    let place = |name: &str| {
        let found = wanted.iter().position(|(n, _)| n == name);
        found.unwrap_or(wanted.len())
    };
    let mut out = tensors.to_vec();
    out.sort_by_key(|(name, _)| place(name));
    out
}

impl Progress {
    fn to_json(&self) -> Value {
        // Bits instead of digits: a number that is read back must be the one that was written.
        let bits = |x: f64| format!("{:016x}", x.to_bits());
        json!({
            "format": FORMAT,
            "version": env!("CARGO_PKG_VERSION"),
            "fold": self.fold,
            "epoch": self.position.epoch,
            "batch": self.position.batch,
            "step": self.step,
            "seed": self.seed,
            "loss_sum": bits(self.loss.0),
            "loss_n": self.loss.1,
            "best": self.best.map(|(uar, epoch)| json!([bits(uar), epoch])),
            "metrics_bytes": self.metrics_bytes,
            "model": self.model,
        })
    }

    fn of_json(note: &Value) -> Option<Self> {
        let number = |name: &str| note[name].as_u64();
        let small = |name: &str| u32::try_from(number(name)?).ok();
        let bits = |v: &Value| Some(f64::from_bits(u64::from_str_radix(v.as_str()?, 16).ok()?));
        let best = match &note["best"] {
            Value::Null => None,
            best => Some((bits(&best[0])?, u32::try_from(best[1].as_u64()?).ok()?)),
        };
        Some(Progress {
            fold: note["fold"].as_str()?.to_string(),
            position: Position {
                epoch: small("epoch")?,
                batch: small("batch")?,
            },
            step: number("step").filter(|step| *step <= MOST_TRAINED)?,
            seed: number("seed")?,
            loss: (bits(&note["loss_sum"])?, number("loss_n")?),
            best,
            metrics_bytes: number("metrics_bytes")?,
            model: note["model"].clone(),
        })
    }
}
