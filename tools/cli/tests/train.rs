//! Training as a user meets it: results, runs that are killed and go on, the same bits, and input that is broken.

mod support;

use std::path::Path;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Test, command, done, file, folder, path, refusal, refused, run, text};

fn main() -> ExitCode {
    support::main(ANYWHERE, ON_A_DEVICE)
}

const ANYWHERE: &[Test] = &[("wrong_calls_are_one_line", wrong_calls_are_one_line)];

const ON_A_DEVICE: &[Test] = &[
    (
        "a_run_is_trained_tested_and_used",
        a_run_is_trained_tested_and_used,
    ),
    (
        "another_sample_rate_is_resampled",
        another_sample_rate_is_resampled,
    ),
    (
        "a_long_recording_is_heard_in_segments",
        a_long_recording_is_heard_in_segments,
    ),
    (
        "a_run_starts_from_the_weights_of_another",
        a_run_starts_from_the_weights_of_another,
    ),
    (
        "folds_trained_one_by_one_are_one_run",
        folds_trained_one_by_one_are_one_run,
    ),
    (
        "another_corpus_is_tested_on_the_classes_it_shares",
        another_corpus_is_tested_on_the_classes_it_shares,
    ),
    (
        "the_same_seed_gives_the_same_bits",
        the_same_seed_gives_the_same_bits,
    ),
    #[cfg(unix)]
    (
        "a_run_that_is_killed_ends_in_the_same_bits",
        a_run_that_is_killed_ends_in_the_same_bits,
    ),
    (
        "several_seeds_have_a_deviation",
        several_seeds_have_a_deviation,
    ),
    (
        "a_loss_that_is_no_number_stops",
        a_loss_that_is_no_number_stops,
    ),
    (
        "a_checkpoint_is_finite_or_not_written",
        a_checkpoint_is_finite_or_not_written,
    ),
    #[cfg(unix)]
    (
        "a_full_disk_leaves_the_last_checkpoint",
        a_full_disk_leaves_the_last_checkpoint,
    ),
    (
        "another_run_in_the_folder_is_refused",
        another_run_in_the_folder_is_refused,
    ),
    (
        "a_checkpoint_that_does_not_fit_is_refused",
        a_checkpoint_that_does_not_fit_is_refused,
    ),
    (
        "broken_recordings_are_one_line",
        broken_recordings_are_one_line,
    ),
    (
        "a_short_demonstration_leaves_a_page",
        a_short_demonstration_leaves_a_page,
    ),
    ("a_spectrogram_is_a_picture", a_spectrogram_is_a_picture),
    #[cfg(unix)]
    (
        "names_that_are_no_utf8_are_printed",
        names_that_are_no_utf8_are_printed,
    ),
];

// ---- a corpus ----

/// 16-bit samples at 16 kHz.
fn wav(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|x| ((x * 32767.0) as i16).to_le_bytes())
        .collect();
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(16_000u32.to_le_bytes());
    out.extend(32_000u32.to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(16u16.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// A tone that glides up or down, half a second long, in some noise.
fn glide(up: bool, pitch: f32, seed: u32) -> Vec<f32> {
    let mut noise = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut phase = 0.0f32;
    (0..8000)
        .map(|i| {
            let t = i as f32 / 8000.0;
            let hz = pitch * (1.0 + if up { t } else { 1.0 - t });
            phase += hz / 16_000.0;
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.3 * (std::f32::consts::TAU * phase).sin()
                + 0.01 * ((noise >> 9) as f32 / 8_388_608.0 - 0.5)
        })
        .collect()
}

/// Two subjects, two classes, four recordings of each pair; the path of the manifest.
fn corpus() -> String {
    let mut lines = String::from("path,label,subject\n");
    let audio = folder().join("audio");
    std::fs::create_dir_all(&audio).unwrap();
    for (s, subject) in ["anna", "bert"].into_iter().enumerate() {
        for up in [true, false] {
            for k in 0..4 {
                let name = format!("{subject}-{up}-{k}.wav");
                let pitch = 200.0 + 150.0 * s as f32 + 20.0 * k as f32;
                let place = audio.join(&name);
                if !place.exists() {
                    let seed = 100 * s as u32 + 10 * u32::from(up) + k;
                    // Written beside and renamed: other tests may be reading.
                    let new = audio.join(format!(".{name}.{:?}", std::thread::current().id()));
                    std::fs::write(&new, wav(&glide(up, pitch, seed))).unwrap();
                    std::fs::rename(&new, &place).unwrap();
                }
                let class = if up { "rising" } else { "falling" };
                lines.push_str(&format!("audio/{name},{class},{subject}\n"));
            }
        }
    }
    file("corpus.csv", lines.as_bytes())
}

/// The arguments of a short training.
fn training<'a>(corpus: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "train",
        "speech-swin",
        "--data",
        corpus,
        "--protocol",
        "loso",
        "--json",
    ];
    arguments.extend(more);
    arguments
}

/// The JSON object that a training ends with.
fn trained(corpus: &str, more: &[&str]) -> Value {
    let output = run(&training(corpus, more));
    assert_eq!(
        output.status.code(),
        Some(0),
        "{more:?}: {}",
        text(&output.stderr)
    );
    let printed = text(&output.stdout);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    serde_json::from_str(&printed).unwrap()
}

fn checkpoint(run: &str, fold: &str) -> Vec<u8> {
    std::fs::read(Path::new(run).join(fold).join("checkpoint.safetensors")).unwrap()
}

// ---- what goes well ----

fn a_run_is_trained_tested_and_used() {
    let corpus = corpus();
    let out = path("used");
    let object = trained(
        &corpus,
        &[
            "--out",
            &out,
            "--epochs",
            "6",
            "--batch-size",
            "4",
            "--seed",
            "3",
        ],
    );
    assert_eq!(object["model"], "speech-swin");
    assert_eq!(object["config"], "small");
    assert_eq!(object["protocol"], "loso");
    assert_eq!(object["seed"], 3);
    assert!(object["seconds"].as_f64().unwrap() > 0.0);
    assert!(!object["device"].as_str().unwrap().is_empty());
    let folds = object["folds"].as_array().unwrap();
    let mut uar = 0.0;
    for (fold, name) in folds.iter().zip(["anna", "bert"]) {
        assert!(fold["name"].as_str().unwrap().ends_with(name), "{fold}");
        assert_eq!(fold["n"], 8);
        uar += fold["uar"].as_f64().unwrap() / 2.0;
        for key in ["uar", "war", "f1"] {
            let score = fold[key].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&score), "{fold}");
        }
    }
    assert!((object["mean"]["uar"].as_f64().unwrap() - uar).abs() < 1e-9);
    for name in ["run.json", "result.json", "confusion.svg", "curves.svg"] {
        assert!(Path::new(&out).join(name).is_file(), "{name}");
    }
    let names: Vec<String> = folds
        .iter()
        .map(|f| f["name"].as_str().unwrap().replace(' ', "-"))
        .collect();
    let metrics = std::fs::read_to_string(Path::new(&out).join(&names[0]).join("metrics.jsonl"));
    let lines: Vec<Value> = metrics
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[5]["loss"].as_f64().unwrap() < lines[0]["loss"].as_f64().unwrap());
    assert!(lines[5]["test"]["uar"].is_number());

    // Going on with a run that has ended gives the same result without a step.
    let again = trained(
        &corpus,
        &[
            "--out",
            &out,
            "--epochs",
            "6",
            "--batch-size",
            "4",
            "--seed",
            "3",
            "--resume",
        ],
    );
    assert_eq!(again["folds"], object["folds"]);

    // The model of a fold, tested on the corpus and asked about a file. It has heard bert, not anna.
    let tested: Value = serde_json::from_str(&done(&[
        "eval", &out, "--data", &corpus, "--fold", "anna", "--json",
    ]))
    .unwrap();
    assert_eq!(tested["n"], 16);
    assert_eq!(tested["folds"].as_array().unwrap().len(), 1);
    let counts: u64 = tested["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(counts, 16);
    let audio = folder().join("audio/anna-true-0.wav");
    let heard: Value =
        serde_json::from_str(&done(&["predict", &out, audio.to_str().unwrap(), "--json"])).unwrap();
    let probabilities = heard["files"][0]["probabilities"].as_object().unwrap();
    let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{heard}");
    assert!(probabilities.contains_key(heard["files"][0]["class"].as_str().unwrap()));
    let table = done(&["predict", &out, audio.to_str().unwrap()]);
    assert!(
        table.contains("rising") && table.contains("falling"),
        "{table}"
    );
    refused(
        &["predict", &out, audio.to_str().unwrap(), "--fold", "carl"],
        &["carl", "anna", "bert"],
    );
}

/// The same sound at three rates, as the model hears it. RAVDESS has 48 kHz.
fn another_sample_rate_is_resampled() {
    let corpus = corpus();
    let out = path("rates");
    trained(
        &corpus,
        &["--out", &out, "--epochs", "1", "--folds", "anna"],
    );
    let heard = |hz: u32| -> f64 {
        let samples: Vec<f32> = (0..hz / 2)
            .map(|i| {
                let t = f64::from(i) / f64::from(hz);
                let phase = 300.0 * t + 200.0 * t * t;
                (0.3 * (std::f64::consts::TAU * phase).sin()) as f32
            })
            .collect();
        let mut bytes = wav(&samples);
        bytes[24..28].copy_from_slice(&hz.to_le_bytes());
        bytes[28..32].copy_from_slice(&(2 * hz).to_le_bytes());
        let sound = file(&format!("{hz}.wav"), &bytes);
        let said: Value =
            serde_json::from_str(&done(&["predict", &out, &sound, "--json"])).unwrap();
        said["files"][0]["probabilities"]["rising"]
            .as_f64()
            .unwrap()
    };
    let expected = heard(16_000);
    for hz in [44_100, 48_000] {
        let got = heard(hz);
        assert!((got - expected).abs() < 0.1, "{hz}: {got}, not {expected}");
    }
}

/// The input of the model is 2.6 s long. Silence in the middle says nothing of the whole.
fn a_long_recording_is_heard_in_segments() {
    let corpus = corpus();
    let out = path("long");
    trained(
        &corpus,
        &["--out", &out, "--epochs", "1", "--folds", "anna"],
    );
    let sound = |seconds: f64, name: &str| {
        let n = (16_000.0 * seconds) as usize;
        let quiet = n / 4..n - n / 4;
        let samples: Vec<f32> = (0..n)
            .map(|i| {
                let t = i as f64 / 16_000.0;
                let phase = 300.0 * t + 40.0 * t * t;
                let level = if quiet.contains(&i) { 1e-3 } else { 0.3 };
                (level * (std::f64::consts::TAU * phase).sin()) as f32
            })
            .collect();
        file(name, &wav(&samples))
    };
    let heard = |sound: &str, options: &[&str]| -> Vec<f64> {
        let mut call = vec!["predict", out.as_str(), sound, "--json"];
        call.extend(options);
        let said: Value = serde_json::from_str(&done(&call)).unwrap();
        let of = said["files"][0]["probabilities"].as_object().unwrap();
        of.values().map(|p| p.as_f64().unwrap()).collect()
    };
    let short = sound(2.0, "short.wav");
    let middle = heard(&short, &["--excerpt", "middle"]);
    assert_eq!(heard(&short, &["--excerpt", "segments"]), middle);
    let long = sound(10.0, "long.wav");
    let middle = heard(&long, &[]);
    assert_eq!(heard(&long, &["--excerpt", "middle"]), middle);
    let all = heard(&long, &["--excerpt", "segments"]);
    assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{all:?}");
    assert!((all[0] - middle[0]).abs() > 1e-4, "{all:?}, {middle:?}");
    refused(
        &["predict", &out, &long, "--excerpt", "end"],
        &["end", "middle"],
    );
}

/// With a learning rate that changes nothing, the second run is the first one.
fn a_run_starts_from_the_weights_of_another() {
    let corpus = corpus();
    let (first, second) = (path("source"), path("started"));
    let short = ["--epochs", "1", "--folds", "anna"];
    trained(&corpus, &[&["--out", first.as_str()], &short[..]].concat());
    let weights = format!("{first}/anna/checkpoint.safetensors");
    let from = |weights: &str| {
        let still = ["--seed", "7", "--lr", "1e-30", "--out", &second];
        let call = [&still[..], &["--weights", weights], &short[..]].concat();
        run(&training(&corpus, &call))
    };
    let output = from(&weights);
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    assert!(talk.contains("parameters start from it"), "{talk}");
    let sound = format!("{}/audio/anna-true-0.wav", folder().display());
    let heard = |run: &str| done(&["predict", run, &sound, "--json"]);
    let probabilities = |run: &str| -> Value {
        let said: Value = serde_json::from_str(&heard(run)).unwrap();
        said["files"][0]["probabilities"].clone()
    };
    assert_eq!(probabilities(&second), probabilities(&first));
    // A run that goes on must have begun with the same weights.
    let other = ["--seed", "7", "--lr", "1e-30", "--out", &second, "--resume"];
    let output = run(&training(&corpus, &[&other[..], &short[..]].concat()));
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{talk}");
    assert!(talk.contains("run.weights was"), "{talk}");
    let strange = file("strange.safetensors", b"strange");
    refused(&training(&corpus, &["--weights", &strange]), &["strange"]);
    let absent = path("absent.safetensors");
    refused(&training(&corpus, &["--weights", &absent]), &["absent"]);
}

fn folds_trained_one_by_one_are_one_run() {
    let corpus = corpus();
    let (parts, whole) = (path("one-by-one"), path("at-once"));
    let one = |out: &str, more: &[&str]| {
        trained(&corpus, &[&["--out", out, "--epochs", "1"], more].concat())
    };
    let anna = one(&parts, &["--folds", "anna"]);
    assert_eq!(anna["folds"].as_array().unwrap().len(), 1);
    let bert = one(&parts, &["--folds", "bert", "--resume"]);
    // What was asked for is printed; the folder is of both.
    assert_eq!(bert["folds"].as_array().unwrap().len(), 1);
    let all = one(&whole, &[]);
    let result = |run: &str| std::fs::read_to_string(Path::new(run).join("result.json")).unwrap();
    assert_eq!(result(&parts), result(&whole));
    assert_eq!(all["folds"][0], anna["folds"][0]);
    assert_eq!(all["folds"][1], bert["folds"][0]);
}

fn another_corpus_is_tested_on_the_classes_it_shares() {
    let corpus = corpus();
    let out = path("shared");
    trained(
        &corpus,
        &["--out", &out, "--epochs", "1", "--folds", "anna"],
    );
    // The classes of the run are falling, rising; this corpus lacks the first and begins with one of its own.
    let mut lines = String::from("path,label,subject\n");
    for k in 0..4 {
        lines.push_str(&format!("audio/anna-false-{k}.wav,calm,anna\n"));
        lines.push_str(&format!("audio/anna-true-{k}.wav,rising,anna\n"));
    }
    let other = file("other.csv", lines.as_bytes());
    let output = run(&["eval", &out, "--data", &other, "--json"]);
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    assert!(talk.contains("calm"), "{talk}");
    let tested: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tested["classes"], serde_json::json!(["falling", "rising"]));
    assert_eq!(tested["n"], 4);
    assert_eq!(tested["confusion"][0], serde_json::json!([0, 0]));
    // With a class only, recall is the share of right answers.
    assert_eq!(tested["uar"], tested["war"]);
    let strange = file(
        "strange.csv",
        b"path,label,subject\naudio/anna-true-0.wav,calm,anna\n",
    );
    refused(
        &["eval", &out, "--data", &strange],
        &["falling, rising", "calm"],
    );
}

fn the_same_seed_gives_the_same_bits() {
    let corpus = corpus();
    for batch_size in ["1", "7", "64"] {
        let checkpoints: Vec<Vec<u8>> = [false, true]
            .map(|busy| {
                // The second run shares the machine with a thread that never rests.
                let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(!busy));
                let seen = stop.clone();
                let thread = std::thread::spawn(move || {
                    while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
                let out = path(&format!("bits-{batch_size}-{busy}"));
                trained(
                    &corpus,
                    &[
                        "--out",
                        &out,
                        "--epochs",
                        "2",
                        "--batch-size",
                        batch_size,
                        "--folds",
                        "anna",
                    ],
                );
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                thread.join().unwrap();
                checkpoint(&out, "anna")
            })
            .to_vec();
        assert!(checkpoints[0] == checkpoints[1], "batch size {batch_size}");
    }
}

/// Kills a training without a warning, a while after it has begun, or after it has written a checkpoint of its own.
/// Whether it was still running.
#[cfg(unix)]
fn kill_after(mut child: Child, checkpoint: Option<&Path>, wait: Duration) -> bool {
    let written = |file: &Path| std::fs::metadata(file).and_then(|m| m.modified()).ok();
    let before = checkpoint.map(written);
    let mut begin = std::time::Instant::now();
    let mut waits = before.is_some();
    while waits || begin.elapsed() < wait {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if waits && checkpoint.map(written) != before {
            waits = false;
            begin = std::time::Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

#[cfg(unix)]
fn a_run_that_is_killed_ends_in_the_same_bits() {
    let corpus = corpus();
    let settings = [
        "--epochs",
        "60",
        "--batch-size",
        "3",
        "--folds",
        "anna",
        "--ema",
        "0.9",
    ];
    let whole = path("whole");
    let mut arguments = vec!["--out", &whole];
    arguments.extend(settings);
    let expected = trained(&corpus, &arguments);
    let broken = path("broken");
    let mut arguments = vec!["--out", &broken, "--checkpoint-steps", "2", "--resume"];
    arguments.extend(settings);
    let file = Path::new(&broken).join("anna/checkpoint.safetensors");
    let mut random = 12345u32;
    let mut share = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(random >> 8) / 16_777_216.0
    };
    let mut n_killed = 0;
    for turn in 0..20 {
        let child = command(&training(&corpus, &arguments))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In turn: anywhere from the start of the process to some of its first steps, and soon after a checkpoint that this
        // process has written, so that the run gets on. The 180 steps are more than all of these turns make.
        let killed = match turn % 2 {
            0 => kill_after(child, None, Duration::from_secs_f64(1.5 * share())),
            _ => kill_after(child, Some(&file), Duration::from_secs_f64(0.05 * share())),
        };
        n_killed += u32::from(killed);
    }
    // All of them on lavapipe; a fast device may have ended the run before.
    assert!(n_killed >= 3, "{n_killed} of 20 runs were killed");
    assert!(file.is_file(), "there was a checkpoint to go on from");
    let got = trained(&corpus, &arguments);
    assert_eq!(got["folds"], expected["folds"]);
    assert!(checkpoint(&broken, "anna") == checkpoint(&whole, "anna"));
    let metrics = |run: &str| std::fs::read(Path::new(run).join("anna/metrics.jsonl")).unwrap();
    assert_eq!(metrics(&broken), metrics(&whole));
}

fn several_seeds_have_a_deviation() {
    let corpus = corpus();
    let object = trained(
        &corpus,
        &[
            "--seeds", "2", "--seed", "5", "--epochs", "1", "--folds", "bert",
        ],
    );
    assert_eq!(object["seeds"], serde_json::json!([5, 6]));
    assert_eq!(object["folds"].as_array().unwrap().len(), 2);
    assert_eq!(object["folds"][1]["seed"], 6);
    for key in ["uar", "war", "f1"] {
        assert!(
            object["std"][key].is_number() && object["mean"][key].is_number(),
            "{object}"
        );
    }
}

// ---- what goes wrong ----

fn a_loss_that_is_no_number_stops() {
    let corpus = corpus();
    let out = path("diverged");
    let output = run(&training(
        &corpus,
        &[
            "--out",
            &out,
            "--epochs",
            "3",
            "--batch-size",
            "2",
            "--folds",
            "anna",
            "--lr",
            "1e38",
        ],
    ));
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{talk}");
    let last = talk.lines().last().unwrap();
    assert!(last.starts_with("affekt: step "), "{last}");
    assert!(last.ends_with("is not finite"), "{last}");
    assert!(last.contains("the gradient of "), "{last}");
    // Whatever was saved before is finite.
    if let Ok(bytes) = std::fs::read(Path::new(&out).join("anna/checkpoint.safetensors")) {
        assert!(all_finite(&bytes));
    }
}

fn a_checkpoint_is_finite_or_not_written() {
    let corpus = corpus();
    let out = path("overflowed");
    // So large that the first step overflows f32: the loss before it is finite, and a checkpoint is due after it.
    let arguments = [
        "--out",
        &out,
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--folds",
        "anna",
        "--lr",
        "3.4e38",
        "--checkpoint-steps",
        "1",
    ];
    let output = run(&training(&corpus, &arguments));
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{talk}");
    let last = talk.lines().last().unwrap();
    assert!(last.starts_with("affekt: step "), "{last}");
    assert!(last.ends_with(" is not finite"), "{last}");
    assert!(last.contains("model."), "{last}");
    let file = Path::new(&out).join("anna/checkpoint.safetensors");
    if let Ok(bytes) = std::fs::read(file) {
        assert!(all_finite(&bytes), "{last}");
    }
}

/// Whether every number behind the header of a checkpoint is finite.
fn all_finite(bytes: &[u8]) -> bool {
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + n..]
        .chunks_exact(4)
        .all(|word| f32::from_le_bytes(word.try_into().unwrap()).is_finite())
}

/// Runs a training until it has written a checkpoint, and kills it then.
#[cfg(unix)]
fn killed_after_a_checkpoint(corpus: &str, arguments: &[&str], file: &Path) {
    let mut child = command(&training(corpus, arguments))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = std::time::Instant::now();
    while !file.is_file() {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "no checkpoint came"
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended without a checkpoint"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[cfg(unix)]
fn a_full_disk_leaves_the_last_checkpoint() {
    let corpus = corpus();
    let out = path("full");
    let arguments = [
        "--out",
        &out,
        "--epochs",
        "20",
        "--batch-size",
        "2",
        "--folds",
        "anna",
        "--checkpoint-steps",
        "1",
        "--resume",
    ];
    let file = Path::new(&out).join("anna/checkpoint.safetensors");
    killed_after_a_checkpoint(&corpus, &arguments, &file);
    let before = std::fs::read(&file).unwrap();
    // No file may grow beyond 1 MB; a checkpoint has 7. The signal is ignored, so that writing fails as on a full disk.
    let inner = command(&training(&corpus, &arguments));
    let mut shell = std::process::Command::new("sh");
    shell
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"")
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = shell.output().unwrap();
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{talk}");
    assert!(
        talk.lines()
            .last()
            .unwrap()
            .contains("checkpoint.safetensors"),
        "{talk}"
    );
    assert!(!talk.contains("panicked"), "{talk}");
    assert!(std::fs::read(&file).unwrap() == before);
    // Nothing else is left beside it, and the run goes on from it.
    let left: Vec<String> = std::fs::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let audio = folder().join("audio/anna-true-0.wav");
    let output = run(&["predict", &out, audio.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let talk = text(&output.stderr);
    assert!(talk.contains("its training has not ended"), "{talk}");
}

fn another_run_in_the_folder_is_refused() {
    let corpus = corpus();
    let out = path("taken");
    let settings = ["--out", &out, "--epochs", "1", "--folds", "anna"];
    trained(&corpus, &settings);
    let with = |more: &[&'static str]| {
        let mut arguments: Vec<&str> = settings.to_vec();
        arguments.extend(more);
        let output = run(&training(&corpus, &arguments));
        assert_eq!(output.status.code(), Some(2));
        let talk = text(&output.stderr);
        talk.lines().last().unwrap().to_string()
    };
    let line = with(&[]);
    assert!(
        line.contains("run.json") && line.contains("--resume"),
        "{line}"
    );
    let line = with(&["--seed", "1", "--resume"]);
    assert!(line.contains("run.seed was 0, is 1"), "{line}");
    let line = with(&["--batch-size", "2", "--resume"]);
    assert!(line.contains("batch_size was 16, is 2"), "{line}");
    // Another machine, as the folder tells it.
    let run_json = Path::new(&out).join("run.json");
    let mut about: Value = serde_json::from_slice(&std::fs::read(&run_json).unwrap()).unwrap();
    about["machine"]["adapter"] = "vulkan:another".into();
    std::fs::write(&run_json, about.to_string()).unwrap();
    let line = with(&["--resume"]);
    assert!(
        line.contains("vulkan:another") && line.contains("--force"),
        "{line}"
    );
    let mut forced = settings.to_vec();
    forced.extend(["--resume", "--force"]);
    trained(&corpus, &forced);
}

fn a_checkpoint_that_does_not_fit_is_refused() {
    let corpus = corpus();
    let out = path("strange");
    trained(
        &corpus,
        &["--out", &out, "--epochs", "1", "--folds", "anna"],
    );
    let file = Path::new(&out).join("anna/checkpoint.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + n]).unwrap().to_string();
    let audio = folder().join("audio/anna-true-0.wav");
    let audio = audio.to_str().unwrap();
    let changed = |from: &str, to: &str, words: &[&str]| {
        assert_eq!(from.len(), to.len());
        assert!(header.contains(from), "{from}");
        let mut new = bytes[..8].to_vec();
        new.extend(header.replacen(from, to, 1).as_bytes());
        new.extend(&bytes[8 + n..]);
        std::fs::write(&file, new).unwrap();
        refused(&["predict", &out, audio], words);
    };
    changed(
        "model.head.bias",
        "model.hood.bias",
        &["missing: head.bias", "unexpected: hood.bias"],
    );
    changed(
        "model.head.bias",
        "modal.head.bias",
        &["unknown key modal.head.bias"],
    );
    changed(
        "\"shape\":[96,32]",
        "\"shape\":[32,96]",
        &["is [32, 96], expected [96, 32]"],
    );
    // A number of the same length instead of a name: there are two classes, and one of them has none.
    changed(
        r#"\"classes\":[\"falling\","#,
        r#"\"classes\":[12345678901,"#,
        &["class that is no text"],
    );
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    refused(
        &["predict", &out, audio],
        &["checkpoint.safetensors", "cut short"],
    );
    // Statistics of fewer mels: both tensors lose their last number.
    let shortened = {
        let mut head: Value = serde_json::from_str(&header).unwrap();
        let mut tail = bytes[8 + n..].to_vec();
        for name in ["input.deviation", "input.mean"] {
            let ends = head[name]["data_offsets"].clone();
            let (from, to) = (ends[0].as_u64().unwrap(), ends[1].as_u64().unwrap());
            tail.drain(to as usize - 4..to as usize);
            for (_, tensor) in head.as_object_mut().unwrap() {
                let ends = tensor.get_mut("data_offsets").and_then(Value::as_array_mut);
                for end in ends.into_iter().flatten() {
                    let at = end.as_u64().unwrap();
                    if at > from {
                        *end = (at - 4).into();
                    }
                }
            }
            head[name]["shape"] = serde_json::json!([63]);
        }
        let head = head.to_string();
        let mut new = (head.len() as u64).to_le_bytes().to_vec();
        new.extend(head.as_bytes());
        new.extend(tail);
        new
    };
    std::fs::write(&file, shortened).unwrap();
    refused(
        &["predict", &out, audio],
        &["statistics of 63 mels, its model takes 64"],
    );
    std::fs::write(&file, b"").unwrap();
    refused(
        &["predict", &out, audio],
        &["checkpoint.safetensors", "empty"],
    );
    refused(&["predict", &path("nowhere"), audio], &["nowhere"]);
    std::fs::create_dir_all(path("hollow")).unwrap();
    refused(&["predict", &path("hollow"), audio], &["no run"]);
}

fn broken_recordings_are_one_line() {
    let good = wav(&glide(true, 200.0, 1));
    let mut lying = good.clone();
    lying[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    let corpus = corpus();
    let out = path("for-broken");
    trained(
        &corpus,
        &["--out", &out, "--epochs", "1", "--folds", "anna"],
    );
    let nan: Vec<u8> = {
        // 32-bit float with a NaN in it.
        let mut bytes = wav(&[0.0; 400]);
        bytes[20..22].copy_from_slice(&3u16.to_le_bytes());
        bytes[28..32].copy_from_slice(&64_000u32.to_le_bytes());
        bytes[32..34].copy_from_slice(&4u16.to_le_bytes());
        bytes[34..36].copy_from_slice(&32u16.to_le_bytes());
        bytes[44..48].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    };
    let mut slow = good.clone();
    slow[24..28].copy_from_slice(&3_000u32.to_le_bytes());
    slow[28..32].copy_from_slice(&6_000u32.to_le_bytes());
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("cut.wav", good[..good.len() / 2].to_vec(), "cut.wav"),
        ("lying.wav", lying, "lying.wav"),
        ("empty.wav", Vec::new(), "empty"),
        ("text.wav", b"this is no recording".to_vec(), "text.wav"),
        ("nothing.wav", wav(&[]), "nothing.wav"),
        ("silent.wav", wav(&[0.0; 8000]), "silent.wav"),
        ("short.wav", wav(&glide(true, 200.0, 1)[..100]), "short.wav"),
        ("nan.wav", nan, "nan.wav"),
        ("slow.wav", slow, "3000 Hz, expected at least 4000 Hz"),
        ("cut.flac", b"fLaC\x00\x00".to_vec(), "cut.flac"),
    ];
    for (name, bytes, word) in cases {
        let broken = file(name, bytes);
        refused(&["predict", &out, &broken], &[word]);
        if *name != "slow.wav" {
            refused(&["spectrogram", &broken, &path("x.png")], &[name]);
        }
        let manifest = file(
            &format!("{name}.csv"),
            format!(
                "path,label,subject\n{name},a,one\naudio/anna-true-0.wav,b,one\naudio/anna-true-1.wav,a,two\n\
                 audio/anna-true-2.wav,b,two\n"
            )
            .as_bytes(),
        );
        let output = run(&training(&manifest, &["--epochs", "1"]));
        assert_eq!(output.status.code(), Some(2), "{name}");
        let talk = text(&output.stderr);
        assert!(
            talk.lines().last().unwrap().contains(word),
            "{name}: {talk}"
        );
        assert!(!talk.contains("panicked"), "{talk}");
    }
}

fn wrong_calls_are_one_line() {
    let corpus = corpus();
    let train = |more: &[&str], words: &[&str]| {
        let output = run(&training(&corpus, more));
        refusal(&output, words, &format!("{more:?}"));
    };
    train(&["--config", "huge"], &["huge", "small, paper"]);
    let split = |protocol: &str, words: &[&str]| {
        let call = [
            "train",
            "speech-swin",
            "--data",
            &corpus,
            "--protocol",
            protocol,
        ];
        refused(&call, words);
    };
    split("lozo", &["lozo", "loso"]);
    split("kfold:7", &["kfold", "7"]);
    split("fixed:carl", &["carl"]);
    train(&["--folds", "carl"], &["carl", "anna", "bert"]);
    train(&["--epochs", "0"], &["epochs"]);
    train(
        &["--seed", "18446744073709551615", "--seeds", "2"],
        &["18446744073709551615"],
    );
    train(&["--lr", "-1"], &["-1"]);
    train(&["--lr", "1e39"], &["lr", "3.4e38"]);
    train(&["--ema", "1"], &["ema"]);
    train(&["--resume"], &["--out"]);
    refused(
        &["train", "speech-swan", "--data", &corpus],
        &["speech-swan", "speech-swin"],
    );
    refused(
        &["train", "speech-swin", "--data", &path("absent")],
        &["absent"],
    );
    // A fold is named in full: Smith is neither of these two.
    let smiths = file(
        "smiths.csv",
        b"path,label,subject\na.wav,x,Ann Smith\nb.wav,y,Ann Smith\nc.wav,x,Bob Smith\nd.wav,y,Bob Smith\n",
    );
    for name in ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"] {
        file(name, b"");
    }
    refused(
        &[
            "train",
            "speech-swin",
            "--data",
            &smiths,
            "--folds",
            "Smith",
        ],
        &["no fold \"Smith\"; there is Ann Smith, Bob Smith"],
    );
    let single = file(
        "single.csv",
        b"path,label,subject\na.wav,x,one\nb.wav,y,one\nc.wav,x,two\nd.wav,x,three\ne.wav,y,three\n",
    );
    refused(
        &["train", "speech-swin", "--data", &single],
        &["subject two has one class only (x)"],
    );
    let one = file("one.csv", b"path,label,subject\na.wav,x,one\nb.wav,y,one\n");
    refused(&["train", "speech-swin", "--data", &one], &["1 subject"]);
}

/// Names of files are bytes on unix; JSON has them with a mark where they are no letters.
#[cfg(unix)]
fn names_that_are_no_utf8_are_printed() {
    use std::os::unix::ffi::OsStrExt as _;
    corpus();
    let audio = folder().join("audio/bert-false-1.wav");
    let picture = folder().join(std::ffi::OsStr::from_bytes(b"odd-\xff.png"));
    let output = command(&["spectrogram", "--json"])
        .args([&audio, &picture])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = object["file"].as_str().unwrap();
    assert!(said.ends_with("odd-\u{fffd}.png"), "{said}");
    assert!(picture.is_file());
}

fn a_short_demonstration_leaves_a_page() {
    let page = path("demo.html");
    let short = ["demo", "--utterances", "40", "--epochs", "1", "--json"];
    let output = command(&short).args(["--out", &page]).output().unwrap();
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Forty utterances in batches of sixteen.
    assert_eq!(object["n_steps"], 3);
    assert!(object["n_checks"].as_u64().unwrap() >= 14, "{object}");
    for key in ["accuracy", "baseline"] {
        let share = object[key].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share), "{object}");
    }
    assert!(std::fs::read_to_string(&page).unwrap().contains("<svg"));
    // Where no page can be written, that is said before the work: one line and no talk of kernels or speech.
    let nowhere = path("nowhere/demo.html");
    refused(&["demo", "--out", &nowhere], &["nowhere/demo.html"]);
    std::fs::create_dir_all(path("taken.html")).unwrap();
    refused(&["demo", "--out", &path("taken.html")], &["taken.html"]);
}

fn a_spectrogram_is_a_picture() {
    corpus();
    let audio = folder().join("audio/bert-false-1.wav");
    let picture = path("picture.png");
    let line = done(&[
        "spectrogram",
        audio.to_str().unwrap(),
        &picture,
        "--mels",
        "64",
        "--scale",
        "2",
    ]);
    assert!(line.contains("64 bands, 51 frames, 0.50 s"), "{line}");
    let png = std::fs::read(&picture).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    let size = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((size(16), size(20)), (2 * 51, 2 * 64));
    refused(
        &["spectrogram", audio.to_str().unwrap(), "/nowhere/x.png"],
        &["/nowhere/x.png"],
    );
}
