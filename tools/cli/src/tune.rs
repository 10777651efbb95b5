//! `affekt tune`: a plan table for this adapter.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use affekt::bench::rows;
use affekt::bench::tune::{Event, tune};
use affekt::ops::plan_table;
use clap::Args;
use serde_json::json;

use crate::check::Profile;
use crate::outcome::{Failure, Outcome, say};
use crate::print;
use crate::progress::{Progress, bar, clock};
use crate::session::{Session, try_beside};

/// Measure which kernels are fastest on this adapter and prefer them from now on
#[derive(Args)]
#[command(
    after_help = "The table is stored after each plan that is settled, so that an interruption keeps what was found. Without it the built-in plans are used, which were measured on other machines. Only kernels that are right \
                  here are picked. A table changes the last bits of results, so a training run is resumed only with the one \
                  that it was begun with.\n\nExamples:\n  affekt tune --seconds 120\n  affekt tune softmax --out plans.json\n  affekt tune --forget"
)]
pub struct Tune {
    /// Only cases whose name, operator/case, contains this
    filter: Option<String>,
    /// Most seconds to spend; what is not reached keeps its plan
    #[arg(
        long,
        value_name = "S",
        default_value_t = 120.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Write the table here instead of where the engine looks for it; an app can ship such a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go back to the built-in plans: remove the table of this adapter
    #[arg(long, conflicts_with_all = ["filter", "out", "seconds", "json"])]
    forget: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Tune {
    pub fn run(&self, session: &Session) -> Outcome {
        if !(self.seconds > 0.0 && self.seconds.is_finite()) {
            return Err(Failure::Wrong(format!(
                "--seconds is {}, expected a time above 0",
                self.seconds
            )));
        }
        let device = session.open(Profile::Full.limits())?;
        let kept = plan_table::file(&device);
        if self.forget {
            return forget(kept);
        }
        let Some(file) = self.out.clone().or(kept) else {
            return Err(Failure::Wrong(
                "this system names no folder for caches; --out FILE says where the table goes"
                    .to_string(),
            ));
        };
        // Before the time is spent, not after it. A folder for caches that cannot be written is a warning alone.
        let shipped = self.out.is_some();
        if shipped {
            try_beside(&file)?;
        }
        let subjects = rows::subjects(self.filter.as_deref());
        if subjects.is_empty() {
            return Err(Failure::Wrong(format!(
                "no case has {:?} in its name",
                self.filter.as_deref().unwrap_or_default()
            )));
        }
        say(&format!(
            "{} on {}, for {} at most",
            print::counted(subjects.len(), "case"),
            device.adapter().label(),
            clock(self.seconds)
        ));
        let start = Instant::now();
        let mut progress = Progress::default();
        let mut lines = Vec::new();
        let mut n_kept = 0;
        // The table so far.
        let mut stored = false;
        let limit = Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX);
        let tuned = tune(&device, &subjects, limit, &mut |event| match event {
            Event::Trying { name, i, n } => {
                let spent = start.elapsed().as_secs_f64();
                let share = i as f64 / n as f64;
                progress.show(&format!("{} {i}/{n} {} {name}", bar(share), clock(spent)));
            }
            Event::Found {
                kind,
                planned,
                planned_secs,
                best,
                table,
                ..
            } => {
                match best {
                    None => n_kept += 1,
                    Some(best) => lines.push(vec![
                        kind.name(),
                        format!("{planned} {}", print::secs(planned_secs)),
                        format!("{}.{} {}", best.entry, best.variant, print::secs(best.secs)),
                        format!("{:.2}", planned_secs / best.secs),
                    ]),
                }
                // Whatever interrupts the rest leaves this. What cannot be written is said at the end.
                stored = table.write(&file).is_ok();
            }
            Event::OutOfTime { left } => {
                let left = print::counted(left, "case");
                progress.say(&format!("time is up; {left} not settled"));
            }
        });
        progress.clear();
        let table = match tuned {
            Ok(table) => table,
            Err(error) if stored => {
                return Err(Failure::Wrong(format!(
                    "{error}; what was settled until then is in {}",
                    file.display()
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let is_kept = match table.write(&file) {
            Err(error) if !shipped => {
                say(&format!("affekt: warning: the table is not kept: {error}"));
                false
            }
            written => {
                written?;
                true
            }
        };
        let mut out = io::stdout().lock();
        if self.json {
            print::json(
                &mut out,
                &json!({
                    "file": is_kept.then(|| file.display().to_string()),
                    "fingerprint": table.fingerprint(),
                    "n_kept": n_kept,
                    "rows": table.rows().flat_map(|(kind, list)| list.iter().map(move |p| json!({
                        "calls": kind.name(),
                        "entry": p.entry,
                        "variant": p.variant,
                        "secs": p.secs,
                        "planned": p.planned,
                        "planned_secs": p.planned_secs,
                    }))).collect::<Vec<_>>(),
                }),
            )?;
        } else {
            if !lines.is_empty() {
                print::table(&mut out, &["calls", "planned", "better", "times"], &lines)?;
            }
            writeln!(
                out,
                "plans that stand: {n_kept}, that are bettered: {}; the table is {}",
                lines.len(),
                match is_kept {
                    true => file.display().to_string(),
                    false => "not kept".to_string(),
                }
            )?;
        }
        Ok(out.flush()?)
    }
}

/// Removes the table where the engine looks for it.
fn forget(kept: Option<PathBuf>) -> Outcome {
    match kept.filter(|file| file.exists()) {
        None => say("there is no table of this adapter"),
        Some(file) => {
            std::fs::remove_file(&file)
                .map_err(|e| Failure::Wrong(format!("{}: {e}", file.display())))?;
            say(&format!("removed {}", file.display()));
        }
    }
    Ok(())
}
