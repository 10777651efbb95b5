//! SynthEmo-4: four emotions made of glides and tremors, whose average spectrum carries no label.

mod support_runtime;

use std::process::ExitCode;
use std::sync::Arc;

use affekt::data::synthetic::{SYNTH_EMO_4_SAMPLES, synth_emo_4};
use affekt::models::{SpeechSwin, SpeechSwinConfig};
use affekt::nn::Weights;
use affekt::signal::{MelFilters, Stft};
use affekt::train::fit::{Job, fit};
use affekt::train::recipe::Pace;
use affekt::train::{Examples, Normalisation, Recipe, Spectrogram, baseline};
use affekt::{Device, Result, Tensor};
use support_runtime::open;

fn main() -> ExitCode {
    support_runtime::main(&[(
        "speech_swin_hears_the_order_of_time",
        speech_swin_hears_the_order_of_time,
    )])
}

const N_TRAIN: u32 = 1500;
const N_TEST: u32 = 400;
const MELS: usize = 32;
const FRAMES: usize = 64;

/// Log-mel spectrograms `[32, 64]` as the task defines them, and labels.
fn items(device: &Device, seed: u64, n: u32) -> Result<(Vec<Spectrogram>, Vec<usize>)> {
    let (mut spectrograms, mut labels) = (Vec::new(), Vec::new());
    let mut samples = Vec::new();
    for index in 0..n {
        let (wave, label) = synth_emo_4(seed, index);
        samples.extend(wave);
        labels.push(label);
        if samples.len() == 50 * SYNTH_EMO_4_SAMPLES || index + 1 == n {
            let bands = Tensor::from_slice(
                device,
                &samples,
                [samples.len() / SYNTH_EMO_4_SAMPLES, SYNTH_EMO_4_SAMPLES],
            )?
            .stft(Stft::new(512).win_length(400).hop(256))?
            .power()?
            .mel_with(&MelFilters::new(16_000.0, MELS))?
            .add(1e-6)?
            .log()?;
            assert_eq!(bands.shape()[1..], [MELS, FRAMES]);
            let values = bands.to_vec::<f32>()?;
            spectrograms.extend(values.chunks_exact(MELS * FRAMES).map(|v| Spectrogram {
                mels: MELS,
                frames: FRAMES,
                values: v.to_vec(),
            }));
            samples.clear();
        }
    }
    Ok((spectrograms, labels))
}

fn speech_swin_hears_the_order_of_time() -> Result<()> {
    let device = open();
    let (mut spectrograms, mut labels) = items(&device, 1, N_TRAIN)?;
    let normalisation = Normalisation::of(&spectrograms)?;
    let (unseen, unseen_labels) = items(&device, 2, N_TEST)?;

    let features = |items: &[Spectrogram]| {
        let of = items
            .iter()
            .map(|s| baseline::mean_and_deviation(&s.values, MELS));
        of.collect::<Result<Vec<_>>>()
    };
    let averages = baseline::fit(&features(&spectrograms)?, &labels, 4)?
        .accuracy(&features(&unseen)?, &unseen_labels)?;
    assert!(averages <= 0.35, "mean and deviation alone: {averages}");

    spectrograms.extend(unseen);
    labels.extend(unseen_labels);
    let config = SpeechSwinConfig {
        mels: MELS,
        frames: FRAMES,
        patch: [1, 4],
        width: 24,
        depths: vec![2, 2, 2],
        heads: vec![2, 4, 8],
        window: 4,
        shift: true,
        mlp_ratio: 4,
        drop_path: 0.0,
        weights: Weights::Xavier,
        classes: 4,
    };
    let model = SpeechSwin::new(&device, config, 0)?;
    let recipe = Recipe {
        epochs: 8,
        batch_size: 32,
        weight_decay: 0.01,
        pace: Pace::Cosine,
        warm_up: 0.16,
        label_smoothing: 0.0,
        clip: 1.0,
        mask_frames: 0,
        mask_mels: 0,
        evaluate_every: u32::MAX,
        ..Recipe::small()
    };
    let train: Vec<usize> = (0..N_TRAIN as usize).collect();
    let test: Vec<usize> = (train.len()..spectrograms.len()).collect();
    let job = Job {
        device: &device,
        model: &model,
        about: serde_json::Value::Null,
        recipe: &recipe,
        examples: Arc::new(Examples {
            spectrograms: spectrograms.into(),
            labels: labels.into(),
            normalisation,
            frames: FRAMES,
            mask_frames: 0,
            mask_mels: 0,
            cut: recipe.cut,
        }),
        train: &train,
        test: &test,
        n_classes: 4,
        seed: 0,
        fold: "synth_emo_4",
        folder: None,
        checkpoint_steps: None,
        resume: false,
    };
    let fitted = fit(&job, &mut |event| {
        if let affekt::train::fit::Event::Epoch { epoch, loss, .. } = event {
            eprintln!("epoch {epoch}: loss {loss:.3}");
        }
        Ok(())
    })?;
    let accuracy = fitted.confusion.scores().map_or(0.0, |s| s.war);
    eprintln!("accuracy {accuracy:.3}, mean and deviation alone {averages:.3}");
    assert!(accuracy >= 0.95, "{accuracy}");
    Ok(())
}
