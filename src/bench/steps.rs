//! A training step of each model, whole and in its parts.

use std::time::Instant;

use crate::bench::clock::sample;
use crate::bench::report::{RowVerdict, Step, step_sizes};
use crate::bench::statistics::Budget;
use crate::error::{Error, Result};
use crate::fuse::take_given_way;
use crate::gpu::Device;
use crate::models::{SPEECH, SpectrogramClassifier, SpeechModel};
use crate::nn::optim::Optimizer;
use crate::ops::probe::Numbers;
use crate::ops::random::Ctx;
use crate::tensor::Tensor;

/// Items of a batch.
const BATCH: usize = 16;
/// Classes to tell apart: four emotions.
const CLASSES: usize = 4;

/// A model in one of its sizes.
#[derive(Clone, Copy)]
pub struct Subject {
    pub model: &'static SpeechModel,
    pub config: &'static str,
}

/// The usual size of each model whose name, `step/model`, contains the filter.
pub fn subjects(filter: Option<&str>) -> Vec<Subject> {
    let all = SPEECH.iter().map(|model| Subject {
        model,
        config: model.configs[0],
    });
    all.filter(|s| filter.is_none_or(|f| s.name().contains(f)))
        .collect()
}

struct Training {
    device: Device,
    model: Box<dyn SpectrogramClassifier>,
    optimizer: Optimizer,
    x: Tensor,
    labels: Tensor,
    step: u64,
}

impl Subject {
    /// `step/speech-swin`.
    pub fn name(&self) -> String {
        format!("step/{}", self.model.name)
    }

    /// What it works on, as [`Step::sizes`] has it.
    pub fn sizes(&self) -> String {
        step_sizes(self.config, BATCH)
    }

    fn training(&self, device: &Device) -> Result<Training> {
        let model = self.model.build(device, self.config, CLASSES, 0)?;
        let [mels, frames] = model.input();
        let mut numbers = Numbers::new(1);
        let x: Vec<f32> = (0..BATCH * mels * frames)
            .map(|_| (2.0 * numbers.unit() - 1.0) as f32)
            .collect();
        let labels: Vec<i32> = (0..BATCH).map(|i| (i % CLASSES) as i32).collect();
        Ok(Training {
            model,
            optimizer: Optimizer::adamw(1e-3).weight_decay(0.05).clip(5.0),
            x: Tensor::from_slice(device, &x, [BATCH, 1, mels, frames])?,
            labels: Tensor::from_slice(device, &labels, [BATCH])?,
            device: device.clone(),
            step: 0,
        })
    }

    /// Trains some steps and times them.
    ///
    /// Errors: [`Error::DeviceLost`] alone; whatever else goes wrong is the verdict.
    pub fn measure(&self, device: &Device, budget: &Budget) -> Result<Step> {
        let mut step = Step {
            model: self.model.name.to_string(),
            config: self.config.to_string(),
            batch: BATCH,
            n_parameters: 0,
            verdict: RowVerdict::Right,
            detail: None,
            median: None,
            step: None,
            forward: None,
            backward: None,
            optimizer: None,
            first: None,
            n_dispatches: 0,
            n_submissions: 0,
            bytes: 0,
            peak_bytes: 0,
            dropped: Vec::new(),
            beside: None,
        };
        let _ = take_given_way(device);
        match self.fill(&mut step, device, budget) {
            Ok(()) => Ok(step),
            Err(lost @ Error::DeviceLost { .. }) => Err(lost),
            Err(error) => Ok(Step {
                verdict: match error {
                    Error::Limit { .. } | Error::OutOfMemory { .. } => RowVerdict::Skipped,
                    _ => RowVerdict::Wrong,
                },
                detail: Some(error.to_string()),
                median: None,
                ..step
            }),
        }
    }

    fn fill(&self, out: &mut Step, device: &Device, budget: &Budget) -> Result<()> {
        let begin = Instant::now();
        let mut training = self.training(device)?;
        out.n_parameters = training.model.n_parameters();
        training.whole()?;
        out.first = Some(begin.elapsed().as_secs_f64());
        training.whole()?;
        let before = device.stream_stats();
        device.reset_high_water();
        training.whole()?;
        let after = device.stream_stats();
        out.dropped = take_given_way(device);
        out.n_dispatches = after.n_dispatches - before.n_dispatches;
        out.n_submissions = after.n_submissions - before.n_submissions;
        out.bytes = after.bytes_bound - before.bytes_bound;
        out.peak_bytes = device.memory().high_water;
        let step = sample(budget, || {
            let begin = Instant::now();
            training.whole()?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        let mut part = |i: usize| sample(budget, || Ok(training.parts()?[i]));
        out.forward = Some(part(0)?);
        out.backward = Some(part(1)?);
        out.optimizer = Some(part(2)?);
        out.median = Some(step.median);
        out.step = Some(step);
        Ok(())
    }
}

impl Training {
    fn whole(&mut self) -> Result<()> {
        self.step += 1;
        let logits = self.model.forward(&self.x, &mut Ctx::train(self.step))?;
        let gradients = logits.cross_entropy(&self.labels)?.backward()?;
        self.optimizer.step(&*self.model, &gradients)?.check()?;
        self.device.wait()
    }

    /// Seconds of the forward pass, the backward pass and the optimizer's step, each waited for.
    fn parts(&mut self) -> Result<[f64; 3]> {
        self.step += 1;
        let begin = Instant::now();
        let logits = self.model.forward(&self.x, &mut Ctx::train(self.step))?;
        let loss = logits.cross_entropy(&self.labels)?;
        loss.force()?;
        self.device.wait()?;
        let forward = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let gradients = loss.backward()?;
        self.device.wait()?;
        let backward = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        self.optimizer.step(&*self.model, &gradients)?;
        self.device.wait()?;
        Ok([forward, backward, begin.elapsed().as_secs_f64()])
    }
}
