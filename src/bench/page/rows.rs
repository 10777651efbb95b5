//! Every case in a table: all of one machine, or the medians of several side by side.

use crate::bench::page::bars::{interval, times};
use crate::bench::page::{Group, bound_name, positive, ratio};
use crate::bench::report::{Beside, Change, Row, RowVerdict, Timing};
use crate::check::side_by_side::Who;
use crate::page::escape;
use crate::page::table::{Cell, Column, sortable};
use crate::page::units::{bytes, secs, secs_between, three};

/// What stands where a row is faster than its ceiling.
const ABOVE: &str = "<span class=\"bad\">above the ceiling</span>";

/// Everything that is known about the rows of one machine.
pub fn of_one(label: &str, rows: &[Row]) -> String {
    let held_against = rows.iter().any(|row| row.beside.is_some());
    let mut columns = vec![
        Column::text("Kernel"),
        Column::text("Numbers"),
        Column::number("Median"),
        Column::number("p10–p90"),
        Column::number("GPU"),
        Column::number("Wall"),
        Column::number("GB/s"),
        Column::number("GFLOP/s"),
        Column::number("Of ceiling"),
        Column::text("Bound by"),
        Column::number("Workspace"),
        Column::number("Compile, cold"),
        Column::number("cached"),
        Column::text("Entry points"),
        Column::text("Plan"),
    ];
    let mut cells: Vec<Vec<Cell>> = rows.iter().map(cells_of).collect();
    if held_against {
        columns.insert(3, Column::number("Over baseline"));
        for (cells, row) in cells.iter_mut().zip(rows) {
            let cell = row.beside.as_ref().map(over_baseline);
            cells.insert(3, cell.unwrap_or_else(Cell::nothing));
        }
    }
    sortable(label, &columns, &cells)
}

/// Time over that of the baseline, with what that means.
pub fn over_baseline(beside: &Beside) -> Cell {
    let mut notes = vec![match beside.change {
        change if change.is_regression() => {
            format!("<span class=\"bad\">{}</span>", change.name())
        }
        change => change.name().to_string(),
    }];
    let ratio = beside.ratio.filter(|r| r.is_sound());
    notes.extend(ratio.and_then(|r| interval(&r)));
    if beside.rounds.len() > 1 {
        notes.push(format!("best of {} rounds", beside.rounds.len()));
    }
    let class = match beside.change {
        Change::Faster => "better",
        change if change.is_regression() => "worse",
        _ => "",
    };
    let cell = match ratio {
        Some(ratio) => Cell::number(Some(ratio.value), times).class(class),
        None => Cell::nothing(),
    };
    cell.below(&notes.join(", "))
}

fn cells_of(row: &Row) -> Vec<Cell> {
    // Wrong numbers have no speed, whatever a file says.
    let right = row.verdict == RowVerdict::Right;
    let speed = |value: Option<f64>| positive(value).filter(|_| right);
    let timing = row.timing().filter(|_| right);
    let median = |t: &Option<Timing>| speed(t.as_ref().map(|t| t.median));
    let spread = timing.and_then(|t| {
        let (low, high) = (positive(Some(t.p10))?, positive(Some(t.p90))?);
        Some(
            Cell::number(Some((high - low) / t.median), |_| secs_between(low, high))
                .class(if row.noisy { "soft" } else { "" }),
        )
    });
    let workspace = (right && row.workspace_bytes > 0).then_some(row.workspace_bytes as f64);
    let percent = row.percent.filter(|p| right && p.is_finite());
    let detail = row.detail.as_deref().filter(|_| !right);
    vec![
        kernel(row).below(&detail.map(escape).unwrap_or_default()),
        verdict(row),
        Cell::number(speed(row.median), secs),
        spread.unwrap_or_else(Cell::nothing),
        Cell::number(median(&row.gpu), secs),
        Cell::number(median(&row.wall), secs),
        Cell::number(speed(row.gb_s), three),
        Cell::number(speed(row.gflop_s), three),
        Cell::number(percent, |p| format!("{p:.0} %")).below(
            match right && row.is_above_ceiling() {
                true => ABOVE,
                false => "",
            },
        ),
        match row.bound.filter(|_| right) {
            Some(bound) => Cell::text(bound_name(bound)),
            None => Cell::nothing(),
        },
        Cell::number(workspace, |n| bytes(n as u64)),
        Cell::number(positive(row.compile_cold), secs),
        Cell::number(positive(row.compile_cached), secs),
        entries(row),
        match &row.plan {
            Some(plan) => Cell::text(plan).class("long"),
            None => Cell::nothing(),
        },
    ]
}

/// `matmul/512` with its shapes below.
fn kernel(row: &Row) -> Cell {
    let name = format!(
        "<span><b>{}</b>/<wbr>{}</span>",
        escape(&row.op),
        escape(&row.title())
    );
    Cell::markup(name, &row.name())
        .below(&format!("<code>{}</code>", escape(&row.shapes)))
        .class("kernel")
}

fn verdict(row: &Row) -> Cell {
    match row.verdict {
        RowVerdict::Right if row.noisy => Cell::markup(
            "right <span class=\"tag\">noisy</span>".to_string(),
            "right noisy",
        ),
        RowVerdict::Right => Cell::text("right"),
        RowVerdict::Wrong => Cell::markup("<span class=\"bad\">FAIL</span>".to_string(), "FAIL"),
        RowVerdict::Skipped => Cell::text("skipped").class("none"),
    }
}

fn entries(row: &Row) -> Cell {
    if row.entries.is_empty() && row.dropped.is_empty() {
        return Cell::nothing();
    }
    let names: Vec<String> = row
        .entries
        .iter()
        .map(|e| format!("<code>{}</code>", escape(e)))
        .collect();
    let mut notes = Vec::new();
    if row.n_dispatches > 1 {
        notes.push(format!("{} dispatches", row.n_dispatches));
    }
    for dropped in &row.dropped {
        notes.push(format!(
            "<span class=\"bad\">not used:</span> {}",
            escape(dropped)
        ));
    }
    let key = row.entries.join(" ");
    Cell::markup(names.join(" "), &key)
        .below(&notes.join("<br>"))
        .class("long")
}

/// Medians of all machines, each after the first with its time over that of the first.
pub fn side_by_side(groups: &[Group], machines: &[Who]) -> String {
    let mut columns = vec![Column::text("Kernel")];
    for (m, who) in machines.iter().enumerate() {
        columns.push(Column::number(&format!("{} median", who.chip())));
        if m > 0 {
            columns.push(Column::number(&format!(
                "{} over {}",
                who.chip(),
                machines[0].chip()
            )));
        }
    }
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .map(|group| {
            let mut cells = vec![kernel(group.any())];
            for (m, row) in group.rows.iter().enumerate() {
                cells.push(row.map_or_else(Cell::nothing, median));
                if m > 0 {
                    let ratio = row.and_then(|row| ratio(row, group.rows[0]?));
                    cells.push(match ratio {
                        Some(r) => Cell::number(Some(r.value), times)
                            .below(&interval(&r).unwrap_or_default())
                            .class(match r {
                                r if r.high < 1.0 => "better",
                                r if r.low > 1.0 => "worse",
                                _ => "",
                            }),
                        None => Cell::nothing(),
                    });
                }
            }
            cells
        })
        .collect();
    sortable("Medians of all machines", &columns, &rows)
}

fn median(row: &Row) -> Cell {
    match row.verdict {
        RowVerdict::Right => {
            let mut notes = Vec::new();
            if let Some(percent) = row.percent.filter(|p| p.is_finite()) {
                notes.push(format!("{percent:.0} %"));
            }
            if row.is_above_ceiling() {
                notes.push(ABOVE.to_string());
            }
            if row.noisy {
                notes.push("noisy".to_string());
            }
            Cell::number(positive(row.median), secs).below(&notes.join(", "))
        }
        RowVerdict::Wrong => Cell::markup("<span class=\"bad\">FAIL</span>".to_string(), ""),
        RowVerdict::Skipped => Cell::markup("skipped".to_string(), "").class("none"),
    }
}
