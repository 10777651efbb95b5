//! Rates of memory over the working set: the steps of the caches.

use crate::bench::page::chart::{Scale, Svg, WIDTH, gb_s, legend, mark, sizes};
use crate::bench::page::positive;
use crate::bench::report::{Ceilings, MemoryPoint};
use crate::page::escape;
use crate::page::units::bytes;

const HEIGHT: f64 = 330.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = HEIGHT - 42.0;

/// Colours of [`MemoryPoint::NAMES`].
const COLOURS: [&str; 5] = ["k1", "p2", "p3", "k2", "k3"];

/// The picture and what its lines mean; `None` where no rate was measured.
pub fn svg(ceilings: &Ceilings, label: &str) -> Option<(String, String)> {
    let mut points: Vec<&MemoryPoint> = ceilings.memory.iter().filter(|p| p.bytes > 0).collect();
    points.sort_by_key(|p| p.bytes);
    let rates = || {
        let all = points.iter().flat_map(|p| p.rates());
        all.filter_map(|rate| positive(Some(rate)))
    };
    let (first, last) = (points.first()?, points.last()?);
    let highest = rates().reduce(f64::max)?;
    let x = Scale {
        low: first.bytes as f64 / 1.3,
        high: last.bytes as f64 * 1.3,
        start: LEFT,
        end: RIGHT,
        log: true,
    };
    let y = Scale {
        low: 0.0,
        high: 1.08 * highest,
        start: BOTTOM,
        end: TOP,
        log: false,
    };
    let mut svg = Svg::new();
    for tick in y.ticks() {
        svg.line((LEFT, y.at(tick)), (RIGHT, y.at(tick)), "grid");
        svg.text(LEFT - 6.0, y.at(tick) + 4.0, "mark end", &mark(tick));
    }
    for (size, name) in sizes(x.low, x.high) {
        svg.line((x.at(size), BOTTOM), (x.at(size), BOTTOM + 4.0), "grid");
        // The outermost names keep inside the picture.
        let at = x.at(size).min(RIGHT - 16.0);
        svg.text(at, BOTTOM + 16.0, "mark mid", &name);
    }
    svg.text(
        (LEFT + RIGHT) / 2.0,
        HEIGHT - 7.0,
        "mark mid",
        "working set",
    );
    svg.push(format_args!(
        "<text class=\"mark mid\" transform=\"translate(11 {:.1}) rotate(-90)\">GB/s</text>",
        (TOP + BOTTOM) / 2.0
    ));
    let mut meanings = Vec::new();
    for (i, (name, class)) in MemoryPoint::NAMES.into_iter().zip(COLOURS).enumerate() {
        let known: Vec<(&MemoryPoint, f64)> = points
            .iter()
            .filter_map(|p| Some((*p, positive(Some(p.rates()[i]))?)))
            .collect();
        let Some((_, of_largest)) = known.last() else {
            continue;
        };
        meanings.push((class, format!("{name} {}", gb_s(*of_largest))));
        let path: Vec<String> = known
            .iter()
            .map(|(p, rate)| format!("{:.1},{:.1}", x.at(p.bytes as f64), y.at(*rate)))
            .collect();
        svg.push(format_args!(
            "<polyline class=\"{class}\" points=\"{}\"/>",
            path.join(" ")
        ));
        for (p, rate) in &known {
            svg.push(format_args!(
                "<circle class=\"point {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}</title></circle>",
                x.at(p.bytes as f64),
                y.at(*rate),
                escape(&format!("{name} of {}: {}", bytes(p.bytes), gb_s(*rate)))
            ));
        }
    }
    Some((svg.close(WIDTH, HEIGHT, label), legend(&meanings)))
}
