//! One page of verdicts: of one adapter, or of all that a machine has. Draws what [`Report`] holds and checks nothing.

use std::path::Path;

use crate::check::Environment;
use crate::check::report::{Machine, Report, Verdict};
use crate::check::side_by_side::{Who, card, counted, facts_of, headings, limits_of};
use crate::disk::write_by_rename;
use crate::error::{Error, Result};
use crate::page::table::{Cell, Column, sortable};
use crate::page::units::secs;
use crate::page::{Page, escape, put, section, table};

/// The page as one self-contained document. It is whole without its script, which only sorts tables.
pub fn html(report: &Report) -> String {
    let machines = &report.machines;
    let who = Who::all(machines.iter().map(|m| &m.environment));
    let mut body = String::new();
    if machines.is_empty() {
        section(
            &mut body,
            "Nothing was checked",
            "<p>These results name no adapter.</p>\n",
        );
    } else {
        body += "<div class=\"cards\">\n";
        for (machine, name) in machines.iter().zip(&who) {
            let heading = name.heading(&who);
            body += &card(
                &heading,
                &machine.environment,
                &tiles(machine),
                &verdict(machine),
            );
        }
        body += "</div>\n";
        failures(&mut body, machines, &who);
        section(&mut body, "Operators", &operators(machines, &who));
        section(&mut body, "Where it ran", &environment(machines, &who));
    }
    let title = match &who[..] {
        [one] => format!("affekt check: {}", one.name),
        _ => "affekt check".to_string(),
    };
    Page {
        title: &title,
        lead: &lead(report),
        style: &format!("{}{STYLE}", table::STYLE),
        script: table::SCRIPT,
        class: "wide",
    }
    .around(&body)
}

/// Writes the page, whole or not at all.
///
/// Errors: [`Error::Io`] if it cannot be written.
pub fn write(report: &Report, file: &Path) -> Result<()> {
    write_by_rename(file, html(report).as_bytes()).map_err(|e| Error::io(file, &e))
}

const STYLE: &str = include_str!("page.css");

fn lead(report: &Report) -> String {
    let (of, whose) = match &report.filter {
        Some(filter) => (format!("Cases with {filter:?} in their name"), "their"),
        None => ("Every case of every operator".to_string(), "its"),
    };
    let on = match report.machines.len() {
        0 => return "A file of results without any.".to_string(),
        1 => "on this adapter".to_string(),
        n => format!("on each of {n} adapters"),
    };
    format!("{of} against {whose} definition in 64-bit arithmetic, forward and backward, {on}.")
}

/// Names, and values in markup.
fn tiles(machine: &Machine) -> Vec<(String, String)> {
    let count = |n: usize| n.to_string();
    let mut tiles = vec![("right".to_string(), count(machine.n_right))];
    if machine.n_wrong > 0 {
        let value = format!("<span class=\"bad\">{}</span>", machine.n_wrong);
        tiles.push(("wrong".to_string(), value));
    }
    if machine.n_skipped > 0 {
        tiles.push(("skipped".to_string(), count(machine.n_skipped)));
    }
    tiles.push(("operators".to_string(), count(machine.operators.len())));
    if machine.seconds > 0.0 {
        tiles.push(("time".to_string(), secs(machine.seconds)));
    }
    tiles
}

/// A sentence for the card.
fn verdict(machine: &Machine) -> String {
    let checked = machine.n_right + machine.n_wrong;
    let said = match (&machine.error, machine.n_wrong) {
        (Some(error), _) => format!(
            "<span class=\"bad\">Not checked to the end:</span> {}",
            escape(error)
        ),
        (None, 0) if checked == 0 => "No case was checked.".to_string(),
        (None, 0) => "<span class=\"ok\">All right.</span>".to_string(),
        (None, n) => format!(
            "<span class=\"bad\">{} wrong:</span> do not trust what these kernels compute here.",
            counted(n, "case")
        ),
    };
    format!("<p class=\"verdict\">{said}</p>\n")
}

/// Wrong cases of each machine, with what was found.
fn failures(body: &mut String, machines: &[Machine], who: &[Who]) {
    let mut columns = vec![Column::text("Case")];
    if who.len() > 1 {
        columns.push(Column::text("Machine"));
    }
    for name in ["Operator", "Property", "Found"] {
        columns.push(Column::text(name));
    }
    let mut rows = Vec::new();
    for (machine, name) in machines.iter().zip(who) {
        let wrong = machine.cases.iter().filter(|c| c.verdict == Verdict::Wrong);
        for case in wrong {
            let entry = match (&case.entry, case.variant) {
                (Some(entry), None | Some(0)) => format!("by {}", escape(entry)),
                (Some(entry), Some(variant)) => format!("by {}.{variant}", escape(entry)),
                (None, _) => String::new(),
            };
            let mut cells = vec![Cell::text(&case.name).below(&entry).class("name")];
            if who.len() > 1 {
                cells.push(Cell::markup(name.chip(), &name.letter));
            }
            cells.push(Cell::text(&case.op));
            cells.push(Cell::text(&case.property));
            let found = case.detail.as_deref().unwrap_or_default();
            cells.push(Cell::text(found).class("found"));
            rows.push(cells);
        }
    }
    if !rows.is_empty() {
        section(
            body,
            "What is wrong",
            &sortable("Wrong cases", &columns, &rows),
        );
    }
}

fn operators(machines: &[Machine], who: &[Who]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for operator in machines.iter().flat_map(|m| &m.operators) {
        if !names.contains(&operator.name.as_str()) {
            names.push(&operator.name);
        }
    }
    if names.is_empty() {
        return "<p>No operator was checked.</p>\n".to_string();
    }
    let several = who.len() > 1;
    let mut columns = vec![Column::text("Operator")];
    for name in who {
        let chip = match several {
            true => format!("{} ", name.chip()),
            false => String::new(),
        };
        for what in ["right", "wrong", "skipped", "time"] {
            columns.push(Column::number(&format!("{chip}{what}")));
        }
    }
    let of = |machine: &Machine, name: &str| -> [Cell; 4] {
        let operator = machine.operators.iter().find(|o| o.name == name);
        let Some(operator) = operator else {
            return [(); 4].map(|()| Cell::nothing());
        };
        let count = |n: usize, class| {
            let cell = Cell::number(Some(n as f64), |n| format!("{n:.0}"));
            cell.class(if n == 0 { "none" } else { class })
        };
        [
            count(operator.n_right, ""),
            count(operator.n_wrong, "bad"),
            count(operator.n_skipped, ""),
            Cell::number(Some(operator.seconds), secs),
        ]
    };
    let rows: Vec<Vec<Cell>> = names
        .iter()
        .map(|name| {
            let mut cells = vec![Cell::text(name).class("name")];
            cells.extend(machines.iter().flat_map(|m| of(m, name)));
            cells
        })
        .collect();
    sortable("Operators", &columns, &rows)
}

fn environment(machines: &[Machine], who: &[Who]) -> String {
    let environments: Vec<&Environment> = machines.iter().map(|m| &m.environment).collect();
    let mut out = facts_of(&environments).table("What ran where", &headings(who));
    out += &limits_of(&environments, who);
    for (machine, name) in machines.iter().zip(who) {
        let place = match who.len() {
            1 => String::new(),
            _ => format!(" on {}", name.heading(who)),
        };
        out += &skipped(machine, &place);
    }
    out
}

/// Reasons, each with how many cases it took.
fn skipped(machine: &Machine, place: &str) -> String {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    let cases = machine.cases.iter();
    for case in cases.filter(|c| c.verdict == Verdict::Skipped) {
        let reason = case.detail.as_deref().unwrap_or("without a reason");
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, n)) => *n += 1,
            None => reasons.push((reason, 1)),
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details><summary>{} skipped{place}</summary>\n<ul>\n",
        counted(machine.n_skipped, "case")
    );
    for (reason, n) in reasons {
        put(
            &mut out,
            &format!("<li>{}: {}</li>", counted(n, "case"), escape(reason)),
        );
    }
    out += "</ul>\n</details>\n";
    out
}
