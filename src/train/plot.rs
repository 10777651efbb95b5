//! Curves and confusion matrices as SVG that stands alone: inside a page or as a file, light or dark as the reader has
//! it, readable at the width of a phone.

use std::fmt::Write as _;

use crate::train::metrics::{Confusion, Scores};
use crate::train::picture::data_uri;

/// Width of every picture in its own units; shown at 400 CSS pixels or more, 12 units are readable text.
const WIDTH: f64 = 400.0;
/// Width of an average letter of the 12 unit text, for deciding what fits.
const LETTER: f64 = 6.6;

/// A line of a chart.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    pub name: &'a str,
    /// (x, y), x ascending. The line is broken at a point that is not finite.
    pub points: &'a [(f64, f64)],
}

/// What stands around the lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Axes<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    /// Lowest and highest y; by the points if absent.
    pub y_range: Option<(f64, f64)>,
}

/// Lines over a common axis, such as the loss or the UAR by epoch.
///
/// Beyond one line there is a legend, with the last value of each. Eight colours; a ninth line takes the first, dashed.
pub fn line_chart(axes: Axes, series: &[Series]) -> String {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let points = || series.iter().flat_map(|s| s.points.iter()).filter(finite);
    let (x_low, x_high) = widened(span(points().map(|p| p.0)));
    let (low, high) = match axes.y_range {
        Some((low, high)) if low < high => (low, high),
        _ => widened(span(points().map(|p| p.1))),
    };
    let y_ticks = ticks(low, high, 5);
    // Without a given range, the axis ends on the marks around the points.
    let (low, high) = match (axes.y_range, &y_ticks[..]) {
        (None, [first, second, ..]) => {
            let step = second - first;
            ((low / step).floor() * step, (high / step).ceil() * step)
        }
        _ => (low, high),
    };
    let y_ticks = ticks(low, high, 5);
    let legend = legend(series);
    let label_width = y_ticks
        .iter()
        .map(|t| number(*t, &y_ticks).len())
        .max()
        .unwrap_or(1);
    let left = 16.0 + LETTER * label_width as f64;
    let top = 40.0 + 20.0 * legend.n_rows as f64;
    let (right, bottom) = (WIDTH - 14.0, top + 190.0);
    let height = bottom + 44.0;
    let x_at = |x: f64| left + (x - x_low) / (x_high - x_low) * (right - left);
    let y_at = |y: f64| bottom - (y - low) / (high - low) * (bottom - top);

    let mut svg = open(height, axes.title);
    svg.push_str(&legend.svg);
    for &tick in &y_ticks {
        let y = y_at(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{left:.1}" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="mark" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 6.0,
            y + 4.0,
            number(tick, &y_ticks)
        );
    }
    let x_ticks = ticks(x_low, x_high, 6);
    for &tick in &x_ticks {
        let _ = write!(
            svg,
            r#"<text class="mark" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            x_at(tick),
            bottom + 17.0,
            number(tick, &x_ticks)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="mark" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        (left + right) / 2.0,
        bottom + 35.0,
        escape(axes.x_label)
    );
    if points().next().is_none() {
        let _ = write!(
            svg,
            r#"<text class="mark" x="{:.1}" y="{:.1}" text-anchor="middle">nothing to draw</text>"#,
            (left + right) / 2.0,
            (top + bottom) / 2.0
        );
    }
    for (i, line) in series.iter().enumerate() {
        for run in line.points.split(|p| !finite(&p)) {
            let at = |p: &(f64, f64)| format!("{:.1},{:.1}", x_at(p.0), y_at(p.1.clamp(low, high)));
            let path: Vec<String> = run.iter().map(at).collect();
            match &path[..] {
                [] => {}
                [_] => {
                    let (x, y) = (x_at(run[0].0), y_at(run[0].1.clamp(low, high)));
                    let _ = write!(
                        svg,
                        r#"<circle class="f{}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#,
                        i % 8
                    );
                }
                path => {
                    let _ = write!(
                        svg,
                        r#"<polyline class="s{}"{} points="{}"><title>{}</title></polyline>"#,
                        i % 8,
                        dashes(i),
                        path.join(" "),
                        escape(line.name)
                    );
                }
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A confusion matrix with counts and, below each, its percentage of the row; the diagonal's is the recall.
///
/// Rows are references and columns predictions; colour is the percentage. A class without items has a row of dashes.
/// `classes` beyond the matrix are left out, missing ones get their number, names beyond 24 letters are cut.
pub fn confusion_svg(title: &str, confusion: &Confusion, classes: &[String]) -> String {
    let n = confusion.n_classes();
    let name = |c: usize| match classes.get(c) {
        Some(name) if name.chars().count() > 24 => name.chars().take(23).chain(['…']).collect(),
        Some(name) => name.clone(),
        None => c.to_string(),
    };
    let letters = |c: usize| name(c).chars().count() as f64;
    let longest = (0..n).map(letters).fold(1.0, f64::max);
    let left = 34.0 + LETTER * longest;
    let cell_beside = |margin: f64| ((WIDTH - margin - left) / n.max(1) as f64).min(76.0);
    let turned = LETTER * longest > cell_beside(12.0) - 4.0;
    // Names that are too wide stand at 60 degrees; the last one leans over the right edge of its cell.
    let (cell, top) = match turned {
        true => {
            let lean = 0.5 * LETTER * longest - 0.5 * cell_beside(12.0);
            (
                cell_beside(12.0 + lean.max(0.0)),
                62.0 + 0.87 * LETTER * longest,
            )
        }
        false => (cell_beside(12.0), 78.0),
    };
    // Three digits and a percentage need this much; below, the counts stand alone.
    let row_height = cell.clamp(20.0, 56.0);
    let bottom = top + row_height * n as f64;
    let mut svg = open(bottom + 36.0, title);
    let middle = left + cell * n as f64 / 2.0;
    let _ = write!(
        svg,
        r#"<text class="mark" x="{middle:.1}" y="48" text-anchor="middle">predicted</text><text class="mark" text-anchor="middle" transform="translate(16 {:.1}) rotate(-90)">reference</text>"#,
        (top + bottom) / 2.0
    );
    for c in 0..n {
        let x = left + cell * (c as f64 + 0.5);
        let place = match turned {
            true => format!(
                r#"transform="translate({:.1} {:.1}) rotate(-60)""#,
                x + 2.0,
                top - 6.0
            ),
            false => format!(r#"x="{x:.1}" y="{:.1}" text-anchor="middle""#, top - 9.0),
        };
        let _ = write!(
            svg,
            r#"<text {place}>{0}</text><text x="{1:.1}" y="{2:.1}" text-anchor="end">{0}</text>"#,
            escape(&name(c)),
            left - 8.0,
            top + row_height * (c as f64 + 0.5) + 4.0
        );
    }
    for row in 0..n {
        let support = confusion.support(row);
        for column in 0..n {
            let count = confusion.count(row, column);
            let share = count as f64 / support.max(1) as f64;
            let (x, y) = (left + cell * column as f64, top + row_height * row as f64);
            // Text flips to the other ink where the cell is closer to the full colour.
            let ink = match share {
                s if s >= 0.7 => "on full",
                s if s >= 0.55 => "on half",
                _ => "on",
            };
            let hint = match support {
                0 => format!("no item is {}", name(row)),
                _ => format!(
                    "{count} of {support} {} taken for {}: {:.1} %",
                    name(row),
                    name(column),
                    100.0 * share
                ),
            };
            let _ = write!(
                svg,
                r#"<g><title>{}</title><rect class="empty" x="{:.1}" y="{:.1}" width="{w:.1}" height="{h:.1}" rx="3"/><rect class="cell" fill-opacity="{share:.3}" x="{:.1}" y="{:.1}" width="{w:.1}" height="{h:.1}" rx="3"/>"#,
                escape(&hint),
                x + 1.0,
                y + 1.0,
                x + 1.0,
                y + 1.0,
                w = cell - 2.0,
                h = row_height - 2.0,
            );
            let centre = x + cell / 2.0;
            let both = row_height >= 34.0 && cell >= 34.0;
            let y_count = y + row_height / 2.0 + if both { -2.0 } else { 4.0 };
            let text = match support {
                0 => "–".to_string(),
                _ => count.to_string(),
            };
            let _ = write!(
                svg,
                r#"<text class="{ink} count" x="{centre:.1}" y="{y_count:.1}" text-anchor="middle">{text}</text>"#
            );
            if both && support > 0 {
                let _ = write!(
                    svg,
                    r#"<text class="{ink} share" x="{centre:.1}" y="{:.1}" text-anchor="middle">{:.0} %</text>"#,
                    y_count + 15.0,
                    100.0 * share
                );
            }
            svg.push_str("</g>");
        }
    }
    let summary = match confusion.scores() {
        Some(Scores { n, uar, war, .. }) => format!("{n} items, UAR {uar:.3}, WAR {war:.3}"),
        None => "no items".into(),
    };
    let _ = write!(
        svg,
        r#"<text class="mark" x="{:.1}" y="{:.1}">{summary}</text></svg>"#,
        left,
        bottom + 22.0
    );
    svg.push('\n');
    svg
}

/// A spectrogram, as [`spectrogram_png`](super::picture::spectrogram_png) makes it, with seconds below and marks beside.
///
/// `marks` are heights from 0, the bottom, to 1 with their text, such as `(0.5, "1.7 kHz")`.
pub fn spectrogram_svg(title: &str, png: &[u8], seconds: f64, marks: &[(f64, &str)]) -> String {
    let letters = |m: &(f64, &str)| m.1.chars().count();
    let longest = marks.iter().map(letters).max().unwrap_or(0);
    let (left, right) = (20.0 + LETTER * longest as f64, WIDTH - 14.0);
    let (top, bottom) = (38.0, 198.0);
    let seconds = match seconds.is_finite() && seconds > 0.0 {
        true => seconds,
        false => 1.0,
    };
    let mut svg = open(bottom + 44.0, title);
    let _ = write!(
        svg,
        r#"<image x="{left:.1}" y="{top}" width="{:.1}" height="{:.1}" preserveAspectRatio="none" href="{}"/>"#,
        right - left,
        bottom - top,
        data_uri(png)
    );
    for (height, text) in marks {
        let y = bottom - height.clamp(0.0, 1.0) * (bottom - top);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{:.1}" x2="{left:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="mark" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 4.0,
            left - 7.0,
            y + 4.0,
            escape(text)
        );
    }
    let x_ticks = ticks(0.0, seconds, 5);
    for tick in &x_ticks {
        let _ = write!(
            svg,
            r#"<text class="mark" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            left + tick / seconds * (right - left),
            bottom + 17.0,
            number(*tick, &x_ticks)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="mark" x="{:.1}" y="{:.1}" text-anchor="middle">seconds</text></svg>"#,
        (left + right) / 2.0,
        bottom + 35.0
    );
    svg.push('\n');
    svg
}

/// The opening of a picture, with its style and title.
fn open(height: f64, title: &str) -> String {
    // Blue, orange, green, purple, pink, brown, teal, grey: told apart with every common colour vision by lightness too.
    const LIGHT: [&str; 8] = [
        "#1f6feb", "#d9660b", "#1a7f37", "#8250df", "#c7317d", "#7a4b1e", "#0b8a97", "#6e7781",
    ];
    const DARK: [&str; 8] = [
        "#6cb0ff", "#ffa657", "#56d364", "#c9a2ff", "#ff8ac2", "#d6a877", "#4fd1dc", "#a3adb8",
    ];
    let colours = |list: [&str; 8]| -> String {
        let pair = |(i, c): (usize, &&str)| {
            format!(".affekt .s{i}{{stroke:{c}}}.affekt .f{i}{{fill:{c}}}")
        };
        list.iter().enumerate().map(pair).collect()
    };
    let scheme = |page, ink, mark, grid, empty, cell, full| {
        format!(
            ".affekt .page{{fill:{page}}}.affekt text{{fill:{ink}}}.affekt .mark{{fill:{mark}}}\
             .affekt .grid{{stroke:{grid}}}.affekt .empty{{fill:{empty}}}.affekt .cell{{fill:{cell}}}\
             .affekt .full{{fill:{full}}}"
        )
    };
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="affekt" viewBox="0 0 {WIDTH} {height:.0}" width="100%" role="img" aria-label="{title}"><style>.affekt{{max-width:640px;font:12px system-ui,sans-serif}}.affekt .title{{font-size:15px;font-weight:600}}.affekt .count{{font-weight:600;font-size:13px}}.affekt .share{{font-size:11px}}.affekt .grid{{stroke-width:1}}.affekt polyline{{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}}{light}{light_colours}@media (prefers-color-scheme:dark){{{dark}{dark_colours}.affekt .half{{fill:#0d1117}}}}</style><rect class="page" width="{WIDTH}" height="{height:.0}"/><text class="title" x="14" y="24">{title}</text>"#,
        title = escape(title),
        light = scheme(
            "#ffffff", "#1f2328", "#59636e", "#e2e6ea", "#f3f5f7", "#0a57c2", "#ffffff"
        ),
        dark = scheme(
            "#0d1117", "#e6edf3", "#9da7b3", "#2b323b", "#161c24", "#79b8ff", "#0d1117"
        ),
        light_colours = colours(LIGHT),
        dark_colours = colours(DARK),
    )
}

struct Legend {
    svg: String,
    n_rows: usize,
}

/// Names, with the last value of each, in as many rows as they need.
fn legend(series: &[Series]) -> Legend {
    let mut svg = String::new();
    if series.len() < 2 {
        return Legend { svg, n_rows: 0 };
    }
    let (mut x, mut row) = (14.0, 0);
    for (i, line) in series.iter().enumerate() {
        let last = line.points.iter().rev().find(|p| p.1.is_finite());
        let value = last.map(|p| format!("{:.3}", p.1)).unwrap_or_default();
        let width = 40.0 + LETTER * (line.name.chars().count() + value.len() + 1) as f64;
        if x > 14.0 && x + width > WIDTH {
            (x, row) = (14.0, row + 1);
        }
        let y = 46.0 + 20.0 * row as f64;
        let _ = write!(
            svg,
            r#"<polyline class="s{}"{} points="{x:.1},{:.1} {:.1},{:.1}"/><text x="{:.1}" y="{y:.1}">{} <tspan class="mark">{value}</tspan></text>"#,
            i % 8,
            dashes(i),
            y - 4.0,
            x + 18.0,
            y - 4.0,
            x + 24.0,
            escape(line.name)
        );
        x += width;
    }
    Legend {
        svg,
        n_rows: row + 1,
    }
}

fn dashes(line: usize) -> &'static str {
    match line / 8 {
        0 => "",
        1 => r#" stroke-dasharray="6 4""#,
        _ => r#" stroke-dasharray="1 4""#,
    }
}

/// Least and greatest; 0 and 1 of none.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// A range that has room: a single value stands in the middle.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    match high - low > 1e-9 * low.abs().max(high.abs()) {
        true => (low, high),
        false => {
            let room = (0.5 * low.abs()).max(0.5);
            (low - room, high + room)
        }
    }
}

/// About `n` round numbers, 1, 2 or 5 times a power of ten apart, within a range.
fn ticks(low: f64, high: f64, n: u32) -> Vec<f64> {
    let rough = (high - low) / f64::from(n);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|f| f * power)
        .find(|s| *s >= 0.999 * rough)
        .unwrap_or(rough);
    if !(step > 0.0 && step.is_finite()) {
        return vec![low];
    }
    let first = (low / step - 1e-6).ceil() as i64;
    let last = (high / step + 1e-6).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A mark's number with the digits that tell neighbours apart.
fn number(value: f64, ticks: &[f64]) -> String {
    let step = match ticks {
        [a, b, ..] => b - a,
        _ => value.abs().max(1e-3) / 10.0,
    };
    if value.abs() >= 1e6 || step < 1e-6 {
        return format!("{value:.1e}");
    }
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_string(),
        _ => text,
    }
}

/// Text for between tags and within quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no others below the space, not even escaped.
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tag is closed in order, quotes are even, no number is NaN or infinite.
    fn well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, _) = part.split_once('>').expect("a tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.split([' ', '/']).next().unwrap();
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed), "{svg}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn round_marks() {
        assert_eq!(
            ticks(0.0, 1.0, 5),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
        );
        assert_eq!(ticks(0.0, 39.0, 6), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(ticks(-3.0, 3.0, 3), [-2.0, 0.0, 2.0]);
        let marks = ticks(0.0, 1.0, 5);
        assert_eq!(number(marks[3], &marks), "0.6");
        assert_eq!(number(-0.0, &marks), "0.0");
        assert_eq!(number(1500.0, &[1000.0, 1500.0]), "1500");
    }

    #[test]
    fn a_line_passes_through_its_points() {
        let chart = line_chart(
            Axes {
                title: "UAR",
                x_label: "epoch",
                y_range: Some((0.0, 1.0)),
            },
            &[Series {
                name: "a",
                points: &[(0.0, 0.0), (1.0, 1.0), (2.0, 0.5)],
            }],
        );
        well_formed(&chart);
        // Labels "0.0" are three letters wide; no legend for one line.
        let left = 16.0 + 3.0 * LETTER;
        let middle = (left + 386.0) / 2.0;
        let points = format!("points=\"{left:.1},230.0 {middle:.1},40.0 386.0,135.0\"");
        assert!(chart.contains(&points), "{points}\n{chart}");
    }

    #[test]
    fn odd_lines_are_drawn_or_say_so() {
        let nothing = line_chart(Axes::default(), &[]);
        well_formed(&nothing);
        assert!(nothing.contains("nothing to draw"));
        for points in [
            &[(0.0, 5.0)][..],
            &[(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::INFINITY)],
            &[(0.0, 0.0), (1.0, 0.0)],
            &[(3.0, 1e300), (3.0, -1e300)],
            &[(0.0, 1e-12), (1e9, 2e-12)],
        ] {
            let series = [Series {
                name: "<a & \"b\">\u{1}",
                points,
            }; 10];
            let chart = line_chart(
                Axes {
                    title: "x < y",
                    ..Axes::default()
                },
                &series,
            );
            well_formed(&chart);
            assert!(chart.contains("x &lt; y") && chart.contains("&lt;a &amp; &quot;b&quot;&gt;"));
        }
        let broken = [
            (0.0, 1.0),
            (1.0, 2.0),
            (2.0, f64::NAN),
            (3.0, 1.0),
            (4.0, 2.0),
        ];
        let chart = line_chart(
            Axes::default(),
            &[Series {
                name: "a",
                points: &broken,
            }],
        );
        assert_eq!(chart.matches("<polyline").count(), 2);
    }

    #[test]
    fn a_spectrogram_has_its_seconds() {
        let svg = spectrogram_svg(
            "a",
            b"png",
            1.9,
            &[(0.0, "0"), (0.5, "1 kHz"), (7.0, "top")],
        );
        well_formed(&svg);
        assert!(svg.contains("data:image/png;base64,cG5n"));
        assert!(
            svg.contains(">1.5</text>") && !svg.contains(">2.0</text>"),
            "{svg}"
        );
        well_formed(&spectrogram_svg("", b"", f64::NAN, &[]));
    }

    #[test]
    fn cells_hold_their_counts() {
        let confusion = Confusion::of(3, &[0, 0, 0, 0, 1], &[0, 0, 0, 1, 1]).unwrap();
        let names = ["calm", "a<b"].map(String::from);
        let svg = confusion_svg("speaker 03", &confusion, &names);
        well_formed(&svg);
        assert_eq!(svg.matches("class=\"cell\"").count(), 9);
        assert!(svg.contains("3 of 4 calm taken for calm: 75.0 %"), "{svg}");
        assert!(svg.contains("no item is 2") && svg.contains("a&lt;b"));
        assert!(svg.contains("5 items, UAR 0.875, WAR 0.800"), "{svg}");
        well_formed(&confusion_svg("", &Confusion::new(0), &[]));
        well_formed(&confusion_svg(
            "",
            &Confusion::new(40),
            &vec!["long name".repeat(9); 40],
        ));
    }
}
