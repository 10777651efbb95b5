//! Training steps: what their parts take, machines side by side.

use crate::bench::page::bars::times;
use crate::bench::page::chart::{BARS_WIDTH as WIDTH, LETTER, Scale, Svg, cut, legend};
use crate::bench::page::positive;
use crate::bench::page::rows::over_baseline;
use crate::bench::report::{Machine, RowVerdict, Step, Timing};
use crate::bench::statistics::Ratio;
use crate::check::side_by_side::Who;
use crate::page::escape;
use crate::page::table::{Cell, Column, sortable};
use crate::page::units::{bytes, grouped, secs};

/// The times of one part of a step.
type Part = fn(&Step) -> &Option<Timing>;
const PARTS: [(&str, &str, Part); 3] = [
    ("forward", "p1", |s| &s.forward),
    ("backward", "p2", |s| &s.backward),
    ("optimizer", "p3", |s| &s.optimizer),
];

/// One step on all machines that ran it.
struct Group<'a> {
    name: String,
    size: String,
    steps: Vec<(usize, &'a Step)>,
}

fn groups(machines: &[Machine]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for (m, machine) in machines.iter().enumerate() {
        for step in &machine.steps {
            let name = format!("{} {}, batch {}", step.model, step.config, step.batch);
            match groups.iter_mut().find(|g| g.name == name) {
                Some(group) => group.steps.push((m, step)),
                None => groups.push(Group {
                    size: format!("{} parameters", grouped(&step.n_parameters.to_string())),
                    name,
                    steps: vec![(m, step)],
                }),
            }
        }
    }
    groups
}

/// Pictures and a table; `None` where nothing was trained.
pub fn html(machines: &[Machine], who: &[Who]) -> Option<String> {
    let groups = groups(machines);
    if groups.is_empty() {
        return None;
    }
    let mut out = String::from("<div class=\"bars\">\n");
    for group in &groups {
        out += &format!(
            "<figure><h3>{}</h3>{}</figure>\n",
            escape(&group.name),
            picture(group, who)
        );
    }
    out += "</div>\n<p class=\"note\">";
    out += &legend(&PARTS.map(|(name, class, _)| (class, name.to_string())));
    out += &legend(&[(
        "whole",
        "the whole step, host and device overlapping".to_string(),
    )]);
    out += "</p>\n";
    out += &table(&groups, who);
    Some(out)
}

fn picture(group: &Group, who: &[Who]) -> String {
    let several = who.len() > 1;
    let left = if several { 26.0 } else { 0.0 };
    let parts = |step: &Step| -> Vec<f64> {
        PARTS
            .iter()
            .map(|(_, _, of)| of(step).and_then(|t| positive(Some(t.median))))
            .map(|median| median.unwrap_or(0.0))
            .collect()
    };
    let right = |step: &Step| step.verdict == RowVerdict::Right;
    let longest = group
        .steps
        .iter()
        .filter(|(_, step)| right(step))
        .flat_map(|(_, s)| [parts(s).iter().sum(), positive(s.median).unwrap_or(0.0)])
        .fold(0.0, f64::max);
    let x = Scale {
        low: 0.0,
        high: longest.max(f64::MIN_POSITIVE),
        start: left,
        end: WIDTH - 62.0,
        log: false,
    };
    let mut svg = Svg::new();
    for (i, (m, step)) in group.steps.iter().enumerate() {
        let top = 24.0 * i as f64;
        if several {
            svg.text(6.0, top + 16.0, "mark mid", &who[*m].letter);
        }
        if !right(step) {
            let (class, word) = match step.verdict {
                RowVerdict::Wrong => ("wrong", "FAIL"),
                _ => ("mark", "skipped"),
            };
            let detail = step.detail.as_deref().unwrap_or_default();
            let room = ((WIDTH - left) / LETTER) as usize - 12;
            svg.text(left, top + 16.0, class, word);
            svg.text(left + 60.0, top + 16.0, "mark", &cut(detail, room));
            continue;
        }
        let mut so_far = 0.0;
        for ((name, class, _), secs_of_part) in PARTS.iter().zip(parts(step)) {
            if secs_of_part > 0.0 {
                let from = x.at(so_far);
                so_far += secs_of_part;
                svg.push(format_args!(
                    "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"><title>{}</title></rect>",
                    top + 5.0,
                    (x.at(so_far) - from - 1.0).max(0.5),
                    escape(&format!("{name}: {}", secs(secs_of_part)))
                ));
            }
        }
        if let Some(whole) = positive(step.median) {
            let at = x.at(whole);
            svg.line((at, top + 2.0), (at, top + 22.0), "whole");
            svg.text(WIDTH - 1.0, top + 16.0, "end", &secs(whole));
        }
    }
    let label = format!("{}: parts of a training step", group.name);
    svg.close(WIDTH, 24.0 * group.steps.len() as f64 + 2.0, &label)
}

fn table(groups: &[Group], who: &[Who]) -> String {
    let several = who.len() > 1;
    let mut columns = vec![Column::text("Model")];
    if several {
        columns.push(Column::text("Machine"));
    }
    columns.push(Column::number("Step"));
    if several {
        columns.push(Column::number(&format!("over {}", who[0].chip())));
    }
    let held_against = groups
        .iter()
        .flat_map(|g| &g.steps)
        .any(|(_, s)| s.beside.is_some());
    if held_against {
        columns.push(Column::number("Over baseline"));
    }
    for name in [
        "Forward",
        "Backward",
        "Optimizer",
        "First step",
        "Dispatches",
        "Submissions",
        "Bytes bound",
        "Peak memory",
    ] {
        columns.push(Column::number(name));
    }
    let mut rows = Vec::new();
    for group in groups {
        let first = group.steps.iter().find(|(m, _)| *m == 0);
        for (m, step) in &group.steps {
            let mut notes = vec![escape(&group.size)];
            for dropped in &step.dropped {
                notes.push(format!(
                    "<span class=\"bad\">not used:</span> {}",
                    escape(dropped)
                ));
            }
            let mut cells = vec![
                Cell::markup(format!("<b>{}</b>", escape(&group.name)), &group.name)
                    .below(&notes.join("<br>"))
                    .class("kernel"),
            ];
            if several {
                cells.push(Cell::markup(who[*m].chip(), &who[*m].letter));
            }
            let right = step.verdict == RowVerdict::Right;
            cells.push(match step.verdict {
                RowVerdict::Right => Cell::number(positive(step.median), secs),
                verdict => {
                    let word = match verdict {
                        RowVerdict::Wrong => "<span class=\"bad\">FAIL</span>",
                        _ => "skipped",
                    };
                    Cell::markup(word.to_string(), "")
                        .below(&step.detail.as_deref().map(escape).unwrap_or_default())
                        .class("detail")
                }
            });
            if several {
                let ratio = first.filter(|_| *m > 0).and_then(|(_, f)| ratio(step, f));
                cells.push(Cell::number(ratio.filter(|_| right), times));
            }
            if held_against {
                let cell = step.beside.as_ref().map(over_baseline);
                cells.push(cell.unwrap_or_else(Cell::nothing));
            }
            let median = |t: &Option<Timing>| t.as_ref().and_then(|t| positive(Some(t.median)));
            for seconds in [
                median(&step.forward),
                median(&step.backward),
                median(&step.optimizer),
                positive(step.first),
            ] {
                cells.push(Cell::number(seconds.filter(|_| right), secs));
            }
            let known = |n: u64| (right && n > 0).then_some(n as f64);
            let whole = |n: f64| grouped(&format!("{n:.0}"));
            cells.push(Cell::number(known(step.n_dispatches), whole));
            cells.push(Cell::number(known(step.n_submissions), whole));
            for n in [step.bytes, step.peak_bytes] {
                cells.push(Cell::number(known(n), |n| bytes(n as u64)));
            }
            rows.push(cells);
        }
    }
    sortable("Training steps", &columns, &rows)
}

/// Time over that of the first machine.
fn ratio(new: &Step, old: &Step) -> Option<f64> {
    let value = match (&new.step, &old.step) {
        (Some(new), Some(old)) => Ratio::of(new, old).value,
        _ => new.median? / old.median?,
    };
    positive(Some(value))
}
