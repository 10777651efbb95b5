//! What `affekt bench` prints for people: rows as they come, ladders, ceilings, steps, machines side by side.

use std::io::{self, Write as _};
use std::time::Instant;

use affekt::bench::compare::Line;
use affekt::bench::report::{
    Beside, Bound, Ceilings, Ladder, Machine, MemoryPoint, Row, RowVerdict, Step,
};
use affekt::bench::{Event, rows, rungs};

use crate::outcome::{flatten, say};
use crate::print;
use crate::progress::{Progress, bar, clock};

/// The table as it grows.
pub(super) struct Shown {
    quiet: bool,
    /// Of the longest name.
    width: usize,
    pub progress: Progress,
    start: Instant,
}

impl Shown {
    pub fn new(quiet: bool, subjects: &[rows::Subject]) -> Self {
        let widths = subjects.iter().map(|s| s.name().len());
        Shown {
            quiet,
            width: widths.max().unwrap_or(0),
            progress: Progress::default(),
            start: Instant::now(),
        }
    }

    pub fn measuring(&mut self, name: &str, i: usize, n: usize) {
        let share = i as f64 / n.max(1) as f64;
        let spent = self.start.elapsed().as_secs_f64();
        let line = format!("{} {i}/{n} {} {name}", bar(share), clock(spent));
        self.progress.show(&line);
    }

    pub fn tell_rungs(&mut self, event: rungs::Event<'_>) -> io::Result<()> {
        match event {
            rungs::Event::Measuring { name, i, n } => self.measuring(name, i, n),
            rungs::Event::Ladder(_) if self.quiet => {}
            rungs::Event::Ladder(ladder) => {
                self.progress.clear();
                let mut out = io::stdout().lock();
                print_ladder(&mut out, ladder)?;
                out.flush()?;
            }
        }
        Ok(())
    }

    pub fn tell(&mut self, event: Event<'_>) -> io::Result<()> {
        if let Event::Measuring { name, i, n } = event {
            self.measuring(name, i, n);
            return Ok(());
        }
        if self.quiet {
            return Ok(());
        }
        self.progress.clear();
        let mut out = io::stdout().lock();
        match event {
            Event::Measuring { .. } => {}
            Event::Ceilings(ceilings) => {
                print_ceilings(&mut out, ceilings)?;
                writeln!(
                    out,
                    "\n{:<width$}  {:>9}  {:>19}  {:>8}  {:>8}  {:>6}  {:<7}  runs",
                    "row",
                    "median",
                    "p10 to p90",
                    "GB/s",
                    "GFLOP/s",
                    "% of",
                    "bound",
                    width = self.width
                )?;
            }
            Event::Row(row) => self.row(&mut out, row)?,
            Event::Step(step) => {
                print_step(&mut out, step)?;
                for dropped in &step.dropped {
                    writeln!(out, "  wrong here and not used: {}", flatten(dropped))?;
                }
            }
            Event::Again {
                name,
                beside,
                detail,
            } => {
                writeln!(out, "{name}  again: {}", rounds(beside))?;
                if let Some(detail) = detail {
                    writeln!(out, "{name}  FAIL: {}", flatten(detail))?;
                }
            }
        }
        out.flush()
    }

    pub fn row(&self, out: &mut impl io::Write, row: &Row) -> io::Result<()> {
        let name = format!("{:<width$}", row.name(), width = self.width);
        let detail = flatten(row.detail.as_deref().unwrap_or_default());
        let timing = row.timing();
        match (row.verdict, row.median, timing) {
            (RowVerdict::Right, Some(median), Some(timing)) => writeln!(
                out,
                "{name}  {:>9}  {:>19}  {:>8}  {:>8}  {:>6}  {:<7}  {}{}",
                print::secs(median),
                format!("{} to {}", print::secs(timing.p10), print::secs(timing.p90)),
                row.gb_s.map_or("-".to_string(), |x| print::digits(x, 3)),
                row.gflop_s.map_or("-".to_string(), |x| print::digits(x, 3)),
                row.percent.map_or("-".to_string(), |x| format!("{x:.0}")),
                row.bound.map_or("-", bound_name),
                runs(row),
                marks(row)
            )?,
            (RowVerdict::Skipped, ..) => writeln!(out, "{name}  skipped: {detail}")?,
            _ => writeln!(out, "{name}  FAIL: {detail}")?,
        }
        for dropped in &row.dropped {
            writeln!(out, "  wrong here and not used: {}", flatten(dropped))?;
        }
        Ok(())
    }
}

/// What a reader must know before believing the line.
fn marks(row: &Row) -> String {
    let marks = [
        (row.noisy, "noisy"),
        (row.is_above_ceiling(), "above the ceiling"),
    ];
    let words: Vec<&str> = marks.iter().filter(|m| m.0).map(|m| m.1).collect();
    match words.is_empty() {
        true => String::new(),
        false => format!("  ({})", words.join(", ")),
    }
}

/// Medians of all rounds beside that of the baseline.
fn rounds(beside: &Beside) -> String {
    let rounds: Vec<String> = beside.rounds.iter().map(|r| print::secs(*r)).collect();
    format!(
        "{} in turn, {} in the baseline: {}",
        rounds.join(", "),
        beside.median.map_or("-".to_string(), print::secs),
        beside.change.name()
    )
}

fn print_ladder(out: &mut impl io::Write, ladder: &Ladder) -> io::Result<()> {
    writeln!(out, "{}  {}", ladder.name(), ladder.shapes)?;
    if let Some(detail) = &ladder.detail {
        return writeln!(out, "  not measured: {}", flatten(detail));
    }
    let cells: Vec<Vec<String>> = ladder
        .rungs
        .iter()
        .map(|rung| {
            let time = match (&rung.timing, &rung.skipped) {
                (Some(t), _) => print::secs(t.median),
                (None, reason) => {
                    format!("skipped: {}", reason.as_deref().unwrap_or_default())
                }
            };
            let ratio = match (rung.chosen, rung.chosen_over_this) {
                (true, _) => "chosen".to_string(),
                (false, Some(r)) => {
                    format!(
                        "chosen / this {:.2} ({:.2} to {:.2})",
                        r.value, r.low, r.high
                    )
                }
                (false, None) => String::new(),
            };
            let mark = if rung.chosen { "* " } else { "  " };
            vec![
                format!("{mark}{}", rung.entries.join(", ")),
                rung.rung.clone(),
                time,
                ratio,
            ]
        })
        .collect();
    print::table(out, &[], &cells)
}

/// What the ladders say in sum: the cases whose chosen rung is slower than another one.
pub(super) fn print_losers(
    out: &mut impl io::Write,
    machines: &[&Machine],
    margin: f64,
) -> io::Result<()> {
    for machine in machines {
        let ladders = &machine.ladders;
        if ladders.is_empty() {
            writeln!(out, "no operator here has several rungs")?;
            continue;
        }
        writeln!(out)?;
        let rungs = || ladders.iter().flat_map(|l| &l.rungs);
        writeln!(
            out,
            "{}: {}, {} timed, {} skipped, {} not measured",
            machine.environment.adapter,
            print::counted(ladders.len(), "ladder"),
            print::counted(rungs().filter(|r| r.timing.is_some()).count(), "rung"),
            rungs().filter(|r| r.skipped.is_some()).count(),
            print::counted(
                ladders.iter().filter(|l| l.detail.is_some()).count(),
                "ladder"
            )
        )?;
        for (what, naive) in [("naive", true), ("another rung", false)] {
            let losers: Vec<String> = ladders
                .iter()
                .flat_map(|ladder| {
                    let faster = ladder.faster(margin);
                    faster
                        .filter(|(rung, _)| rung.naive == naive)
                        .map(|(rung, ratio)| {
                            format!(
                                "{}: {:.2} of {}",
                                ladder.name(),
                                ratio.value,
                                rung.entries.join(" ")
                            )
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
            writeln!(
                out,
                "the chosen rung is slower than {what} in {}{}{}",
                print::counted(losers.len(), "case"),
                if losers.is_empty() { "" } else { ": " },
                losers.join("; ")
            )?;
        }
    }
    Ok(())
}

/// What the plan says, or else which kernels came to run.
fn runs(row: &Row) -> String {
    match (&row.plan, row.entries.is_empty()) {
        (Some(plan), false) if !row.entries.iter().any(|e| plan.starts_with(e.as_str())) => {
            format!("{}: {plan}", row.entries.join(", "))
        }
        (Some(plan), _) => plan.clone(),
        (None, false) => row.entries.join(", "),
        (None, true) => "fused".to_string(),
    }
}

fn bound_name(bound: Bound) -> &'static str {
    match bound {
        Bound::Memory => "memory",
        Bound::Compute => "compute",
        Bound::Launch => "launch",
    }
}

fn print_ceilings(out: &mut impl io::Write, ceilings: &Ceilings) -> io::Result<()> {
    let rows: Vec<Vec<String>> = ceilings
        .memory
        .iter()
        .map(|p| {
            let rates = p.rates().map(|rate| print::digits(rate, 3));
            [vec![print::bytes(p.bytes)], rates.to_vec()].concat()
        })
        .collect();
    let heading = [&["working set"], &MemoryPoint::NAMES[..]].concat();
    print::table(out, &heading, &rows)?;
    writeln!(
        out,
        "in GB/s; a sum of n parts reads n bytes for each that it writes"
    )?;
    let half = ceilings.f16_gflop_s.map_or(String::new(), |x| {
        format!(", f16 {} GFLOP/s", print::digits(x, 3))
    });
    writeln!(
        out,
        "multiply-add  f32 {} GFLOP/s{half}",
        print::digits(ceilings.f32_gflop_s, 3)
    )?;
    let launches: Vec<String> = ceilings
        .launch
        .iter()
        .map(|p| {
            format!(
                "{} ({} per submission)",
                print::secs(p.secs),
                p.n_dispatches
            )
        })
        .collect();
    writeln!(out, "dispatch      {}", launches.join(", "))?;
    if !ceilings.launch_on_device.is_empty() {
        writeln!(
            out,
            "on the device {} at least, by its timestamps",
            print::secs(ceilings.launch_secs(true))
        )?;
    }
    writeln!(
        out,
        "transfers     up {} GB/s, down {} GB/s; one number back in {} (99 %: {})",
        print::digits(ceilings.upload_gb_s, 3),
        print::digits(ceilings.download_gb_s, 3),
        print::secs(ceilings.readback.median),
        print::secs(ceilings.readback.p99)
    )?;
    if !ceilings.cooperative.is_empty() {
        writeln!(out, "matrices      {}", ceilings.cooperative.join(", "))?;
    }
    Ok(())
}

fn print_step(out: &mut impl io::Write, step: &Step) -> io::Result<()> {
    let name = format!("step/{} {}, batch {}", step.model, step.config, step.batch);
    let part = |timing: &Option<affekt::bench::report::Timing>| {
        timing.map_or("-".to_string(), |t| print::secs(t.median))
    };
    match step.median {
        Some(median) => writeln!(
            out,
            "{name}  {}: forward {}, backward {}, optimizer {}; {} dispatches, {} submissions, {} bound, peak {}; first {}",
            print::secs(median),
            part(&step.forward),
            part(&step.backward),
            part(&step.optimizer),
            step.n_dispatches,
            step.n_submissions,
            print::bytes(step.bytes),
            print::bytes(step.peak_bytes),
            step.first.map_or("-".to_string(), print::secs)
        ),
        None => {
            let mark = match step.verdict {
                RowVerdict::Skipped => "skipped",
                _ => "FAIL",
            };
            writeln!(
                out,
                "{name}  {mark}: {}",
                flatten(step.detail.as_deref().unwrap_or_default())
            )
        }
    }
}

pub(super) fn say_health(machine: &Machine) {
    let health = &machine.health;
    let clock = match health.clock.as_str() {
        "wall" => "wall clock, since there are no timestamps",
        _ => "the device's timestamps",
    };
    let mut words = vec![format!("times by {clock}")];
    words.push(format!(
        "copying afterwards {:.2} of before",
        health.slowdown
    ));
    if let Some(reason) = &health.lost {
        words = vec![format!("ENDED EARLY: {}", flatten(reason))];
    }
    if health.throttled {
        words.push("THROTTLED or disturbed".to_string());
    }
    let n_above = machine.rows.iter().filter(|r| r.is_above_ceiling()).count();
    for (n, what) in [
        (health.n_noisy, "noisy rows"),
        (health.n_discarded, "samples discarded"),
        (health.skipped.len(), "rows skipped"),
        (n_above, "rows above the ceiling"),
        (health.missing.len(), "rows missing"),
    ] {
        if n > 0 {
            words.push(format!("{n} {what}"));
        }
    }
    say(&format!(
        "{}; {:.0} s in all",
        words.join(", "),
        health.seconds
    ));
}

/// Medians of all machines with the percent of the ceiling that these are, and ratios to the first machine.
pub(super) fn side_by_side(
    out: &mut impl io::Write,
    machines: &[&Machine],
    lines: &[Line],
) -> io::Result<()> {
    for (i, machine) in machines.iter().enumerate() {
        let e = &machine.environment;
        writeln!(
            out,
            "{}  {} on {}, {} {}",
            letter(i),
            e.engine,
            e.adapter,
            e.driver,
            e.driver_info
        )?;
    }
    writeln!(out)?;
    let mut heading = vec!["row".to_string()];
    for i in 0..machines.len() {
        heading.extend([letter(i), "%".to_string()]);
        if i > 0 {
            heading.push("ratio (interval)".to_string());
        }
    }
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let mut cells = vec![line.name.clone()];
            for (i, cell) in line.cells.iter().enumerate() {
                let timing = cell.as_ref().and_then(|c| c.timing);
                cells.push(match (cell, timing) {
                    (_, Some(timing)) => print::secs(timing.median),
                    (Some(cell), None) if cell.verdict == RowVerdict::Wrong => "FAIL".to_string(),
                    _ => "-".to_string(),
                });
                let percent = cell.as_ref().and_then(|c| c.percent);
                cells.push(percent.map_or("-".to_string(), |x| format!("{x:.0}")));
                if i > 0 {
                    let ratio = cell.as_ref().and_then(|c| c.ratio);
                    cells.push(ratio.map_or("-".to_string(), |r| {
                        format!("{:.2} ({:.2} to {:.2})", r.value, r.low, r.high)
                    }));
                }
            }
            cells
        })
        .collect();
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    print::table(out, &heading, &rows)
}

/// A, B, … and on with numbers.
fn letter(i: usize) -> String {
    match u8::try_from(i) {
        Ok(i) if i < 26 => char::from(b'A' + i).to_string(),
        _ => format!("#{}", i + 1),
    }
}
