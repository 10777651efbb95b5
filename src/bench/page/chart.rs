//! Axes, marks and boxes of the pictures of this page: SVG in its own units, coloured by the page's style.

use std::fmt::Write as _;

use crate::page::escape;
use crate::page::units::{bytes, three};

/// Width of a picture with two axes. Shown at 330 CSS pixels or more, 12 units are readable text.
pub const WIDTH: f64 = 420.0;
/// Width of a picture of bars, which stands in a column about as wide.
pub const BARS_WIDTH: f64 = 330.0;
/// Width of an average letter of the 12 unit text, for deciding what fits. Narrow screens show it larger.
pub const LETTER: f64 = 6.7;

/// A picture under way.
pub struct Svg {
    body: String,
}

impl Svg {
    pub fn new() -> Self {
        Svg {
            body: String::new(),
        }
    }

    pub fn push(&mut self, markup: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(markup);
    }

    pub fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let class = match class {
            "" => String::new(),
            class => format!(" class=\"{class}\""),
        };
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\"{class}>{}</text>",
            escape(text)
        ));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.push(format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// The element, with what it shows for those who do not see it.
    pub fn close(self, width: f64, height: f64, label: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            escape(label),
            self.body
        )
    }
}

/// Where numbers lie on an axis: `low` at `start`, `high` at `end`.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    pub start: f64,
    pub end: f64,
    pub log: bool,
}

impl Scale {
    pub fn at(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Round numbers along the axis: decades where it is logarithmic, with 2 and 5 between where there are few.
    pub fn ticks(&self) -> Vec<f64> {
        match self.log {
            true => {
                let decades = multiples(self.low, self.high, &[1.0]);
                match decades.len() {
                    0..=2 => multiples(self.low, self.high, &[1.0, 2.0, 5.0]),
                    _ => decades,
                }
            }
            false => {
                let rough = (self.high - self.low) / 5.0;
                if !(rough > 0.0 && rough.is_finite()) {
                    return Vec::new();
                }
                let power = 10f64.powf(rough.log10().floor());
                let steps = [1.0, 2.0, 5.0, 10.0].map(|f| f * power);
                let step = steps.into_iter().find(|s| *s >= 0.999 * rough);
                let step = step.unwrap_or(rough);
                let first = (self.low / step).ceil() as i64;
                let last = (self.high / step + 1e-9).floor() as i64;
                (first..=last).map(|k| k as f64 * step).collect()
            }
        }
    }
}

fn multiples(low: f64, high: f64, of: &[f64]) -> Vec<f64> {
    // What is no range has no marks.
    if !(low > 0.0 && low <= high && high < f64::MAX) {
        return Vec::new();
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last)
        .flat_map(|k| of.iter().map(move |f| f * 10f64.powi(k)))
        .filter(|v| *v >= 0.999 * low && *v <= 1.001 * high)
        .collect()
}

/// Powers of two from `low` to `high`, at most six of them, as sizes.
pub fn sizes(low: f64, high: f64) -> Vec<(f64, String)> {
    if !(low > 0.0 && low <= high && high < f64::MAX) {
        return Vec::new();
    }
    let (first, last) = (low.log2().ceil() as i32, high.log2().floor() as i32);
    let step = (last - first + 5) / 6;
    (first..=last)
        .rev()
        .step_by(step.max(1) as usize)
        .map(|k| 2f64.powi(k))
        .map(|n| (n, bytes(n as u64)))
        .collect()
}

/// `0.01`, `10`, `1k`: a mark on an axis.
pub fn mark(value: f64) -> String {
    let (number, unit) = match value.abs() {
        v if v >= 0.999e6 => (value / 1e6, "M"),
        v if v >= 0.999e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Marks are round numbers: no zeros behind the point.
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// A rectangle that text or a mark takes.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub fn around(x: f64, y: f64, reach: f64) -> Self {
        Area {
            left: x - reach,
            top: y - reach,
            right: x + reach,
            bottom: y + reach,
        }
    }

    pub fn meets(&self, other: &Area) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    pub fn within(&self, other: &Area) -> bool {
        self.left >= other.left
            && self.right <= other.right
            && self.top >= other.top
            && self.bottom <= other.bottom
    }
}

/// At most so many letters; what is cut ends with an ellipsis.
pub fn cut(text: &str, n_letters: usize) -> String {
    match text.chars().count() > n_letters {
        true => text
            .chars()
            .take(n_letters.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text.to_string(),
    }
}

/// `12.4 GB/s`.
pub fn gb_s(rate: f64) -> String {
    format!("{} GB/s", three(rate))
}

/// `96.3 GFLOP/s`, `41.2 TFLOP/s`.
pub fn flop_s(gflop_s: f64) -> String {
    match gflop_s >= 9999.5 {
        true => format!("{} TFLOP/s", three(gflop_s / 1e3)),
        false => format!("{} GFLOP/s", three(gflop_s)),
    }
}

/// A sample of each colour with its meaning; classes and texts.
pub fn legend(entries: &[(&str, String)]) -> String {
    let items = entries.iter().map(|(class, text)| {
        format!(
            "<span class=\"key\"><i class=\"{class}\"></i>{}</span> ",
            escape(text)
        )
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks() {
        let scale = |low, high, log| Scale {
            low,
            high,
            start: 0.0,
            end: 100.0,
            log,
        };
        assert_eq!(
            scale(0.03, 200.0, true).ticks(),
            [0.1, 1.0, 10.0, 100.0].map(|v: f64| 10f64.powi(v.log10().round() as i32))
        );
        assert_eq!(scale(3.0, 30.0, true).ticks(), [5.0, 10.0, 20.0]);
        assert_eq!(scale(0.0, 13.0, false).ticks(), [0.0, 5.0, 10.0]);
        assert_eq!(scale(1.0, 100.0, true).at(10.0), 50.0);
        // An axis without bounds has none, rather than marks without end.
        assert!(scale(1.0, f64::INFINITY, true).ticks().is_empty());
        assert!(scale(0.0, f64::INFINITY, false).ticks().is_empty());
        assert!(sizes(1.0, f64::INFINITY).is_empty());
        // What lies outside stands at the edge.
        assert_eq!(scale(1.0, 100.0, true).at(1e9), 100.0);
        let marks = [0.01, 0.1, 1.0, 10.0, 1e3, 2e4, 1e6].map(mark);
        assert_eq!(marks, ["0.01", "0.1", "1", "10", "1k", "20k", "1M"]);
        let marks: Vec<String> = sizes(3.0 * 1024.0, 70e6).into_iter().map(|s| s.1).collect();
        assert_eq!(marks, ["64 MiB", "8 MiB", "1 MiB", "128 KiB", "16 KiB"]);
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
