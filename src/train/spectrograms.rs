//! Spectrograms on the host: what a model is trained on, with the variation of training items.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::data::augment::{
    Fill, Pad, SpecAugment, centre_crop, n_segments, random_crop, segment, segments,
};
use crate::data::{Dataset, Draws};
use crate::error::{Error, Result};

/// A log-mel spectrogram `[mels, frames]`, a row per mel.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    pub mels: usize,
    pub frames: usize,
    pub values: Vec<f32>,
}

/// Mean and deviation of each mel over a training set.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    pub mean: Vec<f32>,
    pub deviation: Vec<f32>,
}

impl Normalisation {
    /// The statistics of all frames of these spectrograms, in f64 and in their order.
    ///
    /// Errors: [`Error::Empty`] without frames.
    pub fn of<'a>(items: impl IntoIterator<Item = &'a Spectrogram>) -> Result<Self> {
        let mut sums: Vec<(f64, f64)> = Vec::new();
        let mut n = 0usize;
        for item in items {
            sums.resize(sums.len().max(item.mels), (0.0, 0.0));
            n += item.frames;
            for (row, (sum, square)) in item.values.chunks_exact(item.frames.max(1)).zip(&mut sums)
            {
                for x in row {
                    *sum += f64::from(*x);
                    *square += f64::from(*x) * f64::from(*x);
                }
            }
        }
        if n == 0 {
            return Err(Error::Empty {
                op: "normalisation",
                message: "the training set has no frames".to_string(),
            });
        }
        let n = n as f64;
        let mean: Vec<f32> = sums.iter().map(|(sum, _)| (sum / n) as f32).collect();
        let deviation = sums
            .iter()
            // Logarithms are of size 10, so f64 loses nothing here; a silent band must not divide by 0.
            .map(|(sum, square)| {
                ((square / n - (sum / n).powi(2)).max(0.0).sqrt().max(1e-3)) as f32
            })
            .collect();
        Ok(Normalisation { mean, deviation })
    }

    fn apply(&self, values: &mut [f32], frames: usize) {
        let rows = values.chunks_exact_mut(frames.max(1));
        for ((row, mean), deviation) in rows.zip(&self.mean).zip(&self.deviation) {
            for x in row {
                *x = (*x - mean) / deviation;
            }
        }
    }
}

/// What is heard of a recording that is longer than the input of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Excerpt {
    /// In a test its middle; in training a random crop.
    #[default]
    Middle,
    /// Segments that overlap by half. In a test the probabilities are averaged; in training each is an item.
    Segments,
}

impl Excerpt {
    pub fn name(self) -> &'static str {
        match self {
            Excerpt::Middle => "middle",
            Excerpt::Segments => "segments",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Excerpt::Middle, Excerpt::Segments]
            .into_iter()
            .find(|e| e.name() == name)
    }
}

/// What follows a recording that is shorter than the input of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// Its minimum: silence.
    #[default]
    Minimum,
    /// The mean of each mel over the training set, which is 0 after normalisation.
    Mean,
}

impl Padding {
    pub fn name(self) -> &'static str {
        match self {
            Padding::Minimum => "minimum",
            Padding::Mean => "mean",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Padding::Minimum, Padding::Mean]
            .into_iter()
            .find(|p| p.name() == name)
    }
}

/// How recordings of any length become inputs of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    pub excerpt: Excerpt,
    pub padding: Padding,
}

impl Cut {
    pub(crate) fn to_json(self) -> Value {
        json!({ "excerpt": self.excerpt.name(), "padding": self.padding.name() })
    }

    /// As [`to_json`](Self::to_json) wrote it under `cut`; nothing for names that are none. What was trained before there was
    /// a choice of padding says at most an `excerpt`.
    pub(crate) fn of_json(about: &Value) -> Option<Self> {
        let word = |value: &Value, usual: &'static str| match value {
            Value::Null => Some(usual.to_string()),
            named => named.as_str().map(str::to_string),
        };
        let (cut, usual) = (&about["cut"], Cut::default());
        let excerpt = match &cut["excerpt"] {
            Value::Null => &about["excerpt"],
            named => named,
        };
        Some(Cut {
            excerpt: Excerpt::named(&word(excerpt, usual.excerpt.name())?)?,
            padding: Padding::named(&word(&cut["padding"], usual.padding.name())?)?,
        })
    }
}

/// Labelled spectrograms, cut to the length that a model takes and normalised.
///
/// As a [`Dataset`] it gives items with the variation of training: crops or segments, with masks of the mean. Its items are
/// those of [`training_items`](Examples::training_items).
#[derive(Debug, Clone)]
pub struct Examples {
    pub spectrograms: Arc<[Spectrogram]>,
    pub labels: Arc<[usize]>,
    pub normalisation: Normalisation,
    /// Frames that the model takes.
    pub frames: usize,
    /// Widest masks over time and over mels.
    pub mask_frames: u32,
    pub mask_mels: u32,
    pub cut: Cut,
}

impl Examples {
    /// The items that these recordings are in training: themselves, or their segments. Item `i + k · n` is segment `k` of
    /// recording `i` of all `n`.
    pub fn training_items(&self, recordings: &[usize]) -> Vec<usize> {
        let n = self.spectrograms.len();
        let mut items = Vec::with_capacity(recordings.len());
        for &i in recordings {
            items.extend((0..self.n_pieces(i)).map(|k| i + k * n));
        }
        items
    }

    fn n_pieces(&self, recording: usize) -> usize {
        match self.cut.excerpt {
            Excerpt::Middle => 1,
            Excerpt::Segments => n_segments(self.spectrograms[recording].frames, self.frames),
        }
    }

    fn pad(&self) -> Pad<'_> {
        match self.cut.padding {
            Padding::Minimum => Pad::Minimum,
            Padding::Mean => Pad::Bands(&self.normalisation.mean),
        }
    }

    /// The pieces of an item that are heard in a test, at least one.
    pub fn pieces(&self, index: usize) -> Result<Vec<Vec<f32>>> {
        let Spectrogram {
            mels,
            frames,
            values,
        } = &self.spectrograms[index];
        let (width, pad) = (self.frames, self.pad());
        let mut pieces = match self.cut.excerpt {
            Excerpt::Middle => vec![centre_crop(values, *mels, *frames, width, pad)?],
            Excerpt::Segments => segments(values, *mels, *frames, width, pad)?,
        };
        for piece in &mut pieces {
            self.normalisation.apply(piece, self.frames);
        }
        Ok(pieces)
    }
}

impl Dataset for Examples {
    type Example = (Vec<f32>, usize);

    fn len(&self) -> usize {
        let n = self.spectrograms.len();
        let most = (0..n).map(|i| self.n_pieces(i)).max().unwrap_or(0);
        n * most
    }

    fn item(&self, index: usize, mut draws: Draws) -> Result<Self::Example> {
        let n = self.spectrograms.len();
        let (index, piece) = (index % n, index / n);
        let item = &self.spectrograms[index];
        let Spectrogram {
            mels,
            frames,
            ref values,
        } = *item;
        let (width, pad) = (self.frames, self.pad());
        let mut values = match self.cut.excerpt {
            Excerpt::Middle => random_crop(values, mels, frames, width, pad, &mut draws)?,
            Excerpt::Segments => segment(values, mels, frames, width, pad, piece)?,
        };
        self.normalisation.apply(&mut values, self.frames);
        let masks = SpecAugment {
            time_masks: u32::from(self.mask_frames > 0),
            max_frames: self.mask_frames,
            mel_masks: u32::from(self.mask_mels > 0),
            max_mels: self.mask_mels,
            fill: Fill::Value(0.0),
        };
        masks.apply(&mut values, item.mels, self.frames, &mut draws)?;
        Ok((values, self.labels[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_rows_have_mean_0_and_deviation_1() {
        let item = Spectrogram {
            mels: 2,
            frames: 4,
            values: vec![1.0, 3.0, 1.0, 3.0, -5.0, -5.0, -5.0, -5.0],
        };
        let of = Normalisation::of([&item]).unwrap();
        assert_eq!((&of.mean[..], of.deviation[0]), (&[2.0, -5.0][..], 1.0));
        let mut values = item.values.clone();
        of.apply(&mut values, 4);
        assert_eq!(values, [-1.0, 1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(Normalisation::of([]).is_err());
    }

    #[test]
    fn segments_are_heard_to_the_end() {
        let item = Spectrogram {
            mels: 1,
            frames: 5,
            values: vec![1.0, 3.0, 5.0, 7.0, 9.0],
        };
        let mut examples = Examples {
            spectrograms: vec![item].into(),
            labels: vec![0].into(),
            normalisation: Normalisation {
                mean: vec![1.0],
                deviation: vec![2.0],
            },
            frames: 3,
            mask_frames: 0,
            mask_mels: 0,
            cut: Cut::default(),
        };
        assert_eq!(examples.pieces(0).unwrap(), [[1.0, 2.0, 3.0]]);
        examples.cut.excerpt = Excerpt::Segments;
        let pieces = examples.pieces(0).unwrap();
        assert_eq!(pieces, [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]);
        // Training hears each of them.
        let items = examples.training_items(&[0]);
        let heard = items.iter().map(|i| {
            let (values, label) = examples.item(*i, Draws::new(0, 0, *i).unwrap()).unwrap();
            assert_eq!(label, 0);
            values
        });
        assert_eq!(heard.collect::<Vec<_>>(), pieces);
        assert_eq!(examples.len(), 2);
    }

    #[test]
    fn a_cut_is_read_back_and_older_notes_are_too() {
        let cut = Cut {
            excerpt: Excerpt::Segments,
            padding: Padding::Mean,
        };
        assert_eq!(Cut::of_json(&json!({ "cut": cut.to_json() })), Some(cut));
        assert_eq!(Cut::of_json(&json!({})), Some(Cut::default()));
        let old = Cut::of_json(&json!({ "excerpt": "segments" }));
        assert_eq!(old.unwrap().excerpt, Excerpt::Segments);
        assert_eq!(Cut::of_json(&json!({ "excerpt": 3 })), None);
        assert_eq!(Cut::of_json(&json!({ "cut": { "padding": "zero" } })), None);
    }

    #[test]
    fn padding_with_the_mean_is_0_after_normalisation() {
        let normalisation = Normalisation {
            mean: vec![0.1, -7.3],
            deviation: vec![0.7, 3.0],
        };
        let mut examples = Examples {
            spectrograms: vec![Spectrogram {
                mels: 2,
                frames: 1,
                values: vec![0.8, -7.3],
            }]
            .into(),
            labels: vec![0].into(),
            normalisation,
            frames: 3,
            mask_frames: 0,
            mask_mels: 0,
            cut: Cut {
                padding: Padding::Mean,
                ..Cut::default()
            },
        };
        for excerpt in [Excerpt::Middle, Excerpt::Segments] {
            examples.cut.excerpt = excerpt;
            let pieces = examples.pieces(0).unwrap();
            assert_eq!(pieces, [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
        }
    }
}
