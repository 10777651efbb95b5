//! A training step of each model, whole and in parts: `cargo bench --bench models`.
//!
//! Wall clock around work that has been waited for, after warm-up. What the parts add up to is more than a whole step, in
//! which host and device work at the same time.

use std::time::{Duration, Instant};

use affekt::models::{SpeechSwin, SpeechSwinConfig};
use affekt::optim::Optimizer;
use affekt::{Ctx, Device, Result, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};

/// Items of a batch.
const BATCH: usize = 16;

struct Step {
    device: Device,
    model: SpeechSwin,
    optimizer: Optimizer,
    x: Tensor,
    labels: Tensor,
}

impl Step {
    fn new() -> Result<Self> {
        let device = Device::open_default()?;
        let config = SpeechSwinConfig::small(4);
        let (mels, frames) = (config.mels, config.frames);
        let x: Vec<f32> = (0..BATCH * mels * frames)
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        let labels: Vec<i32> = (0..BATCH as i32).map(|i| i % 4).collect();
        Ok(Step {
            model: SpeechSwin::new(&device, config, 0)?,
            optimizer: Optimizer::adamw(1e-3).weight_decay(0.05).clip(5.0),
            x: Tensor::from_slice(&device, &x, [BATCH, 1, mels, frames])?,
            labels: Tensor::from_slice(&device, &labels, [BATCH])?,
            device,
        })
    }

    /// Time of the forward pass, the backward pass and the optimizer's step, each waited for.
    fn parts(&mut self) -> Result<[Duration; 3]> {
        let begin = Instant::now();
        let logits = self.model.forward(&self.x, &mut Ctx::train(0))?;
        let loss = logits.cross_entropy(&self.labels)?;
        loss.force()?;
        self.device.wait()?;
        let forward = begin.elapsed();
        let begin = Instant::now();
        let gradients = loss.backward()?;
        self.device.wait()?;
        let backward = begin.elapsed();
        let begin = Instant::now();
        self.optimizer.step(&self.model, &gradients)?;
        self.device.wait()?;
        Ok([forward, backward, begin.elapsed()])
    }

    fn whole(&mut self) -> Result<()> {
        let logits = self.model.forward(&self.x, &mut Ctx::train(0))?;
        let gradients = logits.cross_entropy(&self.labels)?.backward()?;
        self.optimizer.step(&self.model, &gradients)?;
        self.device.wait()
    }
}

fn speech_swin(criterion: &mut Criterion) {
    let begin = Instant::now();
    let mut step = Step::new().expect("benches need an adapter");
    eprintln!("adapter: {}", step.device.adapter().label());
    step.whole().expect("a step");
    eprintln!(
        "first step, with verification: {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    step.whole().expect("a step");
    let before = step.device.stream_stats();
    step.whole().expect("a step");
    let after = step.device.stream_stats();
    eprintln!("{before:?}\n{after:?}\n{:?}", step.device.memory());
    let mut group = criterion.benchmark_group("speech_swin_small_16");
    group
        .sample_size(15)
        .measurement_time(Duration::from_secs(4));
    for (i, part) in ["forward", "backward", "optimizer"].into_iter().enumerate() {
        group.bench_function(part, |b| {
            b.iter_custom(|n| (0..n).map(|_| step.parts().expect("a step")[i]).sum());
        });
    }
    group.bench_function("step", |b| b.iter(|| step.whole().expect("a step")));
    group.finish();
}

criterion_group!(benches, speech_swin);
criterion_main!(benches);
