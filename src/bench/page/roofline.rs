//! The roofline of an adapter: what its memory and its arithmetic allow, and where the kernels stand below it.

use crate::bench::page::chart::{Area, LETTER, Scale, Svg, WIDTH, cut, flop_s, gb_s, mark};
use crate::bench::page::{bound_class, positive};
use crate::bench::report::{Ceilings, Machine, RowVerdict};
use crate::page::escape;
use crate::page::units::{secs, three};

const HEIGHT: f64 = 330.0;
const PLOT: Area = Area {
    left: 44.0,
    top: 14.0,
    right: WIDTH - 8.0,
    bottom: HEIGHT - 42.0,
};

/// Roofs in 10⁹ per second.
struct Roofs {
    /// Of the largest working set, which no cache holds.
    memory: f64,
    /// Of the working set that a cache serves best, if that is much faster.
    cache: Option<f64>,
    f32: f64,
    f16: Option<f64>,
}

impl Roofs {
    fn of(ceilings: &Ceilings) -> Option<Self> {
        let rates = || {
            let points = ceilings.memory.iter();
            points.filter_map(|p| Some((p.bytes, positive(Some(p.copy_gb_s))?)))
        };
        let memory = rates().max_by_key(|(bytes, _)| *bytes)?.1;
        let fastest = rates().map(|(_, rate)| rate).fold(0.0, f64::max);
        Some(Roofs {
            memory,
            cache: (fastest > 1.25 * memory).then_some(fastest),
            f32: positive(Some(ceilings.f32_gflop_s))?,
            f16: positive(ceilings.f16_gflop_s),
        })
    }

    fn peak(&self) -> f64 {
        self.f16.unwrap_or(0.0).max(self.f32)
    }
}

struct Dot<'a> {
    op: &'a str,
    /// Operations per compulsory byte.
    intensity: f64,
    gflop_s: f64,
    class: &'static str,
    hint: String,
}

fn dots(machine: &Machine) -> Vec<Dot<'_>> {
    let mut dots = Vec::new();
    for row in &machine.rows {
        let Some(median) = positive(row.median) else {
            continue;
        };
        if row.verdict != RowVerdict::Right || row.flops == 0 || row.bytes == 0 {
            continue;
        }
        let intensity = row.flops as f64 / row.bytes as f64;
        let gflop_s = positive(row.gflop_s).unwrap_or(row.flops as f64 / median / 1e9);
        let percent = row.percent.filter(|p| p.is_finite());
        let of_ceiling = percent.map_or(String::new(), |p| format!(", {p:.0} % of the ceiling"));
        dots.push(Dot {
            op: &row.op,
            intensity,
            gflop_s,
            class: bound_class(row.bound),
            hint: format!(
                "{}: {} at {} flop/byte, {}{of_ceiling}",
                row.name(),
                flop_s(gflop_s),
                three(intensity),
                secs(median)
            ),
        });
    }
    dots
}

/// The picture; `None` without ceilings.
pub fn svg(machine: &Machine, label: &str) -> Option<String> {
    let roofs = Roofs::of(machine.ceilings.as_ref()?)?;
    let dots = dots(machine);
    let (ridge, last_ridge) = (roofs.f32 / roofs.memory, roofs.peak() / roofs.memory);
    let over = |seed: f64, pick: fn(f64, f64) -> f64, of: fn(&Dot) -> f64| {
        dots.iter().map(of).fold(seed, pick)
    };
    let x = Scale {
        low: over(ridge / 8.0, f64::min, |d| d.intensity) / 1.7,
        high: over(last_ridge * 4.0, f64::max, |d| d.intensity) * 1.7,
        start: PLOT.left,
        end: PLOT.right,
        log: true,
    };
    let y = Scale {
        low: over(roofs.memory * x.low, f64::min, |d| d.gflop_s) / 1.6,
        high: over(roofs.peak(), f64::max, |d| d.gflop_s) * 2.0,
        start: PLOT.bottom,
        end: PLOT.top,
        log: true,
    };
    let mut svg = Svg::new();
    axes(&mut svg, &x, &y);
    draw_roofs(&mut svg, &roofs, &x, &y);
    let mut taken = Vec::new();
    for dot in &dots {
        let (cx, cy) = (x.at(dot.intensity), y.at(dot.gflop_s));
        svg.push(format_args!(
            "<circle class=\"dot {}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"><title>{}</title></circle>",
            dot.class,
            escape(&dot.hint)
        ));
        taken.push(Area::around(cx, cy, 4.0));
    }
    name_roofs(&mut svg, &roofs, &x, &y, &mut taken);
    name_dots(&mut svg, dots, &x, &y, taken);
    Some(svg.close(WIDTH, HEIGHT, label))
}

fn axes(svg: &mut Svg, x: &Scale, y: &Scale) {
    for tick in y.ticks() {
        let at = y.at(tick);
        svg.line((PLOT.left, at), (PLOT.right, at), "grid");
        svg.text(PLOT.left - 6.0, at + 4.0, "mark end", &mark(tick));
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        svg.line((at, PLOT.top), (at, PLOT.bottom), "grid");
        svg.text(at, PLOT.bottom + 16.0, "mark mid", &mark(tick));
    }
    svg.text(
        (PLOT.left + PLOT.right) / 2.0,
        HEIGHT - 7.0,
        "mark mid",
        "operations per compulsory byte (flop/byte)",
    );
    svg.push(format_args!(
        "<text class=\"mark mid\" transform=\"translate(11 {:.1}) rotate(-90)\">GFLOP/s</text>",
        (PLOT.top + PLOT.bottom) / 2.0
    ));
}

fn draw_roofs(svg: &mut Svg, roofs: &Roofs, x: &Scale, y: &Scale) {
    // From where the slope enters the plot to the flat roof, then along that.
    let roof = |svg: &mut Svg, rate: f64, from: f64, peak: f64, class: &str| {
        let (start, ridge) = (from.max(x.low).max(y.low / rate), peak / rate);
        svg.push(format_args!(
            "<polyline class=\"roof {class}\" points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\"/>",
            x.at(start),
            y.at(rate * start),
            x.at(ridge),
            y.at(peak),
            PLOT.right,
            y.at(peak)
        ));
    };
    let ridge = roofs.f32 / roofs.memory;
    let start = x.low.max(y.low / roofs.memory);
    svg.push(format_args!(
        "<polygon class=\"under\" points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1} {:.1},{bottom:.1} {:.1},{bottom:.1}\"/>",
        x.at(start),
        y.at(roofs.memory * start),
        x.at(ridge),
        y.at(roofs.f32),
        PLOT.right,
        y.at(roofs.f32),
        PLOT.right,
        x.at(start),
        bottom = PLOT.bottom,
    ));
    if let Some(cache) = roofs.cache {
        roof(svg, cache, x.low, roofs.f32, "dotted");
    }
    if let Some(f16) = roofs.f16 {
        roof(
            svg,
            roofs.memory,
            ridge.min(f16 / roofs.memory),
            f16,
            "dashed",
        );
    }
    roof(svg, roofs.memory, x.low, roofs.f32, "");
}

/// Names the roofs, over the dots, and adds the boxes that names and roofs take.
fn name_roofs(svg: &mut Svg, roofs: &Roofs, x: &Scale, y: &Scale, taken: &mut Vec<Area>) {
    let f32_roof = (roofs.f32, "f32");
    let f16_roof = roofs.f16.map(|peak| (peak, "f16"));
    let flat: Vec<(f64, &str)> = [Some(f32_roof), f16_roof].into_iter().flatten().collect();
    for (peak, _) in &flat {
        taken.push(Area {
            left: x.at(peak / roofs.memory),
            top: y.at(*peak) - 1.0,
            right: PLOT.right,
            bottom: y.at(*peak) + 1.0,
        });
    }
    for (peak, what) in flat {
        let name = format!("{what} {}", flop_s(peak));
        let width = LETTER * name.chars().count() as f64;
        let area = |right: f64, base: f64| Area {
            left: right - width,
            top: base - 11.0,
            right,
            bottom: base + 2.0,
        };
        // Above the roof and then below it, from the right to the ridge: the first place where nothing else stands.
        let roof = y.at(peak);
        let last = PLOT.right - 3.0;
        let n_steps = ((last - width - x.at(peak / roofs.memory)) / 8.0).max(0.0) as usize;
        let mut places = [-5.0, 14.0, 26.0, 38.0]
            .map(|away| roof + away)
            .into_iter()
            .flat_map(|base| (0..=n_steps).map(move |k| (last - 8.0 * k as f64, base)));
        let free = places.find(|(right, base)| {
            let area = area(*right, *base);
            area.within(&PLOT) && taken.iter().all(|t| !t.meets(&area))
        });
        let (right, base) = free.unwrap_or((last, roof - 5.0));
        svg.text(right, base, "label end", &name);
        taken.push(area(right, base));
    }
    let memory = Some((roofs.memory, "memory"));
    let cache = roofs.cache.map(|rate| (rate, "cache"));
    for (rate, what) in [memory, cache].into_iter().flatten() {
        let name = format!("{what} {}", gb_s(rate));
        name_slope(svg, &name, rate, roofs.f32 / rate, x, y, taken);
    }
}

/// A name along a slope, above it; adds the boxes that both take.
fn name_slope(
    svg: &mut Svg,
    name: &str,
    rate: f64,
    ridge: f64,
    x: &Scale,
    y: &Scale,
    taken: &mut Vec<Area>,
) {
    let from = x.low.max(y.low / rate);
    let (x0, y0) = (x.at(from), y.at(rate * from));
    let (x1, y1) = (x.at(ridge), y.at(rate * ridge));
    let length = (x1 - x0).hypot(y1 - y0);
    if length < 1.0 {
        return;
    }
    let (dx, dy) = ((x1 - x0) / length, (y1 - y0) / length);
    // So far along the slope, and off it at a right angle.
    let place = |along: f64, off: f64| (x0 + dx * along + dy * off, y0 + dy * along - dx * off);
    let width = LETTER * name.chars().count() as f64;
    let areas = |start: f64| {
        (0..=(width / 6.0) as usize).map(move |k| {
            let (cx, cy) = place(start + 6.0 * k as f64, 9.0);
            Area::around(cx, cy, 4.5)
        })
    };
    // Where nothing else stands, from the lower end on; at the lower end if it is full everywhere.
    let n_steps = ((length - width - 16.0) / 8.0).floor();
    if n_steps >= 0.0 {
        let mut starts = (0..=n_steps as usize).map(|k| 8.0 + 8.0 * k as f64);
        let free = starts.find(|s| areas(*s).all(|a| taken.iter().all(|t| !t.meets(&a))));
        let start = free.unwrap_or(8.0);
        let (tx, ty) = place(start, 5.0);
        svg.push(format_args!(
            "<text class=\"label\" transform=\"translate({tx:.1} {ty:.1}) rotate({:.1})\">{}</text>",
            dy.atan2(dx).to_degrees(),
            escape(name)
        ));
        taken.extend(areas(start));
    }
    for k in 0..(length / 6.0) as usize {
        let (cx, cy) = place(6.0 * (k as f64 + 0.5), 0.0);
        taken.push(Area::around(cx, cy, 3.0));
    }
}

/// The operator's name beside its fastest dot, where there is room.
fn name_dots(svg: &mut Svg, mut dots: Vec<Dot>, x: &Scale, y: &Scale, mut taken: Vec<Area>) {
    dots.sort_by(|a, b| b.gflop_s.total_cmp(&a.gflop_s));
    let mut named: Vec<&str> = Vec::new();
    for dot in &dots {
        if named.contains(&dot.op) {
            continue;
        }
        let name = cut(dot.op, 22);
        let (cx, cy) = (x.at(dot.intensity), y.at(dot.gflop_s));
        let width = LETTER * name.chars().count() as f64;
        let places = [
            (cx + 7.0, cy + 4.0, "dotname"),
            (cx - 7.0 - width, cy + 4.0, "dotname"),
            (cx - width / 2.0, cy - 8.0, "dotname"),
            (cx - width / 2.0, cy + 16.0, "dotname"),
        ];
        let free = places.into_iter().find_map(|(left, base, class)| {
            let area = Area {
                left,
                top: base - 10.0,
                right: left + width,
                bottom: base + 3.0,
            };
            let own = Area::around(cx, cy, 4.0);
            let clear = taken
                .iter()
                .all(|t| !t.meets(&area) || (t.left == own.left && t.top == own.top));
            (clear && area.within(&PLOT)).then_some((left, base, class, area))
        });
        if let Some((left, base, class, area)) = free {
            svg.text(left, base, class, &name);
            taken.push(area);
            named.push(dot.op);
        }
    }
}
