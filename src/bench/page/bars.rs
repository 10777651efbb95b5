//! A bar per case, grouped by operator: how near to the ceiling, or how long beside the first machine.

use crate::bench::page::chart::{BARS_WIDTH as WIDTH, Scale, Svg, cut};
use crate::bench::page::{Group, bound_class, bound_name, ratio};
use crate::bench::report::{Machine, Row, RowVerdict};
use crate::bench::statistics::Ratio;
use crate::check::side_by_side::Who;
use crate::page::escape;
use crate::page::units::{secs, three};

/// Where names end and bars begin.
const NAMES: f64 = 162.0;
const BARS_END: f64 = WIDTH - 46.0;
const LINE: f64 = 19.0;
/// Letters of a name that fit beside its bar.
const N_LETTERS: usize = 22;

/// Short, so that what tells two rows apart is not cut off.
fn name_of(row: &Row) -> String {
    match row.backward {
        true => format!("← {}", row.case),
        false => row.case.clone(),
    }
}

/// Rows of one operator, one after the other.
fn by_op<'a, T>(items: &'a [T], op: impl Fn(&T) -> &str + 'a) -> Vec<(String, Vec<&'a T>)> {
    let mut groups: Vec<(String, Vec<&T>)> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|(name, _)| name == op(item)) {
            Some((_, members)) => members.push(item),
            None => groups.push((op(item).to_string(), vec![item])),
        }
    }
    groups
}

fn figure(op: &str, svg: String) -> String {
    format!("<figure><h3>{}</h3>{svg}</figure>\n", escape(op))
}

/// Percent of the ceiling, coloured by what bounds the case.
pub fn of_ceiling(machine: &Machine) -> Option<String> {
    let drawn = |row: &&Row| {
        row.verdict == RowVerdict::Wrong
            || (row.verdict == RowVerdict::Right && row.percent.is_some_and(f64::is_finite))
    };
    let rows: Vec<&Row> = machine.rows.iter().filter(drawn).collect();
    if rows.iter().all(|r| r.percent.is_none()) {
        return None;
    }
    let mut out = String::new();
    for (op, members) in by_op(&rows, |r| &r.op) {
        let mut svg = Svg::new();
        for (i, row) in members.iter().enumerate() {
            ceiling_bar(&mut svg, row, LINE * i as f64);
        }
        let label = format!("{op}: percent of the ceiling, by case");
        out += &figure(
            &op,
            svg.close(WIDTH, LINE * members.len() as f64 + 2.0, &label),
        );
    }
    Some(out)
}

fn ceiling_bar(svg: &mut Svg, row: &Row, top: f64) {
    let base = top + 14.0;
    let percent = row.percent.filter(|p| p.is_finite() && *p >= 0.0);
    let right = row.verdict == RowVerdict::Right;
    let hint = match (percent, row.median) {
        (Some(percent), Some(median)) if right => format!(
            "{} {}: {percent:.1} % of the ceiling{}, {}{}",
            row.name(),
            row.shapes,
            match row.is_above_ceiling() {
                true => ", which was measured too low or is counted too high",
                false => "",
            },
            secs(median),
            row.bound
                .map_or(String::new(), |b| format!(", bound by {}", bound_name(b)))
        ),
        _ => format!("{} {}", row.name(), row.shapes),
    };
    svg.push(format_args!("<g><title>{}</title>", escape(&hint)));
    svg.text(0.0, base, "", &cut(&name_of(row), N_LETTERS));
    let x = Scale {
        low: 0.0,
        high: 100.0,
        start: NAMES,
        end: BARS_END,
        log: false,
    };
    svg.push(format_args!(
        "<rect class=\"track\" x=\"{NAMES:.0}\" y=\"{:.1}\" width=\"{:.0}\" height=\"9\" rx=\"2\"/>",
        top + 5.5,
        BARS_END - NAMES
    ));
    match percent {
        Some(percent) if right => {
            svg.push(format_args!(
                "<rect class=\"{}\" x=\"{NAMES:.0}\" y=\"{:.1}\" width=\"{:.1}\" height=\"9\" rx=\"2\"/>",
                bound_class(row.bound),
                top + 5.5,
                (x.at(percent.min(100.0)) - NAMES).max(1.0)
            ));
            let class = match row.is_above_ceiling() {
                true => "end wrong",
                false => "end",
            };
            svg.text(WIDTH - 1.0, base, class, &format!("{percent:.0} %"));
        }
        _ => svg.text(WIDTH - 1.0, base, "end wrong", "FAIL"),
    }
    svg.push(format_args!("</g>"));
}

/// Times over those of the first machine, a bar for each other machine.
pub fn beside_the_first(groups: &[Group], machines: &[Who]) -> Option<String> {
    struct Case<'a> {
        row: &'a Row,
        ratios: Vec<(usize, Ratio)>,
    }
    let mut cases = Vec::new();
    for group in groups {
        let Some(first) = group.rows[0] else { continue };
        let others = group.rows.iter().enumerate().skip(1);
        let ratios: Vec<(usize, Ratio)> = others
            .filter_map(|(m, row)| Some((m, ratio((*row)?, first)?)))
            .collect();
        if !ratios.is_empty() {
            cases.push(Case { row: first, ratios });
        }
    }
    // Every figure has the same axis, so that bars compare across them. What is beyond tenfold ends in an arrow.
    let far = cases
        .iter()
        .flat_map(|c| &c.ratios)
        .map(|(_, r)| r.value.max(1.0 / r.value))
        .fold(1.5, f64::max)
        .min(10.0);
    let x = Scale {
        low: 1.0 / far,
        high: far,
        start: NAMES + 26.0,
        end: BARS_END - 6.0,
        log: true,
    };
    let mut out = String::new();
    for (op, members) in by_op(&cases, |c| &c.row.op) {
        let mut svg = Svg::new();
        let mut top = 0.0;
        for case in &members {
            svg.text(0.0, top + 14.0, "", &cut(&name_of(case.row), N_LETTERS));
            for (m, ratio) in &case.ratios {
                ratio_bar(&mut svg, &case.row.name(), &machines[*m], *ratio, &x, top);
                top += 15.0;
            }
            top += 5.0;
        }
        svg.line((x.at(1.0), 2.0), (x.at(1.0), top - 3.0), "one");
        let label = format!("{op}: time over that of the first machine, by case");
        out += &figure(&op, svg.close(WIDTH, top, &label));
    }
    (!out.is_empty()).then_some(out)
}

fn ratio_bar(svg: &mut Svg, name: &str, who: &Who, ratio: Ratio, x: &Scale, top: f64) {
    let (one, end) = (x.at(1.0), x.at(ratio.value));
    let class = match ratio {
        r if r.high < 1.0 => "faster",
        r if r.low > 1.0 => "slower",
        _ => "equal",
    };
    let spread = interval(&ratio).map_or(String::new(), |i| format!(" ({i})"));
    let hint = format!("{name} on {}: {}{spread}", who.name, times(ratio.value));
    svg.push(format_args!("<g><title>{}</title>", escape(&hint)));
    svg.text(NAMES + 10.0, top + 14.0, "mark mid", &who.letter);
    svg.push(format_args!(
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"9\"/>",
        one.min(end),
        top + 5.5,
        (one - end).abs().max(1.0)
    ));
    let middle = top + 10.0;
    if ratio.value < 0.999 * x.low || ratio.value > 1.001 * x.high {
        let tip = end + if end < one { -6.0 } else { 6.0 };
        svg.push(format_args!(
            "<polygon class=\"{class}\" points=\"{end:.1},{:.1} {tip:.1},{middle:.1} {end:.1},{:.1}\"/>",
            top + 5.5,
            top + 14.5
        ));
    } else if ratio.low < ratio.high {
        let ends = (x.at(ratio.low), x.at(ratio.high));
        svg.line((ends.0, middle), (ends.1, middle), "spread");
    }
    svg.text(WIDTH - 1.0, top + 14.0, "end", &times(ratio.value));
    svg.push(format_args!("</g>"));
}

/// `0.42×`; `1/170` where that reads better.
pub fn times(ratio: f64) -> String {
    match ratio < 0.0995 {
        true => format!("1/{}", three(1.0 / ratio)),
        false => format!("{}×", three(ratio)),
    }
}

/// `0.40–0.45×`; nothing where the spread is not known.
pub fn interval(ratio: &Ratio) -> Option<String> {
    let known = ratio.low < ratio.high;
    let (low, high) = (times(ratio.low), times(ratio.high));
    known.then(|| match (low.strip_suffix('×'), high.ends_with('×')) {
        (Some(low), true) => format!("{low}–{high}"),
        _ => format!("{low}–{high}"),
    })
}
