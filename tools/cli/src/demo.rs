//! `affekt demo`: no data, no arguments. Checks the kernels, trains a paper's model on made-up speech, writes a page.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use affekt::check::{Outcome as Found, trials_of};
use affekt::data::synthetic::{EMOTIONS, EmotionalSpeech, N_SAMPLES};
use affekt::gpu::Limits;
use affekt::train::fit::{Event, Job, fit, largest, predict};
use affekt::train::picture::{data_uri, spectrogram_png};
use affekt::train::plot::{Axes, Series, confusion_svg, line_chart};
use affekt::train::report::{self, Check, Picture, Report};
use affekt::train::{Confusion, Examples, FrontEnd, Normalisation, Recipe, Spectrogram, baseline};
use affekt::{Device, models, ops};
use clap::Args;
use serde_json::json;

use crate::outcome::{Failure, Outcome, say};
use crate::print;
use crate::progress::{Progress, bar, clock, loss};
use crate::session::Session;

/// Check the kernels and train a model on synthetic emotional speech, without any data
#[derive(Args)]
#[command(
    after_help = "The speech is synthesised: the emotion is in how pitch, rate and loudness change, not in their means,\n\
                  and the test speakers have other voices. Beside the model stands a logistic regression on the mean\n\
                  and deviation of every band, which cannot see the order of time.\n\n\
                  Example:\n  affekt demo --out demo.html"
)]
pub struct Demo {
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "affekt-demo.html")]
    out: PathBuf,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Utterances to train on
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    utterances: u32,
    /// Times that each is seen
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// What the training and its kernels call.
const OPERATORS: &[&str] = &[
    "stft",
    "power",
    "mel",
    "log",
    "permute",
    "matmul",
    "layer_norm",
    "gelu",
    "window_attention",
    "add",
    "mean",
    "sum",
    "softmax",
    "cross_entropy",
    "global_norm",
    "adam_step",
];
/// Utterances of a speaker; every emotion comes equally often.
const PER_SPEAKER: u32 = 20;
/// Speakers from here on are heard in the test only.
const FIRST_TEST_SPEAKER: u32 = 1_000_000;
const N_TEST: u32 = 400;
/// Utterances that are held as sound at once: 160 MB.
const PART: u32 = 1000;

impl Demo {
    pub fn run(&self, session: &Session) -> Outcome {
        let begin = Instant::now();
        // Before minutes of training, not after.
        can_be_written(&self.out)
            .map_err(|e| Failure::Wrong(format!("{}: {e}", self.out.display())))?;
        let device = session.open(Limits::Full)?;
        say(&format!("adapter: {}", device.adapter().label()));
        let mut progress = Progress::default();

        let checks = check(&device, &mut progress)?;
        let n_cases: usize = checks.iter().map(|c| c.n_cases).sum();
        let n_failed: usize = checks.iter().map(|c| c.n_failed).sum();
        progress.say(&format!(
            "kernels: {} of {n_cases} cases right, {}",
            n_cases - n_failed,
            clock(begin.elapsed().as_secs_f64())
        ));
        if n_failed > 0 {
            return Err(Failure::Checked(format!(
                "{n_failed} cases are wrong here; `affekt check` says which"
            )));
        }

        let front_end = FrontEnd::default();
        let n_train = self.utterances;
        let mut spectrograms = Vec::new();
        let mut labels = Vec::new();
        for (first, n) in [(0, n_train), (FIRST_TEST_SPEAKER, N_TEST)] {
            // Waves are large; a part of them at a time.
            for begin in (0..n).step_by(PART as usize) {
                let (waves, classes) = self.speak(first, begin, PART.min(n - begin));
                for part in waves.chunks(50 * N_SAMPLES) {
                    spectrograms.extend(front_end.log_mels(&device, part, N_SAMPLES)?);
                    let share = spectrograms.len() as f64 / f64::from(n_train + N_TEST);
                    progress.show(&format!("speech {}", bar(share)));
                }
                labels.extend(classes);
            }
        }
        let train: Vec<usize> = (0..n_train as usize).collect();
        let test: Vec<usize> = (train.len()..spectrograms.len()).collect();
        progress.say(&format!(
            "speech: {n_train} utterances of {} speakers to learn from, {N_TEST} of {} others to test on, {}",
            n_train.div_ceil(PER_SPEAKER),
            N_TEST / PER_SPEAKER,
            clock(begin.elapsed().as_secs_f64())
        ));

        let baseline = baseline_accuracy(&spectrograms, &labels, &train, &test)?;
        let recipe = Recipe {
            epochs: self.epochs,
            // Clean, endless speech needs neither.
            label_smoothing: 0.0,
            mask_frames: 0,
            mask_mels: 0,
            evaluate_every: u32::MAX,
            ..Recipe::small()
        };
        let about = models::speech("speech-swin")?;
        let model = about.build(&device, "small", EMOTIONS.len(), self.seed)?;
        let normalisation = Normalisation::of(&spectrograms[..train.len()])?;
        let examples = Arc::new(Examples {
            spectrograms: spectrograms.into(),
            labels: labels.into(),
            normalisation,
            frames: model.input()[1],
            mask_frames: 0,
            mask_mels: 0,
            cut: recipe.cut,
        });
        let job = Job {
            device: &device,
            model: model.as_ref(),
            about: json!(null),
            recipe: &recipe,
            examples: examples.clone(),
            train: &train,
            test: &test,
            n_classes: EMOTIONS.len(),
            seed: self.seed,
            fold: "demo",
            folder: None,
            checkpoint_steps: None,
            resume: false,
        };
        say(&format!(
            "{}, {} parameters, {} epochs",
            about.title,
            print::count(model.n_parameters() as u64),
            recipe.epochs
        ));
        let started = Instant::now();
        let mut losses: Vec<(f64, f64)> = Vec::new();
        let fitted = fit(&job, &mut |event| {
            match event {
                Event::Loss { step, loss } => losses.push((step as f64, loss)),
                Event::Step { step, n_steps } => {
                    let each = started.elapsed().as_secs_f64() / step as f64;
                    progress.show(&format!(
                        "training {} {step}/{n_steps}, loss {}, {each:.2} s a step, {} left",
                        bar(step as f64 / n_steps as f64),
                        loss(recent(&losses)),
                        clock(each * (n_steps - step) as f64)
                    ));
                }
                Event::Epoch { epoch, loss, .. } => {
                    progress.say(&format!("epoch {epoch}: loss {loss:.3}"));
                }
            }
            Ok(())
        })?;
        let seconds_per_step = started.elapsed().as_secs_f64() / fitted.n_steps.max(1) as f64;
        let accuracy = fitted.confusion.scores().map_or(0.0, |s| s.war);

        let told = Told {
            checks,
            baseline,
            accuracy,
            losses,
            confusion: fitted.confusion,
            seconds_per_step,
            n_steps: fitted.n_steps,
            n_parameters: model.n_parameters(),
            seconds: begin.elapsed().as_secs_f64(),
        };
        let shown = self.show(&job)?;
        let page = report::html(&told.report(&device, shown));
        fs::write(&self.out, page)
            .map_err(|e| Failure::Wrong(format!("{}: {e}", self.out.display())))?;
        self.print(&device, &told)
    }

    /// `n` utterances from number `begin` on, one after the other, and their emotions, by as many threads as the machine
    /// has cores.
    fn speak(&self, first_speaker: u32, begin: u32, n: u32) -> (Vec<f32>, Vec<usize>) {
        let speech = EmotionalSpeech::new(self.seed);
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut waves = vec![0.0; n as usize * N_SAMPLES];
        let mut labels = vec![0; n as usize];
        let share = (n as usize).div_ceil(n_threads).max(1);
        let parts = waves
            .chunks_mut(share * N_SAMPLES)
            .zip(labels.chunks_mut(share));
        std::thread::scope(|scope| {
            for (part, (waves, labels)) in parts.enumerate() {
                let speech = &speech;
                scope.spawn(move || {
                    let places = waves.chunks_mut(N_SAMPLES).zip(labels);
                    for (i, (wave, label)) in places.enumerate() {
                        let index = begin + (part * share + i) as u32;
                        let speaker = first_speaker + index / PER_SPEAKER;
                        let (samples, class) = speech.utterance(speaker, index % PER_SPEAKER);
                        wave.copy_from_slice(&samples);
                        *label = class;
                    }
                });
            }
        });
        (waves, labels)
    }

    /// A spectrogram of each emotion with what the model says of it.
    fn show(&self, job: &Job) -> Result<Vec<report::Spectrogram>, Failure> {
        let examples = &job.examples;
        let mut shown = Vec::new();
        for (class, name) in EMOTIONS.iter().enumerate() {
            let Some(item) = job.test.iter().find(|i| examples.labels[**i] == class) else {
                continue;
            };
            let row = predict(job.device, job.model, examples, &[*item], 1)?.remove(0);
            let said = largest(&row);
            let Spectrogram {
                mels,
                frames,
                values,
            } = &examples.spectrograms[*item];
            let png = spectrogram_png(values, *mels, *frames, 2, None)?;
            shown.push(report::Spectrogram {
                class: name.to_string(),
                caption: format!("heard as {}, {:.0} %", EMOTIONS[said], 100.0 * row[said]),
                picture: Picture::DataUri(data_uri(&png)),
            });
        }
        Ok(shown)
    }

    fn print(&self, device: &Device, told: &Told) -> Outcome {
        let mut out = io::stdout().lock();
        if self.json {
            let object = json!({
                "device": device.adapter().label(),
                "accuracy": told.accuracy,
                "baseline": told.baseline,
                "seconds": told.seconds,
                "seconds_per_step": told.seconds_per_step,
                "n_steps": told.n_steps,
                "n_checks": told.checks.iter().map(|c| c.n_cases).sum::<usize>(),
                "page": self.out.display().to_string(),
            });
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "accuracy {:.2}", told.accuracy)?;
            writeln!(
                out,
                "logistic regression on mean and deviation of each band {:.2}",
                told.baseline
            )?;
            writeln!(out, "page {}", self.out.display())?;
            writeln!(
                out,
                "{} steps, {:.3} s each; {} in all",
                told.n_steps,
                told.seconds_per_step,
                clock(told.seconds)
            )?;
        }
        Ok(out.flush()?)
    }
}

/// Whether a file can be written; what is in it stays, and none is left where there was none.
fn can_be_written(file: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            File::create_new(file)?;
            fs::remove_file(file)
        }
        opened => opened.map(drop),
    }
}

/// What happened, for the page and the last lines.
struct Told {
    checks: Vec<Check>,
    baseline: f64,
    accuracy: f64,
    losses: Vec<(f64, f64)>,
    confusion: Confusion,
    seconds_per_step: f64,
    n_steps: u64,
    n_parameters: usize,
    seconds: f64,
}

impl Told {
    fn report(&self, device: &Device, spectrograms: Vec<report::Spectrogram>) -> Report {
        let adapter = device.adapter();
        let classes: Vec<String> = EMOTIONS.iter().map(|e| e.to_string()).collect();
        let smooth = smoothed(&self.losses);
        let axes = Axes {
            title: "Training loss",
            x_label: "step",
            y_range: None,
        };
        let series = Series {
            name: "loss",
            points: &smooth,
        };
        let environment = [
            ("adapter", adapter.label()),
            (
                "driver",
                format!("{} {}", adapter.driver, adapter.driver_info),
            ),
            ("version", env!("CARGO_PKG_VERSION").to_string()),
            (
                "system",
                format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            ),
            ("parameters", print::count(self.n_parameters as u64)),
            (
                "steps",
                format!("{}, {:.3} s each", self.n_steps, self.seconds_per_step),
            ),
            ("time", clock(self.seconds)),
        ];
        Report {
            title: "affekt: emotions from synthetic speech".to_string(),
            summary: format!(
                "A Speech Swin-Transformer, trained just now on {} and tested on voices that it had never heard.",
                adapter.label()
            ),
            accuracy: self.accuracy,
            baseline_accuracy: self.baseline,
            chance: 1.0 / EMOTIONS.len() as f64,
            explanation: [
                "Every utterance was synthesised: a buzzing source, gliding formants, syllables. The emotion is in how \
                 pitch, rate and loudness change over the utterance; their means say next to nothing about it.",
                "The test speakers have other formants, another base pitch and another level than those the model \
                 learned from.",
                "The logistic regression sees the mean and the deviation of every mel band. It cannot see the order of \
                 time, and so stays near chance; what the model is better by, it has learned from the course of time.",
                "Before training, every kernel that it uses was compared with its definition on this adapter.",
            ]
            .map(String::from)
            .to_vec(),
            loss_curve: Picture::Svg(line_chart(axes, &[series])),
            confusion_matrix: Picture::Svg(confusion_svg("Test speakers", &self.confusion, &classes)),
            spectrograms,
            checks: self.checks.clone(),
            environment: environment.map(|(n, v)| (n.to_string(), v)).to_vec(),
        }
    }
}

/// Values and gradients of the operators that the demonstration uses, on the case made for verifying each.
fn check(device: &Device, progress: &mut Progress) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    for (i, name) in OPERATORS.iter().enumerate() {
        progress.show(&format!(
            "kernels {} {name}",
            bar(i as f64 / OPERATORS.len() as f64)
        ));
        let mut check = Check {
            operator: name.to_string(),
            n_cases: 0,
            n_failed: 0,
        };
        let trials = trials_of(ops::find(name)?);
        // The first case of every operator, whatever it is called.
        let label = trials.first().map(|t| t.case.label.clone());
        for trial in trials {
            if trial.only.is_some() || Some(&trial.case.label) != label.as_ref() {
                continue;
            }
            match trial.run(device)? {
                Found::Right => check.n_cases += 1,
                Found::Skipped(_) => {}
                Found::Wrong(detail) => {
                    check.n_cases += 1;
                    check.n_failed += 1;
                    progress.say(&format!("{}: {detail}", trial.name()));
                }
            }
        }
        checks.push(check);
    }
    Ok(checks)
}

fn baseline_accuracy(
    spectrograms: &[Spectrogram],
    labels: &[usize],
    train: &[usize],
    test: &[usize],
) -> Result<f64, Failure> {
    let features = |items: &[usize]| {
        items
            .iter()
            .map(|i| baseline::mean_and_deviation(&spectrograms[*i].values, spectrograms[*i].mels))
            .collect::<affekt::Result<Vec<_>>>()
    };
    let of = |items: &[usize]| -> Vec<usize> { items.iter().map(|i| labels[*i]).collect() };
    let model = baseline::fit(&features(train)?, &of(train), EMOTIONS.len())?;
    Ok(model.accuracy(&features(test)?, &of(test))?)
}

/// The mean of the last twenty losses.
fn recent(losses: &[(f64, f64)]) -> f64 {
    let last = &losses[losses.len().saturating_sub(20)..];
    last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64
}

/// Means over neighbouring steps, for a line that can be read.
fn smoothed(losses: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let width = (losses.len() / 100).max(1);
    let mut by_part: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for (i, point) in losses.iter().enumerate() {
        by_part.entry(i / width).or_default().push(*point);
    }
    by_part
        .values()
        .map(|part| {
            let n = part.len() as f64;
            let sum = part.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
            (sum.0 / n, sum.1 / n)
        })
        .collect()
}
