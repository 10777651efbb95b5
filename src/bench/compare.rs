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
    /// With a right result only.
    pub timing: Option<Timing>,
    /// This one over the first machine that has a time.
    pub ratio: Option<Ratio>,
}

/// Puts rows of the same name side by side, in the order in which they first come up.
///
/// Errors: [`Error::Incomparable`] if two machines have other sizes under one name.
pub fn align(machines: &[&Machine]) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    for (i, machine) in machines.iter().enumerate() {
        for (name, sizes, cell) in cells(machine) {
            let known = lines.iter_mut().find(|line| line.name == name);
            let line = match known {
                Some(line) if line.sizes != sizes => {
                    return Err(Error::Incomparable {
                        row: name,
                        found: sizes,
                        expected: line.sizes.clone(),
                    });
                }
                Some(line) => line,
                None => {
                    lines.push(Line {
                        name,
                        sizes,
                        cells: vec![None; machines.len()],
                    });
                    lines.last_mut().expect("one was just pushed")
                }
            };
            let first = line.cells.iter().flatten().find_map(|c| c.timing);
            line.cells[i] = Some(Cell {
                ratio: cell
                    .timing
                    .zip(first)
                    .map(|(new, old)| Ratio::of(&new, &old)),
                ..cell
            });
        }
    }
    Ok(lines)
}

/// Name, sizes and finding of each row and step.
fn cells(machine: &Machine) -> impl Iterator<Item = (String, String, Cell)> {
    let rows = machine.rows.iter().map(|row| {
        let cell = Cell {
            verdict: row.verdict,
            timing: row.median.and(row.timing().copied()),
            ratio: None,
        };
        (row.name(), row.shapes.clone(), cell)
    });
    let steps = machine.steps.iter().map(|step| {
        let cell = Cell {
            verdict: step.verdict,
            timing: step.median.and(step.step),
            ratio: None,
        };
        let sizes = format!("{}, batch {}", step.config, step.batch);
        (format!("step/{}", step.model), sizes, cell)
    });
    rows.chain(steps)
}

/// The names of the rows in which the second machine is slower than the first beyond spread and margin, or no longer right.
pub fn regressions(lines: &[Line], margin: f64) -> Vec<&str> {
    let worse = lines.iter().filter(|line| match line.cells.as_slice() {
        [Some(old), Some(new)] => {
            let broken = old.verdict == RowVerdict::Right && new.verdict == RowVerdict::Wrong;
            broken || new.ratio.is_some_and(|r| r.is_slower(margin))
        }
        _ => false,
    });
    worse.map(|line| line.name.as_str()).collect()
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
        assert_eq!(regressions(&lines, 0.05), ["sum/b", "sum/c"]);
        assert_eq!(
            regressions(&align(&[&new, &old]).unwrap(), 0.05),
            Vec::<&str>::new()
        );
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
