//! How a model is trained: the numbers, and nothing of the model or the data.

use crate::nn::optim::{Group, Optimizer, Schedule};
use crate::train::spectrograms::{Cut, Excerpt, Padding};

/// The settings of a training run.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub epochs: u32,
    pub batch_size: usize,
    /// The highest learning rate.
    pub lr: f64,
    pub weight_decay: f64,
    pub pace: Pace,
    /// The share of all steps over which the learning rate rises.
    pub warm_up: f64,
    pub label_smoothing: f64,
    /// Most that the norm of all gradients may be.
    pub clip: f64,
    /// Widest mask over time and over mels; 0 for none. One of each per item.
    pub mask_frames: u32,
    pub mask_mels: u32,
    /// What is heard of a long recording, and what follows a short one.
    pub cut: Cut,
    /// Decay of the average of the parameters that is tested instead of them.
    pub ema: Option<f64>,
    /// The test set is scored after every so many epochs, and after the last.
    pub evaluate_every: u32,
}

/// How the learning rate comes down again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    OneCycle,
    Cosine,
}

impl Recipe {
    /// For models of a few hundred thousand parameters and corpora of a few hundred recordings.
    pub fn small() -> Self {
        Recipe {
            epochs: 40,
            batch_size: 16,
            lr: 1e-3,
            weight_decay: 0.05,
            pace: Pace::OneCycle,
            warm_up: 0.1,
            label_smoothing: 0.1,
            clip: 5.0,
            mask_frames: 32,
            mask_mels: 8,
            cut: Cut::default(),
            ema: None,
            evaluate_every: 5,
        }
    }

    /// For Swin-T and corpora of thousands of recordings.
    pub fn paper() -> Self {
        Recipe {
            epochs: 60,
            batch_size: 64,
            lr: 2e-4,
            pace: Pace::Cosine,
            warm_up: 5.0 / 60.0,
            label_smoothing: 0.0,
            mask_frames: 0,
            mask_mels: 0,
            cut: Cut {
                excerpt: Excerpt::Segments,
                padding: Padding::Mean,
            },
            ..Recipe::small()
        }
    }

    /// AdamW as the recipe says, for a run of so many steps. As in Swin, parameters of one axis and the bias tables do not
    /// decay.
    pub(crate) fn optimizer(&self, n_steps: u64) -> Optimizer {
        let schedule = match self.pace {
            Pace::OneCycle => Schedule::OneCycle {
                total: n_steps,
                warm_up: self.warm_up,
            },
            Pace::Cosine => Schedule::Cosine {
                total: n_steps,
                warm_up: (self.warm_up * n_steps as f64) as u64,
                floor: 0.005,
            },
        };
        let constant = Group::new(|name, shape| {
            shape.len() <= 1 || name.ends_with("relative_position_bias_table")
        });
        Optimizer::adamw(self.lr)
            .weight_decay(self.weight_decay)
            .group(constant.weight_decay(0.0))
            .clip(self.clip)
            .schedule(schedule)
    }

    /// Everything that decides the numbers of a run, for its folder.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "pace": match self.pace {
                Pace::OneCycle => "one_cycle",
                Pace::Cosine => "cosine",
            },
            "warm_up": self.warm_up,
            "label_smoothing": self.label_smoothing,
            "clip": self.clip,
            "mask_frames": self.mask_frames,
            "mask_mels": self.mask_mels,
            "cut": self.cut.to_json(),
            "ema": self.ema,
            "evaluate_every": self.evaluate_every,
        })
    }
}
