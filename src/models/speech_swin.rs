//! Speech Swin-Transformer: hierarchical attention in time windows of a log-mel spectrogram.
//!
//! Source: Wang, Lu, Zhao, Li, Zong & Zheng, "Speech Swin-Transformer: Exploring a Hierarchical Transformer with Shifted
//! Windows for Speech Emotion Recognition", ICASSP 2024, arXiv:2401.10536.
//!
//! Windows span all mel rows and a short piece of time; every second block shifts them by half their length in time;
//! patch merging halves both axes and doubles the channels between stages. What the paper's reachable text does not give is
//! taken from Swin (Liu et al. 2021, arXiv:2103.14030): layer normalisation of the embedding, the relative position bias,
//! the sizes of `paper` (those of Swin-T: 27.5 M parameters), initial weights.
//!
//! Departures: the height of a patch in mels is a setting (paper: 1); `small` has three stages; masked pairs get no weight at
//! all instead of a score of −100.

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::models::SpectrogramClassifier;
use crate::nn::{
    Init, LayerNorm, Linear, Module, PatchEmbed, PatchMerging, SwinBlock, Visitor, Weights,
    WindowAttention,
};
use crate::ops::random::Ctx;
use crate::tape::no_grad;
use crate::tensor::Tensor;

/// Sizes of a [`SpeechSwin`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechSwinConfig {
    pub mels: usize,
    pub frames: usize,
    /// Mels and frames of a patch.
    pub patch: [usize; 2],
    /// Channels of a token in the first stage; each stage doubles them.
    pub width: usize,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Attention heads of each stage.
    pub heads: Vec<usize>,
    /// Length of a window in tokens of time; half of it is the shift.
    pub window: usize,
    /// Whether every second block shifts its windows.
    pub shift: bool,
    pub mlp_ratio: usize,
    /// The probability to leave out a branch of the last block; that of the first is 0, in between it grows evenly.
    pub drop_path: f64,
    /// How weights begin.
    pub weights: Weights,
    pub classes: usize,
}

impl SpeechSwinConfig {
    /// The paper's structure with the sizes of Swin-T: 27.5 M parameters with four classes.
    pub fn paper(classes: usize) -> Self {
        SpeechSwinConfig {
            mels: 64,
            frames: 128,
            patch: [1, 4],
            width: 96,
            depths: vec![2, 2, 6, 2],
            heads: vec![3, 6, 12, 24],
            window: 4,
            shift: true,
            mlp_ratio: 4,
            drop_path: 0.1,
            weights: Weights::TruncatedNormal(0.02),
            classes,
        }
    }

    /// For corpora of a few hundred utterances: 0.57 M parameters with four classes.
    pub fn small(classes: usize) -> Self {
        SpeechSwinConfig {
            mels: 64,
            frames: 256,
            patch: [8, 4],
            width: 32,
            depths: vec![2, 2, 2],
            heads: vec![2, 4, 8],
            window: 8,
            shift: true,
            mlp_ratio: 4,
            drop_path: 0.0,
            weights: Weights::Xavier,
            classes,
        }
    }

    /// Tokens down and across at a stage.
    fn grid(&self, stage: usize) -> [usize; 2] {
        [
            self.mels / self.patch[0].max(1) >> stage,
            self.frames / self.patch[1].max(1) >> stage,
        ]
    }

    /// Errors: [`Error::Shape`] naming the two numbers that do not fit.
    fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::shape("speech_swin", message));
        let n_stages = self.depths.len();
        if n_stages == 0 || self.heads.len() != n_stages {
            return refuse(format!(
                "{n_stages} depths and {} heads, expected one of each per stage",
                self.heads.len()
            ));
        }
        if self.classes == 0 || self.width == 0 || self.window == 0 {
            return refuse("classes, width and window are at least 1".to_string());
        }
        for (what, size, patch) in [
            ("mels", self.mels, self.patch[0]),
            ("frames", self.frames, self.patch[1]),
        ] {
            let unit = patch << (n_stages - 1);
            if size == 0 || unit == 0 || !size.is_multiple_of(unit) {
                return refuse(format!(
                    "{size} {what} in patches of {patch}, expected a multiple of {unit}: each of {n_stages} stages halves them"
                ));
            }
        }
        Ok(())
    }
}

/// One stage: blocks, and between stages a merging of patches.
#[derive(Debug, Clone)]
struct Stage {
    blocks: Vec<SwinBlock>,
    downsample: Option<PatchMerging>,
}

/// The model: log-mel spectrograms to scores of emotions.
#[derive(Debug, Clone)]
pub struct SpeechSwin {
    config: SpeechSwinConfig,
    patch_embed: PatchEmbed,
    layers: Vec<Stage>,
    norm: LayerNorm,
    head: Linear,
}

impl SpeechSwin {
    /// A model with fresh weights, the same for the same seed on every device.
    ///
    /// Errors: [`Error::Shape`] for sizes that do not fit each other; [`Error::OutOfMemory`].
    pub fn new(device: &Device, config: SpeechSwinConfig, seed: u64) -> Result<Self> {
        config.check()?;
        let init = &mut Init::new(device, seed).weights(config.weights);
        let patch_embed = PatchEmbed::new(init, 1, config.patch, config.width)?;
        let n_blocks: usize = config.depths.iter().sum();
        let mut done = 0;
        let mut layers = Vec::new();
        for (stage, (&depth, &heads)) in config.depths.iter().zip(&config.heads).enumerate() {
            let channels = config.width << stage;
            let grid = config.grid(stage);
            let mut blocks = Vec::new();
            for block in 0..depth {
                let shift = match config.shift && block % 2 == 1 {
                    true => config.window / 2,
                    false => 0,
                };
                let window = [grid[0], config.window];
                let attn = WindowAttention::new(init, channels, heads, grid, window, [0, shift])?;
                let drop_path = config.drop_path * done as f64 / (n_blocks - 1).max(1) as f64;
                blocks.push(SwinBlock::new(
                    init,
                    channels,
                    attn,
                    config.mlp_ratio,
                    drop_path,
                )?);
                done += 1;
            }
            let last = stage + 1 == config.depths.len();
            layers.push(Stage {
                blocks,
                downsample: match last {
                    true => None,
                    false => Some(PatchMerging::new(init, channels)?),
                },
            });
        }
        let channels = config.width << (config.depths.len() - 1);
        Ok(SpeechSwin {
            patch_embed,
            layers,
            norm: LayerNorm::new(init, channels)?,
            head: Linear::new(init, channels, config.classes)?,
            config,
        })
    }

    pub fn config(&self) -> &SpeechSwinConfig {
        &self.config
    }

    /// The scores (logits) of the classes.
    ///
    /// Shapes: `x [batch, 1, mels, frames]`, normalised log-mel → `[batch, classes]`.
    /// Errors: [`Error::Shape`] for another number of mels or frames.
    pub fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let expected = [1, self.config.mels, self.config.frames];
        if x.shape().len() != 4 || x.shape()[1..] != expected {
            return Err(Error::shape(
                "speech_swin",
                format!(
                    "x has shape {:?}, expected [batch, 1, {}, {}]",
                    x.shape(),
                    self.config.mels,
                    self.config.frames
                ),
            ));
        }
        let mut tokens = self.patch_embed.forward(x)?;
        for stage in &self.layers {
            for block in &stage.blocks {
                tokens = block.forward(&tokens, ctx)?;
            }
            if let Some(downsample) = &stage.downsample {
                tokens = downsample.forward(&tokens)?;
            }
        }
        let mean = self.norm.forward(&tokens)?.mean(&[1, 2], false)?;
        self.head.forward(&mean)
    }

    /// The probabilities of the classes, without recording.
    ///
    /// Shapes and errors: as [`forward`](Self::forward).
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        no_grad(|| self.forward(x, &mut Ctx::eval())?.softmax(-1))
    }
}

impl SpectrogramClassifier for SpeechSwin {
    fn input(&self) -> [usize; 2] {
        [self.config.mels, self.config.frames]
    }

    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        SpeechSwin::forward(self, x, ctx)
    }
}

impl Module for Stage {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.list("blocks", &self.blocks);
        if let Some(downsample) = &self.downsample {
            visitor.module("downsample", downsample);
        }
    }
}

impl Module for SpeechSwin {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module("patch_embed", &self.patch_embed);
        visitor.list("layers", &self.layers);
        visitor.module("norm", &self.norm);
        visitor.module("head", &self.head);
    }
}
