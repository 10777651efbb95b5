//! Models of papers: one file each, named as published. Each cites its paper and lists where it departs from it.

pub mod speech_swin;

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::nn::Module;
use crate::ops::random::Ctx;
use crate::tensor::Tensor;

pub use speech_swin::{SpeechSwin, SpeechSwinConfig};

/// A model that scores classes of log-mel spectrograms.
pub trait SpectrogramClassifier: Module + Send + Sync {
    /// The mels and frames it takes.
    fn input(&self) -> [usize; 2];

    /// The scores (logits) of the classes.
    ///
    /// Shapes: `x [batch, 1, mels, frames]` → `[batch, classes]`.
    /// Errors: [`Error::Shape`] for another number of mels or frames.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor>;
}

/// A speech model as the command line knows it.
pub struct SpeechModel {
    pub name: &'static str,
    pub title: &'static str,
    pub source: &'static str,
    /// Names of its sizes, the first being the usual one.
    pub configs: &'static [&'static str],
    build: fn(&Device, &str, usize, u64) -> Result<Box<dyn SpectrogramClassifier>>,
}

impl SpeechModel {
    /// A model with fresh weights.
    ///
    /// Errors: [`Error::Attribute`] for a size it does not have, listing those it has.
    pub fn build(
        &self,
        device: &Device,
        config: &str,
        n_classes: usize,
        seed: u64,
    ) -> Result<Box<dyn SpectrogramClassifier>> {
        if !self.configs.contains(&config) {
            let known = self.configs.join(", ");
            return Err(Error::attribute(
                self.name,
                format!("no config {config}; there is {known}"),
            ));
        }
        (self.build)(device, config, n_classes, seed)
    }
}

/// The speech models, by name.
pub static SPEECH: &[SpeechModel] = &[SpeechModel {
    name: "speech-swin",
    title: "Speech Swin-Transformer",
    source: "Wang et al., ICASSP 2024, arXiv:2401.10536",
    configs: &["small", "paper"],
    build: |device, config, n_classes, seed| {
        let sizes = match config {
            "paper" => SpeechSwinConfig::paper(n_classes),
            _ => SpeechSwinConfig::small(n_classes),
        };
        Ok(Box::new(SpeechSwin::new(device, sizes, seed)?))
    },
}];

/// The speech model of that name.
///
/// Errors: [`Error::Attribute`] listing the models there are.
pub fn speech(name: &str) -> Result<&'static SpeechModel> {
    SPEECH.iter().find(|m| m.name == name).ok_or_else(|| {
        let known: Vec<&str> = SPEECH.iter().map(|m| m.name).collect();
        Error::attribute(
            "model",
            format!("no model named {name}; there is {}", known.join(", ")),
        )
    })
}
