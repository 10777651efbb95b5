//! `affekt train`: a paper's model on a corpus, by a published protocol.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use affekt::data::{Corpus, Fold, Protocol};
use affekt::gpu::Limits;
use affekt::train::experiment::{self, Experiment, FoldResult, Folder, Labelled, Weights};
use affekt::train::fit::Event;
use affekt::train::{FrontEnd, Recipe, Scores};
use affekt::{Device, models};
use clap::Args;
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome, say};
use crate::print;
use crate::progress::{Progress, bar, clock, loss};
use crate::session::Session;

/// Train a model on a corpus and test it on speakers that it has not heard
#[derive(Args)]
#[command(
    after_help = "Models: speech-swin (Speech Swin-Transformer, ICASSP 2024).\n\
                  Corpora are known by their layout: EmoDB, RAVDESS, CASIA, or a CSV with path,label,subject.\n\
                  Protocols: loso, logo, kfold:K[:SEED], fixed:SUBJECT,SUBJECT, column.\n\
                  The seed decides everything: the same seed, version and driver give the same bits.\n\n\
                  Example:\n  affekt train speech-swin --data emodb --protocol loso --out runs/emodb"
)]
pub struct Train {
    /// The model
    model: String,
    /// Folder of the corpus, or a CSV file
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How the corpus is split
    #[arg(long, default_value = "loso")]
    protocol: String,
    /// Sizes of the model: small or paper
    #[arg(long, default_value = "small")]
    config: String,
    /// Folder for checkpoints, metrics and pictures
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Go on with the run in the folder
    #[arg(long, requires = "out")]
    resume: bool,
    /// Go on although the adapter, driver or version is another
    #[arg(long, requires = "resume")]
    force: bool,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train with so many seeds, from --seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Epochs instead of the recipe's
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: Option<u32>,
    /// Items of a batch instead of the recipe's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: Option<u32>,
    /// Highest learning rate instead of the recipe's
    #[arg(long)]
    lr: Option<f64>,
    /// Test an average of the parameters over the steps, with this decay
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Start from the parameters in this safetensors file whose names, shapes and dtypes fit
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Only these folds, by name
    #[arg(long, value_name = "NAME", num_args = 1..)]
    folds: Vec<String>,
    /// A checkpoint after every so many steps, beside those after each epoch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_steps: Option<u64>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// What one seed gave.
struct Trained {
    seed: u64,
    results: Vec<FoldResult>,
    mean: Scores,
}

impl Train {
    pub fn run(&self, session: &Session) -> Outcome {
        let begin = Instant::now();
        // Everything that can be wrong with the call is found before any work.
        let model = models::speech(&self.model)?;
        if !model.configs.contains(&self.config.as_str()) {
            return Err(Failure::Wrong(format!(
                "{} has no config {}; there is {}",
                model.name,
                self.config,
                model.configs.join(", ")
            )));
        }
        let Some(last) = self.seed.checked_add(self.seeds - 1) else {
            return Err(Failure::Wrong(format!(
                "--seed {} --seeds {}: there is no seed beyond 2^64 - 1",
                self.seed, self.seeds
            )));
        };
        let recipe = self.recipe()?;
        let protocol: Protocol = self.protocol.parse()?;
        let corpus = Corpus::open(&self.data, None)?;
        let folds = protocol.folds(&corpus)?;
        self.look_for_folds(&folds)?;
        let n_wanted = folds.iter().filter(|f| self.wants(f)).count();
        let device = session.open(Limits::Full)?;
        let weights = match &self.weights {
            Some(file) => Some(self.read_weights(&device, file, corpus.classes.len())?),
            None => None,
        };
        say(&format!(
            "{} on {}: {} recordings of {} subjects, {} classes, {} folds; {}",
            model.title,
            corpus.name,
            corpus.items.len(),
            corpus.subjects().len(),
            corpus.classes.len(),
            n_wanted,
            device.adapter().label()
        ));
        const SHOWN: usize = 3;
        for file in corpus.unknown.iter().take(SHOWN) {
            say(&format!(
                "left out, its name has no place in the layout: {}",
                file.display()
            ));
        }
        if corpus.unknown.len() > SHOWN {
            say(&format!(
                "and {} files more are left out",
                corpus.unknown.len() - SHOWN
            ));
        }
        let front_end = FrontEnd::default();
        let data = read(&device, &corpus, &front_end)?;
        let mut trained = Vec::new();
        for seed in self.seed..=last {
            let experiment = Experiment {
                model: self.model.clone(),
                config: self.config.clone(),
                corpus: corpus.name.clone(),
                classes: corpus.classes.clone(),
                protocol: self.protocol.clone(),
                seed,
                recipe: recipe.clone(),
                front_end: front_end.clone(),
                weights: weights.clone(),
                checkpoint_steps: self.checkpoint_steps,
            };
            trained.push(self.train(&device, &experiment, &data, &folds)?);
        }
        self.print(&device, &trained, begin.elapsed().as_secs_f64())
    }

    fn recipe(&self) -> Result<Recipe, Failure> {
        let mut recipe = match self.config.as_str() {
            "paper" => Recipe::paper(),
            _ => Recipe::small(),
        };
        if let Some(epochs) = self.epochs {
            recipe.epochs = epochs;
        }
        if let Some(batch_size) = self.batch_size {
            recipe.batch_size = batch_size as usize;
        }
        if let Some(lr) = self.lr {
            // The device computes in f32.
            if !(lr > 0.0 && lr <= f64::from(f32::MAX)) {
                return Err(Failure::Wrong(format!(
                    "--lr {lr}: expected a number above 0, at most 3.4e38"
                )));
            }
            recipe.lr = lr;
        }
        if let Some(ema) = self.ema {
            if !(0.0..1.0).contains(&ema) {
                let message = format!("--ema {ema}: expected a number from 0 to below 1");
                return Err(Failure::Wrong(message));
            }
        }
        recipe.ema = self.ema;
        Ok(recipe)
    }

    /// The weights to start from, with a word on what of them fits the model.
    fn read_weights(
        &self,
        device: &Device,
        file: &Path,
        n_classes: usize,
    ) -> Result<Weights, Failure> {
        let weights = Weights::read(device, file)?;
        let model = models::speech(&self.model)?.build(device, &self.config, n_classes, 0)?;
        let loaded = model.load_matching(&weights.tensors).map_err(|_| {
            let first = |names: &mut dyn Iterator<Item = String>| names.next().unwrap_or_default();
            Failure::Wrong(format!(
                "{}: no name and shape fits: it begins with {}, the model with {}",
                file.display(),
                first(&mut weights.tensors.iter().map(|(name, _)| name.clone())),
                first(&mut model.named_parameters().into_iter().map(|(name, _)| name)),
            ))
        })?;
        if let Some(fold) = &weights.fold {
            say(&format!(
                "they come of fold {fold} of a run: of what that has learned from, nothing here is a test"
            ));
        }
        let left = loaded.missing.len() + loaded.reshaped.len();
        say(&format!(
            "{}: {} of {} parameters start from it",
            file.display(),
            loaded.n_loaded,
            loaded.n_loaded + left
        ));
        let some = |what: &str, names: &[String]| {
            if let [first, rest @ ..] = names {
                let more = match rest.len() {
                    0 => String::new(),
                    n => format!(", and {n} more"),
                };
                say(&format!("{what}: {first}{more}"));
            }
        };
        some("of another shape", &loaded.reshaped);
        some("not in it", &loaded.missing);
        some("unknown to the model", &loaded.unexpected);
        Ok(weights)
    }

    fn wants(&self, fold: &Fold) -> bool {
        self.folds.is_empty() || self.folds.contains(&fold.name)
    }

    fn look_for_folds(&self, folds: &[Fold]) -> Outcome {
        if let Some(name) = self
            .folds
            .iter()
            .find(|n| !folds.iter().any(|f| f.name == **n))
        {
            let known: Vec<&str> = folds.iter().map(|f| f.name.as_str()).collect();
            return Err(Failure::Wrong(format!(
                "no fold {name:?}; there is {}",
                known.join(", ")
            )));
        }
        Ok(())
    }

    fn train(
        &self,
        device: &Device,
        experiment: &Experiment,
        data: &Labelled,
        folds: &[Fold],
    ) -> Result<Trained, Failure> {
        let seed = experiment.seed;
        let path = self.out.as_ref().map(|out| match self.seeds {
            1 => out.clone(),
            _ => out.join(format!("seed-{seed}")),
        });
        let folder = Folder {
            path: path.as_deref(),
            resume: self.resume,
            force: self.force,
        };
        let mut watcher = Watcher::new(folds.iter().filter(|f| self.wants(f)));
        let results = experiment::run(
            experiment,
            device,
            data,
            folds,
            &|fold| self.wants(fold),
            folder,
            &mut |fold, event| {
                watcher.tell(fold, event);
                Ok(())
            },
        );
        watcher.progress.clear();
        let results = results?;
        let scores = results
            .iter()
            .map(FoldResult::scores)
            .collect::<affekt::Result<Vec<_>>>()?;
        let mean = Scores::mean(&scores)
            .ok_or_else(|| Failure::Wrong("there is nothing to test on".to_string()))?;
        say(&format!(
            "seed {seed}: UAR {:.3}, WAR {:.3}, F1 {:.3}; {}",
            mean.uar,
            mean.war,
            mean.f1,
            watcher.pace()
        ));
        Ok(Trained {
            seed,
            results,
            mean,
        })
    }

    fn print(&self, device: &Device, trained: &[Trained], seconds: f64) -> Outcome {
        let means: Vec<Scores> = trained.iter().map(|t| t.mean).collect();
        let overall = Scores::mean(&means).map(|s| s.to_json());
        let deviation = Scores::deviation(&means).map(|s| s.to_json());
        let several = trained.len() > 1;
        let mut out = io::stdout().lock();
        if self.json {
            let mut folds: Vec<Value> = Vec::new();
            for one in trained {
                for result in &one.results {
                    let mut line = result.to_json()?;
                    if several {
                        line["seed"] = json!(one.seed);
                    }
                    folds.push(line);
                }
            }
            let mut object = json!({
                "model": self.model,
                "config": self.config,
                "protocol": self.protocol,
                "seed": self.seed,
                "device": device.adapter().label(),
                "seconds": seconds,
                "folds": folds,
                "mean": overall,
            });
            if several {
                object["seeds"] = json!(trained.iter().map(|t| t.seed).collect::<Vec<_>>());
                object["means"] = trained.iter().map(|t| t.mean.to_json()).collect();
                object["std"] = json!(deviation);
            }
            writeln!(out, "{object}")?;
        } else {
            let mut rows = Vec::new();
            for one in trained {
                let mut line = |name: &str, scores: &Scores| {
                    let numbers = [scores.uar, scores.war, scores.f1].map(|x| format!("{x:.3}"));
                    let mut row = vec![name.to_string(), scores.n.to_string()];
                    row.extend(numbers);
                    if several {
                        row.insert(0, one.seed.to_string());
                    }
                    rows.push(row);
                };
                for result in &one.results {
                    line(&result.name, &result.scores()?);
                }
                line("mean", &one.mean);
            }
            let mut heading = vec!["fold", "n", "UAR", "WAR", "F1"];
            if several {
                heading.insert(0, "seed");
            }
            print::table(&mut out, &heading, &rows)?;
        }
        Ok(out.flush()?)
    }
}

/// Reads every recording and makes its spectrogram; a bar says how far.
pub fn read(device: &Device, corpus: &Corpus, front_end: &FrontEnd) -> Result<Labelled, Failure> {
    let files: Vec<&Path> = corpus.items.iter().map(|i| i.file.as_path()).collect();
    let mut progress = Progress::default();
    let mut spectrograms = Vec::with_capacity(files.len());
    for (i, file) in files.iter().enumerate() {
        progress.show(&format!(
            "reading {} {}/{}",
            bar(i as f64 / files.len() as f64),
            i + 1,
            files.len()
        ));
        spectrograms.push(front_end.read(device, file)?);
    }
    progress.clear();
    Ok(Labelled {
        spectrograms: spectrograms.into(),
        labels: corpus.items.iter().map(|i| i.label).collect(),
    })
}

/// Turns events into a bar and a line per fold.
struct Watcher {
    progress: Progress,
    begin: Instant,
    n_folds: usize,
    /// Place of each fold among all.
    places: BTreeMap<String, usize>,
    n_steps: u64,
    loss: f64,
}

impl Watcher {
    fn new<'a>(folds: impl Iterator<Item = &'a Fold>) -> Self {
        let places: BTreeMap<String, usize> = folds
            .enumerate()
            .map(|(i, f)| (f.name.clone(), i))
            .collect();
        Watcher {
            progress: Progress::default(),
            begin: Instant::now(),
            n_folds: places.len(),
            places,
            n_steps: 0,
            loss: f64::NAN,
        }
    }

    fn tell(&mut self, fold: &Fold, event: Event) {
        let place = self.places.get(&fold.name).copied().unwrap_or(0);
        match event {
            Event::Step { step, n_steps } => {
                self.n_steps += 1;
                let share = (place as f64 + step as f64 / n_steps as f64) / self.n_folds as f64;
                let spent = self.begin.elapsed().as_secs_f64();
                let each = spent / self.n_steps as f64;
                let left = (self.n_folds - place) as f64 * n_steps as f64 - step as f64;
                self.progress.show(&format!(
                    "{} {} step {step}/{n_steps}, loss {}, {each:.2} s a step, {} left",
                    bar(share),
                    fold.name,
                    loss(self.loss),
                    clock(left * each)
                ));
            }
            Event::Loss { loss, .. } => {
                // As a mean over about twenty steps: single losses jump.
                let before = if self.loss.is_nan() { loss } else { self.loss };
                self.loss = 0.95 * before + 0.05 * loss;
            }
            Event::Epoch {
                epoch,
                n_epochs,
                loss,
                test,
            } => {
                if let Some(scores) = test.and_then(|t| t.scores()) {
                    if epoch == n_epochs {
                        self.progress.say(&format!(
                            "{}: loss {loss:.3}, UAR {:.3}, WAR {:.3} of {}; {}",
                            fold.name,
                            scores.uar,
                            scores.war,
                            scores.n,
                            self.pace()
                        ));
                    }
                }
            }
        }
    }

    fn pace(&self) -> String {
        let spent = self.begin.elapsed().as_secs_f64();
        match self.n_steps {
            0 => "no step was left to make".to_string(),
            n => format!(
                "{n} steps, {:.3} s each, {}",
                spent / n as f64,
                clock(spent)
            ),
        }
    }
}
