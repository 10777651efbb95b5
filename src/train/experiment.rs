//! A model over all folds of a protocol, with a folder that a run can be continued, tested and used from.
//!
//! ```text
//! RUN/run.json                   what was asked for, and the machine it runs on
//! RUN/<fold>/checkpoint.safetensors, metrics.jsonl, result.json
//! RUN/result.json, confusion.svg, curves.svg
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::data::Fold;
use crate::disk::write_durably;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::models::{self, SpectrogramClassifier};
use crate::ops::plan_table;
use crate::tensor::{Tensor, file};
use crate::train::checkpoint;
use crate::train::fit::{self, CHECKPOINT, Event, Job, METRICS, fit};
use crate::train::front_end::FrontEnd;
use crate::train::log::MetricsLog;
use crate::train::metrics::{Confusion, Scores};
use crate::train::plot::{Axes, Series, confusion_svg, line_chart};
use crate::train::recipe::Recipe;
use crate::train::spectrograms::{Cut, Examples, Normalisation, Spectrogram};

/// What is to be trained, on what, and how.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Name and size of the model, as [`models::speech`] knows them.
    pub model: String,
    pub config: String,
    pub corpus: String,
    pub classes: Vec<String>,
    pub protocol: String,
    pub seed: u64,
    pub recipe: Recipe,
    pub front_end: FrontEnd,
    /// What every fold starts from, as far as names and shapes fit; drawn from the seed otherwise.
    pub weights: Option<Weights>,
    pub checkpoint_steps: Option<u64>,
}

/// Parameters of another training.
#[derive(Debug, Clone)]
pub struct Weights {
    pub tensors: Vec<(String, Tensor)>,
    /// The fold whose training they come of, if they are of a checkpoint: it has learned from all other folds.
    pub fold: Option<String>,
    /// Of the bytes of the file: a run that goes on must have begun with the same.
    fingerprint: u32,
}

impl Weights {
    /// Reads a safetensors file. Where most names begin with `model.`, as in a file that holds a model beside other things,
    /// those alone count, without it; so do the parameters of a checkpoint.
    ///
    /// Errors: [`Error::Io`], [`Error::Format`].
    pub fn read(device: &Device, path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        let (mut tensors, note) = file::load_with_note(device, path)?;
        let of_model = |name: &str| name.strip_prefix(checkpoint::MODEL).map(str::to_string);
        let n_of_model = tensors
            .iter()
            .filter(|(n, _)| of_model(n).is_some())
            .count();
        let note: Option<Value> = note.and_then(|note| serde_json::from_str(&note).ok());
        let learned_from = note.as_ref().and_then(|note| note["fold"].as_str());
        if learned_from.is_some() || 2 * n_of_model > tensors.len() {
            let inside = tensors.into_iter();
            tensors = inside
                .filter_map(|(name, t)| Some((of_model(&name)?, t)))
                .collect();
        }
        Ok(Weights {
            tensors,
            fold: learned_from.map(str::to_string),
            fingerprint: hash(&bytes),
        })
    }
}

/// Spectrograms of a corpus with their classes, in its order.
#[derive(Debug, Clone)]
pub struct Labelled {
    pub spectrograms: Arc<[Spectrogram]>,
    pub labels: Arc<[usize]>,
}

/// Where a run lives on disk, if it does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Folder<'a> {
    pub path: Option<&'a Path>,
    /// Whether to go on with what is there.
    pub resume: bool,
    /// Whether to go on although machine or version are others than at the beginning, which ends the promise of same bits.
    pub force: bool,
}

/// The test of one fold.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldResult {
    pub name: String,
    pub confusion: Confusion,
    /// Steps made now; 0 for a fold that was finished before.
    pub n_steps: u64,
}

impl FoldResult {
    /// Errors: [`Error::Empty`] for a fold without test items.
    pub fn scores(&self) -> Result<Scores> {
        self.confusion.scores().ok_or_else(|| Error::Empty {
            op: "fold",
            message: format!("{} has no test items", self.name),
        })
    }

    /// `{name, n, uar, war, f1}`.
    pub fn to_json(&self) -> Result<Value> {
        let scores = self.scores()?;
        let mut line = json!({ "name": self.name, "n": scores.n });
        for (key, number) in scores.to_json().as_object().into_iter().flatten() {
            line[key.as_str()] = number.clone();
        }
        Ok(line)
    }
}

const RUN: &str = "run.json";
const RESULT: &str = "result.json";

/// Trains and tests the folds that are `wanted`, and returns their results. What the folder says of all folds counts those
/// too that an earlier call finished. `watch` is told the fold and what happens in it; its error ends the run.
///
/// Errors: those of [`fit`]; [`Error::Format`] if the folder holds another run, or one of another machine without
/// `force`.
pub fn run(
    experiment: &Experiment,
    device: &Device,
    data: &Labelled,
    folds: &[Fold],
    wanted: &dyn Fn(&Fold) -> bool,
    folder: Folder,
    watch: &mut dyn FnMut(&Fold, Event) -> Result<()>,
) -> Result<Vec<FoldResult>> {
    if let Some(path) = folder.path {
        claim(experiment, device, path, folder)?;
    }
    let mut results = Vec::with_capacity(folds.len());
    for fold in folds {
        let place = folder.path.map(|p| p.join(folder_name(&fold.name)));
        let finished = match &place {
            Some(place) if folder.resume => finished(place, fold, experiment.classes.len())?,
            _ => None,
        };
        let result = match finished {
            Some(result) => result,
            None if !wanted(fold) => continue,
            None => {
                let resume = folder.resume;
                let mut told = |event| watch(fold, event);
                let place = place.as_deref();
                train_fold(experiment, device, data, fold, place, resume, &mut told)?
            }
        };
        results.push((fold, result));
    }
    if let Some(path) = folder.path {
        summarise(experiment, path, results.iter().map(|(_, result)| result))?;
    }
    results.retain(|(fold, _)| wanted(fold));
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn train_fold(
    experiment: &Experiment,
    device: &Device,
    data: &Labelled,
    fold: &Fold,
    place: Option<&Path>,
    resume: bool,
    watch: &mut dyn FnMut(Event) -> Result<()>,
) -> Result<FoldResult> {
    let n_classes = experiment.classes.len();
    let model = models::speech(&experiment.model)?.build(
        device,
        &experiment.config,
        n_classes,
        experiment.seed,
    )?;
    if let Some(weights) = &experiment.weights {
        model.load_matching(&weights.tensors)?;
    }
    let normalisation = Normalisation::of(fold.train.iter().map(|i| &data.spectrograms[*i]))?;
    let recipe = &experiment.recipe;
    let job = Job {
        device,
        model: model.as_ref(),
        about: experiment.about(),
        recipe,
        examples: Arc::new(Examples {
            spectrograms: data.spectrograms.clone(),
            labels: data.labels.clone(),
            normalisation,
            frames: model.input()[1],
            mask_frames: recipe.mask_frames,
            mask_mels: recipe.mask_mels,
            cut: recipe.cut,
        }),
        train: &fold.train,
        test: &fold.test,
        n_classes,
        seed: experiment.seed,
        fold: &fold.name,
        folder: place,
        checkpoint_steps: experiment.checkpoint_steps,
        resume,
    };
    let fitted = fit(&job, watch)?;
    let result = FoldResult {
        name: fold.name.clone(),
        confusion: fitted.confusion,
        n_steps: fitted.n_steps,
    };
    if let Some(place) = place {
        let mut line = result.to_json()?;
        line["confusion"] = rows(&result.confusion);
        write_json(&place.join(RESULT), &line)?;
    }
    Ok(result)
}

/// Counts by reference, then by prediction.
fn rows(confusion: &Confusion) -> Value {
    let n = confusion.n_classes();
    (0..n)
        .map(|r| (0..n).map(|p| confusion.count(r, p)).collect::<Value>())
        .collect()
}

/// The result of a fold that an earlier call finished.
fn finished(place: &Path, fold: &Fold, n_classes: usize) -> Result<Option<FoldResult>> {
    let file = place.join(RESULT);
    if !file.exists() {
        return Ok(None);
    }
    let line = read_json(&file)?;
    let wrong = || Error::format(&file, format!("no result of fold {}", fold.name));
    if line["name"].as_str() != Some(&fold.name) {
        return Err(wrong());
    }
    let mut confusion = Confusion::new(n_classes);
    for reference in 0..n_classes {
        for predicted in 0..n_classes {
            let count = line["confusion"][reference][predicted].as_u64();
            let possible = |n: &u64| *n <= fold.test.len() as u64;
            for _ in 0..count.filter(possible).ok_or_else(wrong)? {
                confusion.add(reference, predicted)?;
            }
        }
    }
    if confusion.total() != fold.test.len() as u64 {
        return Err(wrong());
    }
    Ok(Some(FoldResult {
        name: fold.name.clone(),
        confusion,
        n_steps: 0,
    }))
}

/// A folder name of a fold's name: its letters, digits and underscores, a dash for anything else. Where that changed
/// the name, a hash of the whole name follows, so that `a/b` and `a-b` do not write over each other.
fn folder_name(fold: &str) -> String {
    let word = |c: char| match c.is_alphanumeric() || c == '_' || c == '-' {
        true => c,
        false => '-',
    };
    let name: String = fold.chars().map(word).collect();
    if name == fold {
        return name;
    }
    format!("{name}-{:08x}", hash(fold.as_bytes()))
}

/// FNV-1a of 32 bits. Source: Fowler, Noll & Vo 1991.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Experiment {
    /// What a checkpoint says of its model.
    fn about(&self) -> Value {
        json!({
            "name": self.model,
            "config": self.config,
            "classes": self.classes,
            "front_end": self.front_end.to_json(),
            "cut": self.recipe.cut.to_json(),
        })
    }

    /// What a folder says of the run; the same for the same run.
    fn to_json(&self) -> Value {
        json!({
            "model": self.model,
            "config": self.config,
            "corpus": self.corpus,
            "classes": self.classes,
            "protocol": self.protocol,
            "seed": self.seed,
            "recipe": self.recipe.to_json(),
            "front_end": self.front_end.to_json(),
            "weights": self.weights.as_ref().map(|w| w.fingerprint),
        })
    }
}

/// What decides bits beside the run itself.
fn machine(device: &Device) -> Value {
    let adapter = device.adapter();
    json!({
        "adapter": adapter.label(),
        "driver": adapter.driver,
        "driver_info": adapter.driver_info,
        "version": env!("CARGO_PKG_VERSION"),
        "plan_table": plan_table::fingerprint(device),
    })
}

/// Makes the folder that of this run, or finds that it is.
fn claim(experiment: &Experiment, device: &Device, path: &Path, folder: Folder) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, &e))?;
    let file = path.join(RUN);
    let asked = json!({ "run": experiment.to_json(), "machine": machine(device) });
    if !file.exists() {
        return write_json(&file, &asked);
    }
    if !folder.resume {
        return Err(Error::format(
            file,
            "there is a run already; go on with --resume, or name another folder",
        ));
    }
    let found = read_json(&file)?;
    // Printed and read as the other was, so that numbers are compared as texts are.
    let asked: Value = serde_json::from_str(&asked.to_string()).unwrap_or(asked);
    if let Some(difference) = difference("run", &found["run"], &asked["run"]) {
        return Err(Error::format(file, difference));
    }
    match difference("machine", &found["machine"], &asked["machine"]) {
        Some(difference) if !folder.force => Err(Error::format(
            file,
            format!("{difference}; --force goes on all the same, with other bits"),
        )),
        _ => Ok(()),
    }
}

/// The first field in which two objects differ, in words.
fn difference(path: &str, found: &Value, asked: &Value) -> Option<String> {
    match (found, asked) {
        (Value::Object(f), Value::Object(a)) => a
            .keys()
            .chain(f.keys())
            .find_map(|key| difference(&format!("{path}.{key}"), &found[key], &asked[key])),
        _ if found == asked => None,
        _ => Some(format!("{path} was {found}, is {asked}")),
    }
}

/// Writes the result of all folds and the pictures.
fn summarise<'a>(
    experiment: &Experiment,
    path: &Path,
    results: impl Iterator<Item = &'a FoldResult> + Clone,
) -> Result<()> {
    let mut all = Confusion::new(experiment.classes.len());
    let mut folds = Vec::new();
    for result in results.clone() {
        all.merge(&result.confusion)?;
        folds.push(result.to_json()?);
    }
    let scores = results
        .clone()
        .map(FoldResult::scores)
        .collect::<Result<Vec<_>>>()?;
    let mean = Scores::mean(&scores).map(|s| s.to_json());
    write_json(
        &path.join(RESULT),
        &json!({
            "model": experiment.model,
            "config": experiment.config,
            "protocol": experiment.protocol,
            "seed": experiment.seed,
            "folds": folds,
            "mean": mean,
            "confusion": rows(&all),
        }),
    )?;
    let title = format!("{}, all folds", experiment.corpus);
    write_text(
        &path.join("confusion.svg"),
        &confusion_svg(&title, &all, &experiment.classes),
    )?;
    let mut curves = Vec::new();
    for result in results {
        let file = path.join(folder_name(&result.name)).join(METRICS);
        curves.push((result.name.as_str(), losses(&file)?));
    }
    let series: Vec<Series> = curves
        .iter()
        .map(|(name, points)| Series { name, points })
        .collect();
    let axes = Axes {
        title: "Training loss",
        x_label: "epoch",
        y_range: None,
    };
    write_text(&path.join("curves.svg"), &line_chart(axes, &series))
}

/// The loss of each epoch, from a metrics file.
pub fn losses(file: &Path) -> Result<Vec<(f64, f64)>> {
    let lines = MetricsLog::read(file)?;
    Ok(lines
        .iter()
        .filter_map(|line| Some((line["epoch"].as_f64()?, line["loss"].as_f64()?)))
        .collect())
}

/// The models of a run, as they were after their last checkpoint.
pub struct Trained {
    pub classes: Vec<String>,
    pub front_end: FrontEnd,
    /// How recordings are cut: as in the run's own test, unless it is set.
    pub cut: Cut,
    members: Vec<Member>,
}

struct Member {
    fold: String,
    model: Box<dyn SpectrogramClassifier>,
    normalisation: Normalisation,
}

impl Trained {
    /// Loads every fold of a run, or the one of that name; also a single checkpoint file.
    ///
    /// Errors: [`Error::Io`], [`Error::Format`] for what is no run; [`Error::State`] for parameters that do not fit the
    /// model; [`Error::Attribute`] for a fold that is not there.
    pub fn open(device: &Device, path: &Path, fold: Option<&str>) -> Result<Self> {
        if !path.exists() {
            return Err(Error::format(path, "there is no such file or folder"));
        }
        let files = match path.is_dir() {
            true => checkpoints(path)?,
            false => vec![path.to_path_buf()],
        };
        for file in &files {
            // The folds of a run that has not ended count all the same, but not in silence.
            let ended = file.with_file_name(RESULT).is_file();
            if path.is_dir() && !ended {
                ::log::warn!("{}: its training has not ended", file.display());
            }
        }
        let mut members = Vec::new();
        let mut about = Value::Null;
        let mut names = Vec::new();
        for file in files {
            let found = checkpoint::load(device, &file)?;
            names.push(found.progress.fold.clone());
            if fold.is_some_and(|name| {
                name != found.progress.fold && name != folder_name(&found.progress.fold)
            }) {
                continue;
            }
            let note = &found.progress.model;
            let wrong = |what: &str| Error::format(&file, format!("no checkpoint: {what}"));
            let text = |key: &str| note[key].as_str().ok_or_else(|| wrong("no model"));
            let named = note["classes"].as_array().into_iter().flatten();
            let classes: Option<Vec<String>> =
                named.map(|c| Some(c.as_str()?.to_string())).collect();
            let classes = classes.ok_or_else(|| wrong("a class that is no text"))?;
            let model = models::speech(text("name")?)?.build(
                device,
                text("config")?,
                classes.len(),
                found.progress.seed,
            )?;
            found.restore_model(model.as_ref())?;
            let [mels, _] = model.input();
            let n = found.normalisation.mean.len();
            if n != mels {
                return Err(wrong(&format!(
                    "statistics of {n} mels, its model takes {mels}"
                )));
            }
            if !about.is_null() && about != *note {
                return Err(wrong("its model is another than that of the fold before"));
            }
            about = note.clone();
            members.push(Member {
                fold: found.progress.fold,
                model,
                normalisation: found.normalisation,
            });
        }
        if members.is_empty() {
            let known = names.join(", ");
            let asked = fold.unwrap_or_default();
            return Err(Error::attribute(
                "run",
                format!("no fold {asked:?}; there is {known}"),
            ));
        }
        let classes = about["classes"].as_array().into_iter().flatten();
        Ok(Trained {
            classes: classes
                .filter_map(|c| c.as_str().map(str::to_string))
                .collect(),
            front_end: FrontEnd::of_json(&about["front_end"])
                .ok_or_else(|| Error::format(path, "no checkpoint: no front end"))?,
            cut: Cut::of_json(&about)
                .ok_or_else(|| Error::format(path, "no checkpoint: an unknown cut"))?,
            members,
        })
    }

    /// Names of the folds whose models are here.
    pub fn folds(&self) -> Vec<&str> {
        self.members.iter().map(|m| m.fold.as_str()).collect()
    }

    /// The probabilities of the classes for each spectrogram: the mean over the models.
    ///
    /// Errors: those of [`fit::predict`].
    pub fn predict(&self, device: &Device, items: &[Spectrogram]) -> Result<Vec<Vec<f32>>> {
        let spectrograms: Arc<[Spectrogram]> = items.into();
        let indices: Vec<usize> = (0..items.len()).collect();
        let mut sums = vec![vec![0.0f32; self.classes.len()]; items.len()];
        for member in &self.members {
            let examples = Examples {
                spectrograms: spectrograms.clone(),
                labels: vec![0; items.len()].into(),
                normalisation: member.normalisation.clone(),
                frames: member.model.input()[1],
                mask_frames: 0,
                mask_mels: 0,
                cut: self.cut,
            };
            let model = member.model.as_ref();
            for (sum, row) in sums
                .iter_mut()
                .zip(fit::predict(device, model, &examples, &indices, 16)?)
            {
                for (s, p) in sum.iter_mut().zip(row) {
                    *s += p / self.members.len() as f32;
                }
            }
        }
        Ok(sums)
    }
}

/// The checkpoints of a run, by the names of their folders.
fn checkpoints(run: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(run).map_err(|e| Error::io(run, &e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path().join(CHECKPOINT)))
        .filter(|f| f.is_file())
        .collect();
    files.sort();
    match files.is_empty() {
        false => Ok(files),
        true => Err(Error::format(
            run,
            format!("no run: no folder in it holds a {CHECKPOINT}"),
        )),
    }
}

fn read_json(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, &e))?;
    serde_json::from_str(&text).map_err(|e| Error::format(file, format!("no JSON: {e}")))
}

fn write_json(file: &Path, value: &Value) -> Result<()> {
    write_text(file, &format!("{value:#}\n"))
}

fn write_text(file: &Path, text: &str) -> Result<()> {
    write_durably(file, text.as_bytes()).map_err(|e| Error::io(file, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_have_folders_of_their_own() {
        for plain in ["03", "anna", "fold_1", "x-y", "łucja"] {
            assert_eq!(folder_name(plain), plain);
        }
        let names = ["x-y", "x/y", "x y", "x.y", "../x", "..", ".", "a\\b"].map(folder_name);
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{names:?}");
            assert!(!name.contains(['/', '\\', '.']), "{names:?}");
        }
        // A run is resumed by it: the first of the authors' test vectors.
        assert_eq!(hash(b"a"), 0xe40c_292c);
    }
}
