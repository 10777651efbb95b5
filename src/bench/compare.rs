//! Results of several machines, or of one machine at several times, row by row.

use std::collections::{HashMap, HashSet};

use crate::bench::report::{Beside, Change, Machine, RowVerdict, Timing};
use crate::bench::statistics::{Ratio, quantile};
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
    /// Of what the machine's own ceilings allow the row, if that is the time they were held against.
    pub percent: Option<f64>,
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
        percent: timing(f)
            .filter(|t| Some(t.median) == f.median)
            .and(f.percent),
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
    /// What `percent` is of.
    median: Option<f64>,
    percent: Option<f64>,
}

/// Name, sizes and finding of each row and step.
fn findings(machine: &Machine) -> impl Iterator<Item = (String, String, Found)> {
    let rows = machine.rows.iter().map(|row| {
        let median = row.median.filter(|_| row.verdict == RowVerdict::Right);
        let found = Found {
            verdict: row.verdict,
            gpu: median.and(row.gpu),
            wall: median.and(row.wall),
            median,
            percent: row.percent,
        };
        (row.name(), row.shapes.clone(), found)
    });
    let steps = machine.steps.iter().map(|step| {
        let median = step.median.filter(|_| step.verdict == RowVerdict::Right);
        let found = Found {
            verdict: step.verdict,
            gpu: None,
            wall: median.and(step.step),
            median,
            percent: None,
        };
        (step.name(), step.sizes(), found)
    });
    rows.chain(steps)
}

/// Most that is taken off for a machine that is slower as a whole: a kernel that takes twice as long must not pass.
pub const MOST_SLACK: f64 = 1.5;

/// Most that is taken for the noise between two runs.
pub const MOST_NOISE: f64 = 1.25;

/// Fewest rows that tell of the noise between two runs.
const FEWEST_TO_SCATTER: usize = 20;

/// How much slower than the baseline is no regression yet, unless another share is asked for.
pub const MARGIN: f64 = 0.05;

/// Earlier runs of the same adapter.
pub struct Baseline {
    /// What ratios are to.
    pub machine: Machine,
    /// More runs: what is not slower than one of them is no regression. A file tells how far the samples of a run spread,
    /// several tell how far runs do.
    pub others: Vec<Machine>,
    /// How much slower is no regression yet, whatever the spread and the noise; if `None`, [`MARGIN`] or what
    /// [`noise`](Self::noise) makes of all rows.
    pub margin: Option<f64>,
}

impl Baseline {
    /// Whether it has one of these rows and steps at least, which are given by name and sizes.
    ///
    /// Errors: [`Error::Incomparable`] if it has one of them with other sizes.
    pub fn meets(&self, sized: &[(String, String)]) -> Result<bool> {
        let mut meets = false;
        for (row, expected, _) in findings(&self.machine) {
            let Some((_, found)) = sized.iter().find(|(name, _)| *name == row) else {
                continue;
            };
            if *found != expected {
                return Err(Error::Incomparable {
                    row,
                    found: found.clone(),
                    expected,
                });
            }
            meets = true;
        }
        Ok(meets)
    }

    /// How much slower than the baseline a row of `machine` may be for the noise between the two runs, up to
    /// [`MOST_NOISE`]: three standard deviations of the logarithms of all ratios, as the shortest interval that holds half
    /// of them has it (Rousseeuw & Leroy 1988). So neither rows that became slower, if they are at most half, nor those
    /// that became faster are taken for noise. Rows of one run spread little; between two runs memory lies elsewhere, and
    /// other guests of a shared machine come and go. `None` with too few rows, and where that is within the margin or
    /// the margin was asked for.
    ///
    /// Errors: those of [`align`].
    pub fn noise(&self, machine: &Machine) -> Result<Option<f64>> {
        let lines = align(&[&self.machine, machine])?;
        let ratios = lines
            .iter()
            .filter_map(|line| line.cells.get(1)?.as_ref()?.ratio);
        let logs = ratios.map(|r| r.value.ln()).filter(|l| l.is_finite());
        let mut logs: Vec<f64> = logs.collect();
        if self.margin.is_some() || logs.len() < FEWEST_TO_SCATTER {
            return Ok(None);
        }
        logs.sort_by(f64::total_cmp);
        let half = logs.len().div_ceil(2) - 1;
        let widths = logs.iter().zip(&logs[half..]).map(|(low, high)| high - low);
        // Half of a normal distribution lies within .6745 standard deviations to both sides.
        let deviation = widths.fold(f64::INFINITY, f64::min) / (2.0 * 0.6745);
        let noise = (3.0 * deviation).exp().min(MOST_NOISE);
        Ok(Some(noise).filter(|noise| *noise > 1.0 + MARGIN))
    }

    /// What became of each row and step: where it stands in a line of [`align`], and how.
    fn changes(&self, machine: &Machine, noise: Option<f64>) -> Result<Vec<(Line, Change)>> {
        let margin = noise.map_or(self.margin.unwrap_or(MARGIN), |noise| noise - 1.0);
        let mut changes = changes_since(&self.machine, machine, margin)?;
        for other in &self.others {
            let equal = changes_since(other, machine, margin)?;
            let equal = equal
                .iter()
                .filter(|(_, c)| matches!(c, Change::Equal | Change::Faster));
            let equal: HashSet<&str> = equal.map(|(line, _)| line.name.as_str()).collect();
            for (line, change) in &mut changes {
                if *change == Change::Slower && equal.contains(line.name.as_str()) {
                    *change = Change::Equal;
                }
            }
        }
        Ok(changes)
    }

    /// Names of the rows and steps that are slower as it looks now, be it for noise.
    ///
    /// Errors: those of [`align`].
    pub fn suspects(&self, machine: &Machine) -> Result<Vec<String>> {
        let changes = self.changes(machine, None)?.into_iter();
        let slower = changes.filter(|(_, change)| *change == Change::Slower);
        Ok(slower.map(|(line, _)| line.name).collect())
    }

    /// Notes in every row and step how it stands to the baseline, with this [`noise`](Self::noise). Rounds that are noted
    /// stay.
    ///
    /// Errors: those of [`align`].
    pub fn judge(&self, machine: &mut Machine, noise: Option<f64>) -> Result<()> {
        machine.health.slack = Some(slack(&self.machine, machine));
        machine.health.noise = noise;
        let places = places_of(machine);
        for (line, change) in self.changes(machine, noise)? {
            let [old, new] = line.cells.as_slice() else {
                continue;
            };
            let median = old.as_ref().and_then(|c| c.timing).map(|t| t.median);
            let ratio = new.as_ref().and_then(|c| c.ratio);
            let slot = places[&line.name].of(machine);
            let rounds = slot.take().map_or(Vec::new(), |b| b.rounds);
            *slot = Some(Beside {
                change,
                median,
                ratio: ratio.filter(Ratio::is_sound),
                rounds,
            });
        }
        Ok(())
    }
}

/// What became of the rows and steps of `old` and of new ones.
fn changes_since(old: &Machine, machine: &Machine, margin: f64) -> Result<Vec<(Line, Change)>> {
    let slack = slack(old, machine);
    let lines = align(&[old, machine])?;
    let changes = lines.into_iter().filter_map(|line| {
        let change = change(&line, slack, margin)?;
        Some((line, change))
    });
    Ok(changes.collect())
}

/// How much slower the ceilings of `machine` are than those of `old`, 1 to [`MOST_SLACK`]: the machine as a whole is slower
/// then, not a kernel. The median of all rates, so that one that was disturbed excuses nothing.
fn slack(old: &Machine, machine: &Machine) -> f64 {
    let (Some(old), Some(new)) = (&old.ceilings, &machine.ceilings) else {
        return 1.0;
    };
    let copies = old.memory.iter().filter_map(|old| {
        let new = new.memory.iter().find(|new| new.bytes == old.bytes)?;
        // A file without sums measured copies in another way.
        (old.sum_of_two_gb_s > 0.0).then_some(old.copy_gb_s / new.copy_gb_s)
    });
    let arithmetic = old.f32_gflop_s / new.f32_gflop_s;
    let ratios = copies.chain([arithmetic]);
    let mut ratios: Vec<f64> = ratios.filter(|r| r.is_finite()).collect();
    ratios.sort_by(f64::total_cmp);
    match ratios.is_empty() {
        true => 1.0,
        false => quantile(&ratios, 0.5).clamp(1.0, MOST_SLACK),
    }
}

/// `None` where the new machine does not have the row: another choice of rows is no regression.
fn change(line: &Line, slack: f64, margin: f64) -> Option<Change> {
    let [old, Some(new)] = line.cells.as_slice() else {
        return None;
    };
    let was_right = old.as_ref().is_some_and(|c| c.verdict == RowVerdict::Right);
    Some(match (new.verdict, new.ratio.map(|r| r.over(slack))) {
        _ if !was_right => Change::New,
        (RowVerdict::Wrong, _) => Change::Wrong,
        (RowVerdict::Skipped, _) => Change::Skipped,
        (RowVerdict::Right, Some(ratio)) if ratio.is_slower(margin) => Change::Slower,
        (RowVerdict::Right, Some(ratio)) if ratio.is_faster() => Change::Faster,
        (RowVerdict::Right, Some(_)) => Change::Equal,
        (RowVerdict::Right, None) => Change::New,
    })
}

/// A row or a step by its place.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Row(usize),
    Step(usize),
}

impl Place {
    /// Where the comparison with a baseline is kept.
    pub(super) fn of(self, machine: &mut Machine) -> &mut Option<Beside> {
        match self {
            Place::Row(i) => &mut machine.rows[i].beside,
            Place::Step(i) => &mut machine.steps[i].beside,
        }
    }

    /// Why the result there is wrong, if it is.
    pub(super) fn detail(self, machine: &Machine) -> Option<&str> {
        let (verdict, detail) = match self {
            Place::Row(i) => (machine.rows[i].verdict, &machine.rows[i].detail),
            Place::Step(i) => (machine.steps[i].verdict, &machine.steps[i].detail),
        };
        match verdict {
            RowVerdict::Wrong => detail.as_deref(),
            _ => None,
        }
    }
}

pub(super) fn places_of(machine: &Machine) -> HashMap<String, Place> {
    let rows = machine.rows.iter().enumerate();
    let steps = machine.steps.iter().enumerate();
    rows.map(|(i, row)| (row.name(), Place::Row(i)))
        .chain(steps.map(|(i, step)| (step.name(), Place::Step(i))))
        .collect()
}

/// The rows and steps that [`Baseline::judge`] found slower than the baseline in every round, or no longer right, with a
/// word on those that have no time any more.
pub fn regressions(machine: &Machine) -> Vec<String> {
    let rows = machine.rows.iter().map(|r| (r.name(), &r.beside));
    let steps = machine.steps.iter().map(|s| (s.name(), &s.beside));
    let worse = rows.chain(steps).filter_map(|(name, beside)| {
        let change = beside.as_ref()?.change;
        match change {
            Change::Slower => Some(name),
            change if change.is_regression() => Some(format!("{name} ({})", change.name())),
            _ => None,
        }
    });
    worse.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::page;
    use crate::bench::report::{Ceilings, Row};

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
            rows,
            ..Machine::default()
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
        let judged = |machine: &Machine, new: &Machine| {
            let baseline = Baseline {
                machine: machine.clone(),
                others: Vec::new(),
                margin: None,
            };
            let mut new = new.clone();
            baseline.judge(&mut new, None).unwrap();
            new
        };
        let after = judged(&old, &new);
        assert_eq!(regressions(&after), ["sum/b", "sum/c (wrong)"]);
        let changes: Vec<&str> = after
            .rows
            .iter()
            .map(|r| r.beside.as_ref().unwrap().change.name())
            .collect();
        assert_eq!(changes, ["slower", "wrong", "new"]);
        let back = judged(&new, &old);
        assert_eq!(regressions(&back), Vec::<String>::new());
        assert_eq!(back.rows[1].beside.as_ref().unwrap().change, Change::Faster);
    }

    #[test]
    fn a_machine_that_is_slower_as_a_whole_is_no_regression() {
        let with = |median: f64, f32_gflop_s: f64| Machine {
            ceilings: Some(Ceilings {
                f32_gflop_s,
                ..Ceilings::default()
            }),
            ..machine(vec![row("a", "", median)])
        };
        let suspects = |new: Machine| {
            let baseline = Baseline {
                machine: with(1.0, 100.0),
                others: Vec::new(),
                margin: None,
            };
            baseline.suspects(&new).unwrap()
        };
        assert_eq!(suspects(with(1.4, 70.0)), Vec::<String>::new());
        assert_eq!(suspects(with(2.0, 40.0)), ["sum/a"]);
        assert_eq!(suspects(with(2.0, 80.0)), ["sum/a"]);
        // A faster machine allows no less.
        assert_eq!(suspects(with(1.02, 300.0)), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_slower_than_one_of_several_runs_is_no_regression() {
        let wide = |median: f64, p90: f64| {
            let mut wide = row("a", "", median);
            wide.gpu.as_mut().unwrap().p90 = p90;
            machine(vec![wide])
        };
        let suspects = |machine: &Machine, others: &[&Machine], new: f64| {
            let baseline = Baseline {
                machine: machine.clone(),
                others: others.iter().map(|m| (*m).clone()).collect(),
                margin: None,
            };
            baseline
                .suspects(&self::machine(vec![row("a", "", new)]))
                .unwrap()
                .len()
        };
        let (fast, slow) = (
            machine(vec![row("a", "", 1.0)]),
            machine(vec![row("a", "", 2.0)]),
        );
        let other = machine(vec![row("b", "", 1.0)]);
        assert_eq!(suspects(&fast, &[], 2.0), 1);
        assert_eq!(suspects(&fast, &[&slow], 2.0), 0);
        assert_eq!(suspects(&slow, &[&fast], 2.0), 0);
        assert_eq!(suspects(&fast, &[&slow], 3.0), 1);
        // A run without the row says nothing of it, and one of a narrow spread takes nothing from one of a wide one.
        assert_eq!(suspects(&fast, &[&other], 2.0), 1);
        assert_eq!(suspects(&wide(5.8, 14.0), &[&wide(6.0, 6.1)], 8.0), 0);
    }

    #[test]
    fn what_all_rows_scatter_by_is_noise_and_a_kernel_beyond_it_is_slower() {
        let run = |times: &dyn Fn(usize) -> f64| {
            let rows = (0..30).map(|i| row(&format!("row {i}"), "", times(i)));
            machine(rows.collect())
        };
        let judged = |margin: Option<f64>, times: &dyn Fn(usize) -> f64| {
            let baseline = Baseline {
                machine: run(&|_| 1.0),
                others: Vec::new(),
                margin,
            };
            let mut new = run(times);
            let noise = baseline.noise(&new).unwrap();
            baseline.judge(&mut new, noise).unwrap();
            (noise, regressions(&new).len())
        };
        // Rows that scatter by 4 in a hundred to both sides hide one of 8, but not one of 12.
        let scattered = |i: usize| 0.96 + 0.08 * (i * 7 % 29) as f64 / 28.0;
        let with =
            |margin, last: f64| judged(margin, &|i| if i == 29 { last } else { scattered(i) });
        let (noise, n_slower) = with(None, 1.08);
        assert!((1.08..1.11).contains(&noise.unwrap()), "{noise:?}");
        assert_eq!((n_slower, with(None, 1.12).1), (0, 1));
        // A margin that was asked for stands alone.
        assert_eq!(with(Some(0.06), 1.08), (None, 1));
        // Rows that hardly scatter hide nothing beyond the margin.
        assert_eq!(
            judged(None, &|i| if i == 29 { 1.12 } else { 1.0 }),
            (None, 1)
        );
        // What half of the rows become slower by, or many become faster by, is no noise.
        assert_eq!(
            judged(None, &|i| if i % 2 == 0 { 1.2 } else { 1.0 }),
            (None, 15)
        );
        let faster = |i: usize| [0.5, 1.0, 1.0][i % 3];
        assert_eq!(
            judged(None, &|i| if i == 29 { 1.12 } else { faster(i) }),
            (None, 1)
        );
        // However wildly they scatter, what takes half as long again is slower.
        assert_eq!(
            judged(None, &|i| [0.4, 1.0, 1.6][i % 3]),
            (Some(MOST_NOISE), 10)
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
        // Nor by the page.
        assert!(page::ratio(&new.rows[0], &old.rows[0]).is_none());
        let mut both = old.clone();
        both.rows[0].percent = Some(50.0);
        let alone = align(&[&both]).unwrap()[0].cells.clone();
        assert_eq!(alone[0].as_ref().unwrap().percent, Some(50.0));
        both.rows[0].wall = Some(Timing {
            median: 1.5,
            p10: 1.5,
            p90: 1.5,
            ..Timing::default()
        });
        let cells = of(&both);
        let ratio = cells[1].as_ref().unwrap().ratio;
        assert_eq!(ratio.unwrap().value, 2.0);
        // The ceiling was held against the device's time, which is not the one that is shown.
        assert_eq!(cells[0].as_ref().unwrap().percent, None);
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
        // And before anything is measured.
        let baseline = Baseline {
            machine: a,
            others: Vec::new(),
            margin: None,
        };
        let meets =
            |name: &str, sizes: &str| baseline.meets(&[(name.to_string(), sizes.to_string())]);
        assert_eq!(meets("sum/a", "f32[5]").unwrap_err().to_string(), message);
        assert!(meets("sum/a", "f32[4]").unwrap());
        assert!(!meets("sum/b", "f32[4]").unwrap());
    }
}
