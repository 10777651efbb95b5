//! `affekt eval`: a trained run on other data.

use std::io::{self, Write as _};
use std::path::PathBuf;

use affekt::data::Corpus;
use affekt::data::corpus::same_class;
use affekt::gpu::Limits;
use affekt::train::experiment::Trained;
use affekt::train::fit::largest;
use affekt::train::{Confusion, Scores};
use clap::Args;
use serde_json::json;

use crate::outcome::{Failure, Outcome, say};
use crate::print;
use crate::session::Session;
use crate::train::read;
use crate::trained::Chosen;

/// Test a trained run on a corpus
#[derive(Args)]
#[command(
    after_help = "With several folds in the run, the probabilities of their models are averaged; recordings that one\n\
                  of them was trained on are then no test. --fold takes the model of one fold.\n\n\
                  Example:\n  affekt eval runs/emodb --data ravdess --fold 03"
)]
pub struct Eval {
    #[command(flatten)]
    chosen: Chosen,
    /// Folder of the corpus, or a CSV file
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub fn run(&self, session: &Session) -> Outcome {
        let corpus = Corpus::open(&self.data, None)?;
        let device = session.open(Limits::Full)?;
        let trained = self.chosen.open(&device)?;
        if let n @ 2.. = trained.folds().len() {
            say(&format!(
                "the models of {n} folds are averaged; a recording that one of them has learned from is no test"
            ));
        }
        let known = |class: &str| same_class(class, &trained.classes).is_some();
        let left_out: Vec<&str> = corpus
            .classes
            .iter()
            .map(String::as_str)
            .filter(|c| !known(c))
            .collect();
        if left_out.len() == corpus.classes.len() {
            return Err(Failure::Wrong(format!(
                "the run knows {}, the corpus has {}",
                trained.classes.join(", "),
                corpus.classes.join(", ")
            )));
        }
        if !left_out.is_empty() {
            say(&format!(
                "left out, the run does not know them: {}",
                left_out.join(", ")
            ));
        }
        for class in &corpus.classes {
            let meant = same_class(class, &trained.classes).map(|i| &trained.classes[i]);
            if let Some(meant) = meant.filter(|meant| *meant != class) {
                say(&format!("{class} counts as {meant}"));
            }
        }
        // A class that the corpus lacks is no obstacle: nothing of it is tested.
        let corpus = corpus
            .only(|item| known(&corpus.classes[item.label]))
            .with_classes(&trained.classes)?;
        let data = read(&device, &corpus, &trained.front_end)?;
        let probabilities = trained.predict(&device, &data.spectrograms)?;
        let mut confusion = Confusion::new(trained.classes.len());
        for (item, row) in corpus.items.iter().zip(&probabilities) {
            confusion.add(item.label, largest(row))?;
        }
        let scores = confusion
            .scores()
            .ok_or_else(|| Failure::Wrong("there is nothing to test on".to_string()))?;
        self.print(&trained, &confusion, &scores, device.adapter().label())
    }

    fn print(
        &self,
        trained: &Trained,
        confusion: &Confusion,
        scores: &Scores,
        device: String,
    ) -> Outcome {
        let n = trained.classes.len();
        let mut out = io::stdout().lock();
        if self.json {
            let rows: Vec<Vec<u64>> = (0..n)
                .map(|r| (0..n).map(|p| confusion.count(r, p)).collect())
                .collect();
            let object = json!({
                "device": device,
                "folds": trained.folds(),
                "classes": trained.classes,
                "n": scores.n,
                "uar": scores.uar,
                "war": scores.war,
                "f1": scores.f1,
                "confusion": rows,
            });
            writeln!(out, "{object}")?;
        } else {
            let mut heading = vec!["is \\ taken for"];
            heading.extend(trained.classes.iter().map(String::as_str));
            heading.push("recall");
            let rows: Vec<Vec<String>> = (0..n)
                .map(|r| {
                    let mut row = vec![trained.classes[r].clone()];
                    row.extend((0..n).map(|p| confusion.count(r, p).to_string()));
                    row.push(
                        confusion
                            .recall(r)
                            .map_or("-".to_string(), |x| format!("{x:.3}")),
                    );
                    row
                })
                .collect();
            print::table(&mut out, &heading, &rows)?;
            writeln!(
                out,
                "\nUAR {:.3}, WAR {:.3}, F1 {:.3} of {} recordings",
                scores.uar, scores.war, scores.f1, scores.n
            )?;
        }
        Ok(out.flush()?)
    }
}
