//! Results of several machines, or of one machine at several times, row by row.

use crate::bench::report::{Machine, RowVerdict, Timing};
use crate::bench::statistics::Ratio;
use crate::error::{Error, Result};

/// One row of all machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// `matmul/512`, `step/speech-swin`.
    pub name: String,
    /// What the row worked on.
    pub sizes: String,
    /// In the order of the machines; `None` where one does not have the row.
    pub cells: Vec<Option<Cell>>,
}

/// What one machine found.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub verdict: RowVerdict,
    /// With a right result only: by the device's clock if every machine has that of the row, else by the wall clock.
    pub timing: Option<Timing>,
    /// This one over the first machine, where that has a time.
    pub ratio: Option<Ratio>,
}

/// Puts rows of the same name side by side, in the order in which they first come up.
///
/// Errors: [`Error::Incomparable`] if two machines have other sizes under one name.
pub fn align(machines: &[&Machine]) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    let mut found: Vec<Vec<Option<Found>>> = Vec::new();
    for (i, machine) in machines.iter().enumerate() {
        for (name, sizes, finding) in findings(machine) {
            let known = lines.iter().position(|line| line.name == name);
            if let Some(line) = known.map(|k| &lines[k]).filter(|l| l.sizes != sizes) {
                return Err(Error::Incomparable {
                    row: name,
                    found: sizes,
                    expected: line.sizes.clone(),
                });
            }
            let at = known.unwrap_or(lines.len());
            if known.is_none() {
                lines.push(Line {
                    name,
                    sizes,
                    cells: Vec::new(),
                });
                found.push(vec![None; machines.len()]);
            }
            found[at][i] = Some(finding);
        }
    }
    for (line, found) in lines.iter_mut().zip(&found) {
        line.cells = cells(found);
    }
    Ok(lines)
}

/// The cells of a row: every time by the same clock.
fn cells(found: &[Option<Found>]) -> Vec<Option<Cell>> {
    let mut timed = found
        .iter()
        .flatten()
        .filter(|f| f.wall.or(f.gpu).is_some());
    let by_device = timed.all(|f| f.gpu.is_some());
    let timing = |f: &Found| match by_device {
        true => f.gpu,
        false => f.wall,
    };
    let first = found.first().and_then(|f| f.as_ref()).and_then(timing);
    let cell = |f: &Found| Cell {
        verdict: f.verdict,
        timing: timing(f),
        ratio: timing(f).zip(first).map(|(new, old)| Ratio::of(&new, &old)),
    };
    found.iter().map(|f| f.as_ref().map(cell)).collect()
}

/// What one machine found of a row; times of right results only.
#[derive(Clone)]
struct Found {
    verdict: RowVerdict,
    gpu: Option<Timing>,
    wall: Option<Timing>,
}

/// Name, sizes and finding of each row and step.
fn findings(machine: &Machine) -> impl Iterator<Item = (String, String, Found)> {
    let rows = machine.rows.iter().map(|row| {
        let found = Found {
            verdict: row.verdict,
            gpu: row.median.and(row.gpu),
            wall: row.median.and(row.wall),
        };
        (row.name(), row.shapes.clone(), found)
    });
    let steps = machine.steps.iter().map(|step| {
        let found = Found {
            verdict: step.verdict,
            gpu: None,
            wall: step.median.and(step.step),
        };
        let sizes = format!("{}, batch {}", step.config, step.batch);
        (format!("step/{}", step.model), sizes, found)
    });
    rows.chain(steps)
}

/// The rows in which the second machine is slower than the first beyond spread and margin, or no longer right, with a word
/// on those that have no time any more.
pub fn regressions(lines: &[Line], margin: f64) -> Vec<String> {
    let worse = |line: &Line| {
        let [Some(old), new] = line.cells.as_slice() else {
            return None;
        };
        if old.verdict != RowVerdict::Right {
            return None;
        }
        match new.as_ref().map(|c| c.verdict) {
            Some(RowVerdict::Right) => {
                let ratio = new.as_ref().and_then(|c| c.ratio);
                ratio
                    .is_some_and(|r| r.is_slower(margin))
                    .then(|| line.name.clone())
            }
            Some(RowVerdict::Wrong) => Some(format!("{} (wrong)", line.name)),
            Some(RowVerdict::Skipped) => Some(format!("{} (skipped)", line.name)),
            // Another choice of rows is no regression.
            None => None,
        }
    };
    lines.iter().filter_map(worse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Environment, Health, Row};

    fn row(case: &str, shapes: &str, median: f64) -> Row {
        let timing = Timing {
            n: 9,
            median,
            p10: 0.98 * median,
            p90: 1.02 * median,
            ..Timing::default()
        };
        let text =
            format!(r#"{{"op":"sum","case":"{case}","shapes":"{shapes}","verdict":"right"}}"#);
        Row {
            median: Some(median),
            gpu: Some(timing),
            ..serde_json::from_str(&text).unwrap()
        }
    }

    fn machine(rows: Vec<Row>) -> Machine {
        Machine {
            environment: Environment::default(),
            ceilings: None,
            rows,
            steps: Vec::new(),
            health: Health::default(),
        }
    }

    #[test]
    fn rows_meet_by_name_and_the_slower_ones_are_named() {
        let old = machine(vec![
            row("a", "f32[4]", 1.0),
            row("b", "f32[8]", 1.0),
            row("c", "", 1.0),
        ]);
        let mut broken = row("c", "", 1.0);
        (broken.verdict, broken.median) = (RowVerdict::Wrong, None);
        let new = machine(vec![
            row("b", "f32[8]", 2.0),
            broken,
            row("d", "f32[2]", 1.0),
        ]);
        let lines = align(&[&old, &new]).unwrap();
        let names: Vec<&str> = lines.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["sum/a", "sum/b", "sum/c", "sum/d"]);
        assert_eq!(lines[0].cells[1], None);
        assert_eq!(
            lines[1].cells[1].as_ref().unwrap().ratio.unwrap().value,
            2.0
        );
        assert_eq!(regressions(&lines, 0.05), ["sum/b", "sum/c (wrong)"]);
        assert_eq!(
            regressions(&align(&[&new, &old]).unwrap(), 0.05),
            Vec::<String>::new()
        );
    }

    #[test]
    fn times_of_two_clocks_are_not_compared() {
        let old = machine(vec![row("a", "", 1.0)]);
        let mut walled = row("a", "", 3.0);
        walled.wall = walled.gpu.take();
        let new = machine(vec![walled]);
        let of = |old: &Machine| align(&[old, &new]).unwrap()[0].cells.clone();
        let cells = of(&old);
        let timing = |i: usize| cells[i].as_ref().unwrap().timing.map(|t| t.median);
        // The first has no time by the clock that both could have had; the second stands alone.
        assert_eq!([timing(0), timing(1)], [None, Some(3.0)]);
        let mut both = old.clone();
        both.rows[0].wall = Some(Timing {
            median: 1.5,
            p10: 1.5,
            p90: 1.5,
            ..Timing::default()
        });
        let ratio = of(&both)[1].as_ref().unwrap().ratio;
        assert_eq!(ratio.unwrap().value, 2.0);
    }

    #[test]
    fn other_sizes_under_one_name_are_refused() {
        let (a, b) = (
            machine(vec![row("a", "f32[4]", 1.0)]),
            machine(vec![row("a", "f32[5]", 1.0)]),
        );
        let message = align(&[&a, &b]).unwrap_err().to_string();
        assert_eq!(
            message,
            "sum/a is of f32[5] in one file and of f32[4] in another"
        );
    }
}
