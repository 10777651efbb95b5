//! What each rung takes on each case, and where the chosen one is not the fastest.

use crate::bench::compare::MARGIN;
use crate::bench::page::bars::{interval, times};
use crate::bench::page::positive;
use crate::bench::report::{Ladder, Machine, Rung};
use crate::check::side_by_side::{Who, counted};
use crate::page::table::{Cell, Column, sortable};
use crate::page::units::{secs, secs_between};
use crate::page::{escape, put};

/// The tables of all machines; `None` if none has ladders.
pub fn html(machines: &[Machine], who: &[Who]) -> Option<String> {
    let mut out = String::new();
    for (machine, name) in machines.iter().zip(who) {
        if machine.ladders.is_empty() {
            continue;
        }
        if who.len() > 1 {
            put(&mut out, &format!("<h3>{}</h3>", name.heading(who)));
        }
        out += &losers(&machine.ladders);
        let label = format!("Rungs on {}", name.name);
        out += &table(&label, &machine.ladders);
    }
    (!out.is_empty()).then_some(out)
}

fn losers(ladders: &[Ladder]) -> String {
    let mut lines = Vec::new();
    for ladder in ladders {
        for (rung, ratio) in ladder.faster(MARGIN) {
            lines.push(format!(
                "<li>{}: {} of <code>{}</code></li>",
                escape(&ladder.name()),
                times(ratio.value),
                escape(&rung.entries.join(" "))
            ));
        }
    }
    let n = counted(ladders.len(), "ladder");
    match lines.is_empty() {
        true => format!("<p>The chosen rung is the fastest, or as fast, in all of {n}.</p>\n"),
        false => format!(
            "<p>The chosen rung takes longer than another one, of {n}:</p>\n<ul>\n{}\n</ul>\n",
            lines.join("\n")
        ),
    }
}

fn table(label: &str, ladders: &[Ladder]) -> String {
    let columns = [
        Column::text("Case"),
        Column::text("Pass"),
        Column::text("Rung"),
        Column::text("Entry points"),
        Column::number("Median"),
        Column::number("p10–p90"),
        Column::number("Chosen over this"),
    ];
    let cells: Vec<Vec<Cell>> = ladders
        .iter()
        .flat_map(|ladder| ladder.rungs.iter().map(move |rung| cells_of(ladder, rung)))
        .collect();
    sortable(label, &columns, &cells)
}

fn cells_of(ladder: &Ladder, rung: &Rung) -> Vec<Cell> {
    let timing = rung.timing.as_ref();
    let spread = timing.map(|t| {
        let shown = move |_| secs_between(t.p10, t.p90);
        Cell::number(positive(Some((t.p90 - t.p10) / t.median)), shown)
    });
    let entries = format!("<code>{}</code>", escape(&rung.entries.join(" ")));
    let skipped = rung.skipped.as_deref().unwrap_or_default();
    let ratio = match (rung.chosen, rung.chosen_over_this) {
        (true, _) => Cell::text("chosen"),
        (false, Some(r)) => Cell::number(Some(r.value), times)
            .below(&interval(&r).unwrap_or_default())
            .class(if r.is_slower(MARGIN) { "worse" } else { "" }),
        (false, None) => Cell::nothing(),
    };
    vec![
        Cell::text(&format!("{}/{}", ladder.op, ladder.case))
            .below(&format!("<code>{}</code>", escape(&ladder.shapes)))
            .class("kernel"),
        Cell::text(&ladder.role),
        Cell::text(&rung.rung),
        Cell::markup(entries, &rung.entries.join(" "))
            .below(&escape(skipped))
            .class("long"),
        Cell::number(positive(timing.map(|t| t.median)), secs),
        spread.unwrap_or_else(Cell::nothing),
        ratio,
    ]
}
