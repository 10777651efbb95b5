//! One page of results: of one machine, or of many side by side. Draws what [`Report`] holds and measures nothing.
//!
//! The page needs nothing from outside, follows the light or dark scheme, and fits the width of a phone. Its charts are
//! SVG and its text is there without the script, which only sorts.

mod bars;
mod chart;
mod ladders;
mod memory;
mod roofline;
mod rows;
mod steps;

use std::path::Path;

use crate::bench::compare::{MARGIN, MOST_SLACK};
use crate::bench::page::chart::{flop_s, gb_s, legend};
use crate::bench::report::{Bound, Ceilings, Machine, Report, Row, RowVerdict};
use crate::bench::statistics::Ratio;
use crate::check::Environment;
use crate::check::side_by_side::{Who, card, counted, facts_of, headings, limits_of};
use crate::disk::write_by_rename;
use crate::error::{Error, Result};
use crate::page::facts::Facts;
use crate::page::units::{secs, secs_between, three};
use crate::page::{Page, escape, figure, put, section, table};

/// The page as one self-contained document.
pub fn html(report: &Report) -> String {
    let machines = &report.machines;
    let who = Who::all(machines.iter().map(|m| &m.environment));
    let groups = Group::all(machines);
    let mut body = String::new();
    if machines.is_empty() {
        section(
            &mut body,
            "Nothing was measured",
            "<p>These results name no machine.</p>\n",
        );
    } else {
        body += &cards(machines, &who, &groups);
        section(&mut body, "Where it ran", &environment(machines, &who));
        let ceilings = ceilings(machines, &who);
        if !ceilings.is_empty() {
            section(&mut body, "What the adapter can do", &ceilings);
        }
        let ladders = ladders::html(machines, &who);
        // A run of rungs alone has no rows to miss.
        if !groups.is_empty() || ladders.is_none() {
            kernels(&mut body, machines, &who, &groups);
        }
        if let Some(ladders) = ladders {
            section(&mut body, "Rungs", &ladders);
        }
        if let Some(steps) = steps::html(machines, &who) {
            section(&mut body, "Training steps", &steps);
        }
    }
    let title = match &who[..] {
        [one] => format!("affekt bench: {}", one.name),
        _ => "affekt bench".to_string(),
    };
    Page {
        title: &title,
        lead: &lead(machines, &groups),
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

/// Rows of one case and equal shapes, by machine.
pub(crate) struct Group<'a> {
    rows: Vec<Option<&'a Row>>,
}

impl<'a> Group<'a> {
    /// In the order in which the machines name them first, operators together.
    fn all(machines: &'a [Machine]) -> Vec<Self> {
        let mut groups: Vec<Group> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (m, machine) in machines.iter().enumerate() {
            for row in &machine.rows {
                let key = (row.name(), &row.shapes);
                let place = *places.entry(key).or_insert_with(|| {
                    groups.push(Group {
                        rows: vec![None; machines.len()],
                    });
                    groups.len() - 1
                });
                groups[place].rows[m].get_or_insert(row);
            }
        }
        let mut ops: Vec<&str> = Vec::new();
        for group in &groups {
            let op = group.any().op.as_str();
            if !ops.contains(&op) {
                ops.push(op);
            }
        }
        let order = |g: &Group| ops.iter().position(|op| *op == g.any().op);
        groups.sort_by_key(order);
        groups
    }

    fn any(&self) -> &'a Row {
        let row = self.rows.iter().flatten().next();
        row.expect("a group is made for a row")
    }
}

/// Time of `new` over that of `old`, where both have right numbers: of one clock where there is one that both have.
pub(crate) fn ratio(new: &Row, old: &Row) -> Option<Ratio> {
    if new.verdict != RowVerdict::Right || old.verdict != RowVerdict::Right {
        return None;
    }
    let timings = [
        (new.gpu.as_ref(), old.gpu.as_ref()),
        (new.wall.as_ref(), old.wall.as_ref()),
    ];
    let pair = timings.into_iter().find_map(|(n, o)| Some((n?, o?)));
    let ratio = match pair {
        Some((new, old)) => Ratio::of(new, old),
        // Times of two clocks are no ratio.
        None if new.timing().or(old.timing()).is_some() => return None,
        None => {
            let value = new.median? / old.median?;
            Ratio {
                value,
                low: value,
                high: value,
            }
        }
    };
    let sound = |v: f64| v.is_finite() && v > 0.0;
    match sound(ratio.low) && sound(ratio.high) {
        true => Some(ratio),
        // Without a spread there is no interval.
        false => Some(Ratio {
            low: ratio.value,
            high: ratio.value,
            ..ratio
        }),
    }
    .filter(|r| sound(r.value))
}

/// A number above zero, or none.
pub(crate) fn positive(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite() && *v > 0.0)
}

pub(crate) fn bound_name(bound: Bound) -> &'static str {
    match bound {
        Bound::Memory => "memory",
        Bound::Compute => "compute",
        Bound::Launch => "launch",
    }
}

pub(crate) fn bound_class(bound: Option<Bound>) -> &'static str {
    match bound {
        Some(Bound::Memory) => "b-memory",
        Some(Bound::Compute) => "b-compute",
        Some(Bound::Launch) => "b-launch",
        None => "b-none",
    }
}

fn bound_legend() -> String {
    let bounds = [Bound::Memory, Bound::Compute, Bound::Launch];
    legend(&bounds.map(|b| (bound_class(Some(b)), bound_name(b).to_string())))
}

/// Right, wrong, skipped.
fn counts(machine: &Machine) -> [usize; 3] {
    [RowVerdict::Right, RowVerdict::Wrong, RowVerdict::Skipped]
        .map(|verdict| machine.rows.iter().filter(|r| r.verdict == verdict).count())
}

fn lead(machines: &[Machine], groups: &[Group]) -> String {
    let took: f64 = machines.iter().map(|m| m.health.seconds).sum();
    let took = match positive(Some(took)) {
        Some(took) => format!(", measured in {}", secs(took)),
        None => String::new(),
    };
    let kernels = match machines.iter().map(|m| m.ladders.len()).sum() {
        n if groups.is_empty() && n > 0 => counted(n, "ladder"),
        _ => counted(groups.len(), "case"),
    };
    match machines {
        [] => "A file of results without any.".to_string(),
        [one] if one.ceilings.is_some() => {
            format!("{kernels} of compute kernels beside what this adapter can do at most{took}.")
        }
        [_] => format!("{kernels} of compute kernels{took}."),
        many => format!(
            "{kernels} of compute kernels on {} machines side by side{took}.",
            many.len()
        ),
    }
}

fn cards(machines: &[Machine], who: &[Who], groups: &[Group]) -> String {
    let mut out = String::from("<div class=\"cards\">\n");
    for (m, machine) in machines.iter().enumerate() {
        let heading = who[m].heading(who);
        out += &card(
            &heading,
            &machine.environment,
            &tiles(machines, m, groups),
            "",
        );
    }
    out += "</div>\n";
    out
}

/// Names, and values in markup: the few numbers that say most.
fn tiles(machines: &[Machine], m: usize, groups: &[Group]) -> Vec<(String, String)> {
    let machine = &machines[m];
    let [right, wrong, skipped] = counts(machine);
    let mut tiles = Vec::new();
    // A run of rungs alone has no rows to count.
    if !machine.rows.is_empty() {
        tiles.push(("right".to_string(), right.to_string()));
    }
    if wrong > 0 {
        tiles.push((
            "wrong".to_string(),
            format!("<span class=\"bad\">{wrong}</span>"),
        ));
    }
    if skipped > 0 {
        tiles.push(("skipped".to_string(), skipped.to_string()));
    }
    if m > 0 {
        let logs: Vec<f64> = groups
            .iter()
            .filter_map(|g| Some(ratio(g.rows[m]?, g.rows[0]?)?.value.ln()))
            .collect();
        if !logs.is_empty() {
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            tiles.push((
                format!("time over A, mean of {}", logs.len()),
                bars::times(mean),
            ));
        }
    }
    let above = machine.rows.iter().filter(|r| r.is_above_ceiling()).count();
    if above > 0 {
        tiles.push((
            "above the ceiling".to_string(),
            format!("<span class=\"bad\">{above}</span>"),
        ));
    }
    let slower = machine
        .rows
        .iter()
        .filter_map(|r| r.beside.as_ref())
        .chain(machine.steps.iter().filter_map(|s| s.beside.as_ref()))
        .filter(|b| b.change.is_regression())
        .count();
    if slower > 0 {
        tiles.push((
            "worse than the baseline".to_string(),
            format!("<span class=\"bad\">{slower}</span>"),
        ));
    }
    let mut percents: Vec<f64> = machine
        .rows
        .iter()
        .filter(|r| r.verdict == RowVerdict::Right)
        .filter_map(|r| r.percent.filter(|p| p.is_finite()))
        .collect();
    if !percents.is_empty() {
        percents.sort_by(f64::total_cmp);
        let median = crate::bench::statistics::quantile(&percents, 0.5);
        tiles.push((
            "of the ceiling, median".to_string(),
            format!("{median:.0} %"),
        ));
    }
    if let Some(ceilings) = &machine.ceilings {
        if let Some(rate) = of_largest(ceilings) {
            tiles.push(("memory, copy".to_string(), gb_s(rate)));
        }
        if let Some(rate) = positive(Some(ceilings.f32_gflop_s)) {
            tiles.push(("f32 arithmetic".to_string(), flop_s(rate)));
        }
    }
    tiles
}

/// Copying the largest working set, in GB/s.
fn of_largest(ceilings: &Ceilings) -> Option<f64> {
    let measured = ceilings.memory.iter().filter(|p| p.copy_gb_s > 0.0);
    positive(measured.max_by_key(|p| p.bytes).map(|p| p.copy_gb_s))
}

fn environment(machines: &[Machine], who: &[Who]) -> String {
    let environments: Vec<&Environment> = machines.iter().map(|m| &m.environment).collect();
    let mut facts = facts_of(&environments);
    facts.markup("Clock", machines.iter().map(clock));
    facts.markup("Steadiness", machines.iter().map(steadiness));
    let mut out = facts.table("What ran where", &headings(who));
    out += &limits_of(&environments, who);
    out += &skipped(machines, who);
    out
}

fn clock(machine: &Machine) -> String {
    match machine.health.clock.as_str() {
        "timestamps" => "timestamps of the device".to_string(),
        "wall" => "wall clock; the device has no timestamps".to_string(),
        other => escape(other),
    }
}

fn steadiness(machine: &Machine) -> String {
    let health = &machine.health;
    let mut parts = Vec::new();
    if let Some(reason) = &health.lost {
        parts.push(format!(
            "<span class=\"bad\">ended early:</span> {}; {} missing: {}",
            escape(reason),
            counted(health.missing.len(), "case"),
            escape(&health.missing.join(", "))
        ));
    }
    if let Some(slack) = health.slack.filter(|s| s.is_finite() && *s > 1.005) {
        parts.push(format!(
            "ceilings {}{}× as slow as those of the baseline, by which ratios to it are divided before they are judged",
            if slack < MOST_SLACK { "" } else { "at least " },
            three(slack)
        ));
    }
    if let Some(noise) = health.noise.filter(|n| n.is_finite() && *n > 1.0 + MARGIN) {
        parts.push(format!(
            "rows up to {}× as slow as the baseline are taken for noise, by how far all ratios lie apart",
            three(noise)
        ));
    }
    if let Some(slowdown) = positive(Some(health.slowdown)) {
        let words = format!("after the run {}× the time of before", three(slowdown));
        parts.push(match health.throttled {
            true => format!("<span class=\"bad\">slowed down:</span> {words}"),
            false => words,
        });
    } else if health.throttled {
        parts.push("<span class=\"bad\">slowed down</span>".to_string());
    }
    parts.push(match health.n_noisy {
        0 => "no noisy case".to_string(),
        n => counted(n, "noisy case"),
    });
    if health.n_discarded > 0 {
        parts.push(format!(
            "{} discarded",
            counted(health.n_discarded, "timestamp")
        ));
    }
    if let Some(took) = positive(Some(health.seconds)) {
        parts.push(format!("{} in all", secs(took)));
    }
    parts.join("; ")
}

/// What was skipped on which machine and why, folded.
fn skipped(machines: &[Machine], who: &[Who]) -> String {
    let mut n = 0;
    let mut lists = String::new();
    for (machine, name) in machines.iter().zip(who) {
        let mut reasons = machine.health.skipped.clone();
        if reasons.is_empty() {
            let rows = machine.rows.iter();
            let rows = rows.filter(|r| r.verdict == RowVerdict::Skipped);
            reasons = rows
                .map(|r| match &r.detail {
                    Some(detail) => format!("{}: {detail}", r.name()),
                    None => r.name(),
                })
                .collect();
        }
        if reasons.is_empty() {
            continue;
        }
        n += reasons.len();
        if who.len() > 1 {
            put(&mut lists, &format!("<p>{}</p>", name.heading(who)));
        }
        lists += "<ul>\n";
        for reason in &reasons {
            put(&mut lists, &format!("<li>{}</li>", escape(reason)));
        }
        lists += "</ul>\n";
    }
    match n {
        0 => lists,
        n => format!(
            "<details><summary>{} skipped</summary>\n{lists}</details>\n",
            counted(n, "case")
        ),
    }
}

fn ceilings(machines: &[Machine], who: &[Who]) -> String {
    if machines.iter().all(|m| m.ceilings.is_none()) {
        return String::new();
    }
    let mut charts = String::new();
    for (machine, name) in machines.iter().zip(who) {
        let Some(ceilings) = &machine.ceilings else {
            continue;
        };
        if who.len() > 1 {
            put(&mut charts, &format!("<h3>{}</h3>", name.heading(who)));
        }
        charts += "<div class=\"pair\">\n";
        if let Some(svg) = roofline::svg(machine, &format!("Roofline of {}", name.name)) {
            let caption = format!(
                "Roofline: each dot is a case, coloured by what bounds it: {}",
                bound_legend()
            );
            charts += &figure(&svg, &caption);
        }
        if let Some((svg, meanings)) =
            memory::svg(ceilings, &format!("Memory rates of {}", name.name))
        {
            let caption = format!("Memory by working set; at the largest: {meanings}");
            charts += &figure(&svg, &caption);
        }
        charts += "</div>\n";
    }
    charts + &ceiling_facts(machines).table("Ceilings", &headings(who))
}

fn ceiling_facts(machines: &[Machine]) -> Facts {
    let each = |of: &dyn Fn(&Ceilings) -> Option<String>| -> Vec<String> {
        let all = machines.iter().map(|m| m.ceilings.as_ref().and_then(of));
        all.map(Option::unwrap_or_default).collect()
    };
    let rate = |of: fn(&Ceilings) -> f64| each(&|c| positive(Some(of(c))).map(gb_s));
    let mut facts = Facts::default();
    facts.text(
        "f32 arithmetic",
        each(&|c| positive(Some(c.f32_gflop_s)).map(flop_s)),
    );
    facts.text(
        "f16 arithmetic",
        each(&|c| {
            Some(positive(c.f16_gflop_s).map_or("kernels may not use f16".to_string(), flop_s))
        }),
    );
    let mut counts: Vec<u32> = machines
        .iter()
        .filter_map(|m| m.ceilings.as_ref())
        .flat_map(|c| c.launch.iter().map(|p| p.n_dispatches))
        .collect();
    counts.sort_unstable();
    counts.dedup();
    for n in counts {
        let name = match n {
            1 => "Launch, 1 dispatch per submission".to_string(),
            n => format!("{n} dispatches, each"),
        };
        facts.text(
            &name,
            each(&|c| {
                let point = c.launch.iter().find(|p| p.n_dispatches == n);
                point.and_then(|p| positive(Some(p.secs))).map(secs)
            }),
        );
    }
    facts.text("Upload", rate(|c| c.upload_gb_s));
    facts.text("Download", rate(|c| c.download_gb_s));
    facts.text(
        "Readback of one number",
        each(&|c| {
            let t = &c.readback;
            let median = positive(Some(t.median))?;
            Some(match t.p10 > 0.0 && t.p90 >= t.p10 {
                true => format!("{} ({})", secs(median), secs_between(t.p10, t.p90)),
                false => secs(median),
            })
        }),
    );
    facts.text(
        "Cooperative matrices",
        each(&|c| {
            Some(match c.cooperative.is_empty() {
                true => "none".to_string(),
                false => c.cooperative.join(", "),
            })
        }),
    );
    facts
}

fn kernels(body: &mut String, machines: &[Machine], who: &[Who], groups: &[Group]) {
    if groups.is_empty() {
        section(body, "Kernels", "<p>No kernel was timed.</p>\n");
        return;
    }
    if let [machine] = machines {
        if let Some(bars) = bars::of_ceiling(machine) {
            let note = format!(
                "<p class=\"note\">Percent of what the ceilings allow for the case's compulsory bytes and \
                 operations, coloured by what bounds it: {} An arrow is the backward pass. A case above 100 % has a ceiling that was measured too \
                 low, or work that is counted too high.</p>\n",
                bound_legend()
            );
            section(
                body,
                "How near to the ceiling",
                &format!("{note}<div class=\"bars\">\n{bars}</div>\n"),
            );
        }
        section(
            body,
            "Every case",
            &rows::of_one("Every case", &machine.rows),
        );
        return;
    }
    if let Some(bars) = bars::beside_the_first(groups, who) {
        let note = format!(
            "<p class=\"note\">Time over that of {}, on a logarithmic axis; thin lines are what the spreads (10th to \
             90th percentile) allow. {}</p>\n",
            who[0].heading(who),
            legend(&[
                ("faster", "shorter, to the left of the line".to_string()),
                ("slower", "longer".to_string()),
                ("equal", "the spreads explain it".to_string()),
            ]),
        );
        section(
            body,
            "Beside the first machine",
            &format!("{note}<div class=\"bars\">\n{bars}</div>\n"),
        );
    }
    let clocks: Vec<&str> = machines.iter().map(|m| m.health.clock.as_str()).collect();
    let mut every = String::new();
    if clocks.iter().any(|c| *c != clocks[0]) {
        every += "<p class=\"note\">Medians are by different clocks; ratios are of wall times where a machine has no \
                  timestamps.</p>\n";
    }
    every += &rows::side_by_side(groups, who);
    for (machine, name) in machines.iter().zip(who) {
        if !machine.rows.is_empty() {
            let heading = name.heading(who);
            let label = format!("Every case on {}", name.name);
            every += &format!(
                "<details><summary>All that is known of {heading}</summary>\n{}</details>\n",
                rows::of_one(&label, &machine.rows)
            );
        }
    }
    section(body, "Every case", &every);
}

/// Charts and cells that only this page has.
const STYLE: &str = include_str!("page/style.css");
