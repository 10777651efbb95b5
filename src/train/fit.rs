//! The loop: batches, steps, scores of the test set, checkpoints. The same seed gives the same bits, resumed or not.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::data::{Loader, LoaderOptions, Position};
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::models::SpectrogramClassifier;
use crate::nn::optim::{Ema, Optimizer};
use crate::ops::loss::cross_entropy::CrossEntropy;
use crate::ops::random::{Ctx, Rng};
use crate::tensor::{Tensor, TensorReadback};
use crate::train::checkpoint::{self, Progress};
use crate::train::log::MetricsLog;
use crate::train::metrics::Confusion;
use crate::train::recipe::Recipe;
use crate::train::spectrograms::Examples;

/// One model trained on one fold.
pub struct Job<'a> {
    pub device: &'a Device,
    pub model: &'a dyn SpectrogramClassifier,
    /// What a checkpoint says of the model.
    pub about: serde_json::Value,
    pub recipe: &'a Recipe,
    pub examples: Arc<Examples>,
    /// Recordings to learn from, and to be tested on.
    pub train: &'a [usize],
    pub test: &'a [usize],
    pub n_classes: usize,
    pub seed: u64,
    pub fold: &'a str,
    /// Where checkpoint and metrics go; nothing is written without.
    pub folder: Option<&'a Path>,
    /// A checkpoint after every so many steps, beside those after each epoch.
    pub checkpoint_steps: Option<u64>,
    /// Whether to go on from the checkpoint of the folder, if it has one.
    pub resume: bool,
}

/// What happens on the way, for progress bars.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Step {
        step: u64,
        n_steps: u64,
    },
    /// The loss of a step, some steps after it.
    Loss {
        step: u64,
        loss: f64,
    },
    Epoch {
        epoch: u32,
        n_epochs: u32,
        loss: f64,
        test: Option<Confusion>,
    },
}

/// How a fold ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Of the test set, after the last epoch.
    pub confusion: Confusion,
    pub predictions: Vec<usize>,
    /// Steps made by this call, without those before it was resumed.
    pub n_steps: u64,
}

/// File names in the folder of a fold.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
pub const METRICS: &str = "metrics.jsonl";

/// Losses and norms are read this many steps late, so that the device never waits for the host.
const LATE: usize = 4;
/// Random streams set aside for a step; a forward pass draws one per random operator.
const STREAMS: u64 = 1 << 16;

/// Trains a model. `watch` is told of every step and epoch; its error ends the run after the last checkpoint.
///
/// Errors: [`Error::NotFinite`] with step and parameter for a loss or gradient that is not a number, the checkpoint then
/// being the last finite one; [`Error::Io`], [`Error::OutOfMemory`], [`Error::DeviceLost`].
pub fn fit(job: &Job, watch: &mut dyn FnMut(Event) -> Result<()>) -> Result<Fitted> {
    let items = job.examples.training_items(job.train);
    let mut run = Run::start(job, items.len())?;
    let loader = Loader::new(
        job.examples.clone(),
        items,
        LoaderOptions {
            batch_size: job.recipe.batch_size,
            seed: job.seed,
            epochs: job.recipe.epochs,
            ..LoaderOptions::default()
        },
        run.progress.position,
    )?;
    let per_epoch = loader.batches_per_epoch();
    let n_steps = u64::from(per_epoch) * u64::from(job.recipe.epochs);
    let begin = run.progress.step;
    let mut last = None;
    for batch in loader {
        let batch = batch?;
        run.step(&batch.examples)?;
        let Position { epoch, batch: k } = batch.position;
        let ends = k + 1 == per_epoch;
        run.progress.position = match ends {
            true => Position {
                epoch: epoch + 1,
                batch: 0,
            },
            false => Position {
                epoch,
                batch: k + 1,
            },
        };
        watch(Event::Step {
            step: run.progress.step,
            n_steps,
        })?;
        run.tell_losses(watch)?;
        if ends {
            last = run.end_epoch(epoch, watch)?;
        } else if job
            .checkpoint_steps
            .is_some_and(|n| n > 0 && run.progress.step.is_multiple_of(n))
        {
            run.settle(0)?;
            run.tell_losses(watch)?;
            run.save()?;
        }
    }
    let predictions = match last {
        Some(predictions) => predictions,
        // Resumed at the end.
        None => run.predict()?,
    };
    Ok(Fitted {
        confusion: run.confusion(&predictions)?,
        predictions,
        n_steps: run.progress.step - begin,
    })
}

/// The numbers of a step that are still on the device.
struct Pending {
    loss: TensorReadback<f32>,
    norm: crate::nn::optim::Later,
    step: u64,
}

struct Run<'a> {
    job: &'a Job<'a>,
    optimizer: Optimizer,
    ema: Option<Ema>,
    progress: Progress,
    log: Option<MetricsLog>,
    pending: VecDeque<Pending>,
    /// Losses that have been read and not yet been told.
    read: Vec<(u64, f64)>,
}

impl<'a> Run<'a> {
    /// From the beginning, or from the checkpoint.
    fn start(job: &'a Job<'a>, n_items: usize) -> Result<Self> {
        let per_epoch = n_items.div_ceil(job.recipe.batch_size.max(1)) as u64;
        let n_steps = per_epoch * u64::from(job.recipe.epochs);
        let mut run = Run {
            job,
            optimizer: job.recipe.optimizer(n_steps),
            ema: match job.recipe.ema {
                Some(decay) => Some(Ema::new(job.model, decay)?),
                None => None,
            },
            progress: Progress {
                fold: job.fold.to_string(),
                position: Position::default(),
                step: 0,
                seed: job.seed,
                loss: (0.0, 0),
                best: None,
                metrics_bytes: 0,
                model: job.about.clone(),
            },
            log: None,
            pending: VecDeque::new(),
            read: Vec::new(),
        };
        let Some(folder) = job.folder else {
            return Ok(run);
        };
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
        let file = folder.join(CHECKPOINT);
        if job.resume && file.exists() {
            let found = checkpoint::load(job.device, &file)?;
            let fits = found.progress.fold == job.fold
                && found.progress.seed == job.seed
                && found.progress.model == job.about
                && found.normalisation == job.examples.normalisation;
            if !fits {
                return Err(Error::format(
                    file,
                    "the checkpoint is of another fold, seed, model or data",
                ));
            }
            found.restore(job.model, &mut run.optimizer, run.ema.as_mut())?;
            run.progress = found.progress;
        }
        let bytes = run.progress.metrics_bytes;
        run.log = Some(MetricsLog::resume(folder.join(METRICS), bytes)?);
        Ok(run)
    }

    fn step(&mut self, examples: &[(Vec<f32>, usize)]) -> Result<()> {
        let job = self.job;
        let x = stack(job, examples.iter().map(|(x, _)| x.as_slice()))?;
        let labels: Vec<i32> = examples.iter().map(|(_, label)| *label as i32).collect();
        let target = Tensor::from_slice(job.device, &labels, [labels.len()])?;
        let mut ctx = Ctx {
            train: true,
            rng: Rng {
                key: job.seed,
                counter: self.progress.step * STREAMS,
            },
        };
        let logits = job.model.forward(&x, &mut ctx)?;
        let loss = logits.cross_entropy_with(
            &target,
            CrossEntropy {
                label_smoothing: job.recipe.label_smoothing,
                ..CrossEntropy::default()
            },
        )?;
        let gradients = loss.backward()?;
        let step = self.optimizer.step(job.model, &gradients)?;
        if let Some(ema) = &mut self.ema {
            ema.update(job.model)?;
        }
        self.progress.step += 1;
        self.pending.push_back(Pending {
            loss: loss.to_vec_async()?,
            norm: step.read_later()?,
            step: self.progress.step,
        });
        self.settle(LATE)
    }

    /// Reads the numbers of all steps but the last `late` ones.
    fn settle(&mut self, late: usize) -> Result<()> {
        while self.pending.len() > late {
            let Some(pending) = self.pending.pop_front() else {
                break;
            };
            pending.norm.wait()?;
            let loss = pending.loss.wait()?[0];
            if !loss.is_finite() {
                return Err(Error::NotFinite {
                    what: "the loss".to_string(),
                    step: Some(pending.step),
                });
            }
            self.progress.loss.0 += f64::from(loss);
            self.progress.loss.1 += 1;
            self.read.push((pending.step, f64::from(loss)));
        }
        Ok(())
    }

    fn tell_losses(&mut self, watch: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        self.read
            .drain(..)
            .try_for_each(|(step, loss)| watch(Event::Loss { step, loss }))
    }

    /// Scores, logs and saves. The predictions of the test set, if this was the last epoch.
    fn end_epoch(
        &mut self,
        epoch: u32,
        watch: &mut dyn FnMut(Event) -> Result<()>,
    ) -> Result<Option<Vec<usize>>> {
        self.settle(0)?;
        self.tell_losses(watch)?;
        let recipe = self.job.recipe;
        let (sum, n) = std::mem::take(&mut self.progress.loss);
        let loss = sum / n.max(1) as f64;
        let is_last = epoch + 1 == recipe.epochs;
        let due = is_last || (epoch + 1).is_multiple_of(recipe.evaluate_every.max(1));
        let predictions = match due {
            true => Some(self.predict()?),
            false => None,
        };
        let confusion = match &predictions {
            Some(predictions) => Some(self.confusion(predictions)?),
            None => None,
        };
        let scores = confusion.as_ref().and_then(Confusion::scores);
        if let Some(scores) = scores {
            if self.progress.best.is_none_or(|(uar, _)| scores.uar > uar) {
                self.progress.best = Some((scores.uar, epoch + 1));
            }
        }
        if let Some(log) = &mut self.log {
            // No times: the length of this file is part of a checkpoint, and so must not vary.
            let mut line = json!({
                "epoch": epoch + 1,
                "step": self.progress.step,
                "loss": loss,
                "lr": self.optimizer.lr(),
            });
            if let Some(scores) = scores {
                line["test"] = scores.to_json();
            }
            log.write(&line)?;
            log.sync()?;
            self.progress.metrics_bytes = log.bytes();
        }
        self.save()?;
        watch(Event::Epoch {
            epoch: epoch + 1,
            n_epochs: recipe.epochs,
            loss,
            test: confusion,
        })?;
        Ok(predictions.filter(|_| is_last))
    }

    /// The predicted classes of the test set, by the averaged parameters where there are some.
    fn predict(&self) -> Result<Vec<usize>> {
        let model = self.job.model;
        let Some(ema) = &self.ema else {
            return self.predict_as_it_is();
        };
        let trained = model.state();
        model.load_state(ema.state())?;
        let predicted = self.predict_as_it_is();
        model.load_state(&trained)?;
        predicted
    }

    fn predict_as_it_is(&self) -> Result<Vec<usize>> {
        let job = self.job;
        let batch_size = job.recipe.batch_size;
        let probabilities = predict(job.device, job.model, &job.examples, job.test, batch_size)?;
        Ok(probabilities.iter().map(|p| largest(p)).collect())
    }

    fn confusion(&self, predictions: &[usize]) -> Result<Confusion> {
        let labels: Vec<usize> = self
            .job
            .test
            .iter()
            .map(|i| self.job.examples.labels[*i])
            .collect();
        Confusion::of(self.job.n_classes, &labels, predictions)
    }

    fn save(&self) -> Result<()> {
        match self.job.folder {
            None => Ok(()),
            Some(folder) => checkpoint::save(
                &folder.join(CHECKPOINT),
                self.job.model,
                &self.optimizer,
                self.ema.as_ref(),
                &self.job.examples.normalisation,
                &self.progress,
            ),
        }
    }
}

/// Spectrograms side by side, as a model takes them: `[batch, 1, mels, frames]`.
fn stack<'x>(job: &Job, items: impl Iterator<Item = &'x [f32]>) -> Result<Tensor> {
    batch(job.device, job.model, items)
}

fn batch<'x>(
    device: &Device,
    model: &dyn SpectrogramClassifier,
    items: impl Iterator<Item = &'x [f32]>,
) -> Result<Tensor> {
    let [mels, frames] = model.input();
    let mut n = 0;
    let mut values = Vec::new();
    for item in items {
        values.extend_from_slice(item);
        n += 1;
    }
    Tensor::from_slice(device, &values, [n, 1, mels, frames])
}

/// The probabilities of the classes for each item: the mean over its pieces, of which `batch_size` go through the model at
/// a time.
///
/// Errors: those of the model's `forward`; [`Error::NotFinite`] if a probability is not finite.
pub fn predict(
    device: &Device,
    model: &dyn SpectrogramClassifier,
    examples: &Examples,
    items: &[usize],
    batch_size: usize,
) -> Result<Vec<Vec<f32>>> {
    let mut out = vec![Vec::new(); items.len()];
    let mut waiting: Vec<(usize, f32, Vec<f32>)> = Vec::new();
    let mut hear = |part: &[(usize, f32, Vec<f32>)]| -> Result<()> {
        let x = batch(device, model, part.iter().map(|(_, _, x)| x.as_slice()))?;
        let probabilities =
            crate::tape::no_grad(|| model.forward(&x, &mut Ctx::eval())?.softmax(-1))?;
        let n_classes = probabilities.shape()[1];
        let values = probabilities.to_vec::<f32>()?;
        for (row, (at, share, _)) in values.chunks_exact(n_classes).zip(part) {
            if row.iter().any(|p| !p.is_finite()) {
                return Err(Error::NotFinite {
                    what: format!("the prediction of item {}", items[*at]),
                    step: None,
                });
            }
            let sum: &mut Vec<f32> = &mut out[*at];
            sum.resize(n_classes, 0.0);
            for (s, p) in sum.iter_mut().zip(row) {
                *s += share * p;
            }
        }
        Ok(())
    };
    let full = batch_size.max(1);
    for (at, item) in items.iter().enumerate() {
        let pieces = examples.pieces(*item)?;
        let share = 1.0 / pieces.len() as f32;
        waiting.extend(pieces.into_iter().map(|x| (at, share, x)));
        while waiting.len() >= full {
            let rest = waiting.split_off(full);
            hear(&std::mem::replace(&mut waiting, rest))?;
        }
    }
    if !waiting.is_empty() {
        hear(&waiting)?;
    }
    Ok(out)
}

/// The place of the largest number; of equals the first.
pub fn largest(numbers: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in numbers.iter().enumerate() {
        if *x > numbers[best] {
            best = i;
        }
    }
    best
}
