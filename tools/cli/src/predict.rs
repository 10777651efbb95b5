//! `affekt predict`: what a trained run hears in recordings.

use std::io::{self, Write as _};
use std::path::PathBuf;

use affekt::gpu::Limits;
use affekt::train::fit::largest;
use clap::Args;
use serde_json::json;

use crate::outcome::Outcome;
use crate::print;
use crate::session::Session;
use crate::trained::Chosen;

/// Say what emotion a trained run hears in recordings
#[derive(Args)]
#[command(
    after_help = "With several folds in the run, the probabilities of their models are averaged.\n\n\
                  Example:\n  affekt predict runs/emodb hello.wav --json"
)]
pub struct Predict {
    #[command(flatten)]
    chosen: Chosen,
    /// WAV or FLAC files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Predict {
    pub fn run(&self, session: &Session) -> Outcome {
        let device = session.open(Limits::Full)?;
        let trained = self.chosen.open(&device)?;
        let spectrograms = self
            .files
            .iter()
            .map(|file| trained.front_end.read(&device, file))
            .collect::<affekt::Result<Vec<_>>>()?;
        let probabilities = trained.predict(&device, &spectrograms)?;
        let mut out = io::stdout().lock();
        if self.json {
            let files: Vec<_> = self
                .files
                .iter()
                .zip(&probabilities)
                .map(|(file, row)| {
                    let of_classes = trained
                        .classes
                        .iter()
                        .cloned()
                        .zip(row.iter().map(|p| json!(p)));
                    json!({
                        "file": file.display().to_string(),
                        "class": trained.classes[largest(row)],
                        "probabilities": serde_json::Map::from_iter(of_classes),
                    })
                })
                .collect();
            let object = json!({
                "device": device.adapter().label(),
                "folds": trained.folds(),
                "files": files,
            });
            print::json(&mut out, &object)?;
        } else {
            let mut heading = vec!["file", "emotion"];
            heading.extend(trained.classes.iter().map(String::as_str));
            let rows: Vec<Vec<String>> = self
                .files
                .iter()
                .zip(&probabilities)
                .map(|(file, row)| {
                    let mut line = vec![
                        file.display().to_string(),
                        trained.classes[largest(row)].clone(),
                    ];
                    line.extend(row.iter().map(|p| format!("{p:.3}")));
                    line
                })
                .collect();
            print::table(&mut out, &heading, &rows)?;
        }
        Ok(out.flush()?)
    }
}
