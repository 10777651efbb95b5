//! Short-time spectra in one kernel, for the lengths of [`fused`](super::fused): frames are gathered, windowed,
//! transformed as half as many complex numbers, and taken apart into bins. Rows are frames of their own.

use crate::error::Result;
use crate::gpu::shader::Elem;
use crate::gpu::{Caps, Kernel, Source};
use crate::ops::launch;
use crate::ops::op::{Entry, Op, Role};
use crate::ops::signal::codelet::{Lines, arithmetic};
use crate::ops::signal::framing::Framing;
use crate::ops::signal::fused::{Sharing, split};
use crate::ops::signal::transform::{self, Table, table};
use crate::tensor::{DType, Shape, Tensor};

pub(super) const ENTRY: &str = "stft_fused";

/// One kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    pub sharing: Sharing,
    /// Serves only frames that lie inside of the signal, from samples whose places are multiples of 4.
    pub interior: bool,
}

impl Variant {
    pub fn code(self) -> u32 {
        self.sharing.code() | u32::from(self.interior) << 20
    }

    pub fn of(code: u32) -> Variant {
        Variant {
            sharing: Sharing::of(code),
            interior: code >> 20 & 1 == 1,
        }
    }

    pub fn entry(self) -> Entry {
        Entry {
            role: Role::Forward,
            rung: "fused",
            variant: self.code(),
            needs: self.sharing.needs(),
            kernel: self.kernel(),
        }
    }

    fn kernel(self) -> Kernel {
        // Interior is a constant and not part of the text.
        let name = format!("signal/stft_fused_{:05x}", self.sharing.code());
        Kernel {
            source: Source::generated(name, self.text()),
            entry: ENTRY,
            constants: vec![("INTERIOR", f64::from(self.interior))],
            elem: Elem::F32,
        }
    }

    /// A butterfly of the first step, for places 2 i and 2 i + 1.
    fn first_step(self, a: usize, b: usize) -> String {
        let pairs = b / 2;
        let mut w = Lines::new("            ", "t");
        let x: Vec<String> = (0..a)
            .map(|j| {
                let at = format!("i + {}u", pairs * j);
                w.value(format!(
                    "quad(start, line, {at}) * window[params.window_offset + {at}]"
                ))
            })
            .collect();
        let y = w.transform(&x);
        let mut turned = vec![y[0].clone()];
        for (k, value) in y.iter().enumerate().skip(1) {
            let place = format!("params.factors_offset + i + {}u", (k - 1) * pairs);
            turned.push(w.value(format!("times({value}, factors[{place}])")));
        }
        for c in 0..a / 2 {
            let other = &turned[if c == 0 { a / 2 } else { a - c }];
            let this = &turned[c];
            let place = format!("own + 2u * i + {}u", c * b);
            w.line(format!("held[{place}] = vec4({this}.xy, {other}.xy);"));
            w.line(format!("held[{place} + 1u] = vec4({this}.zw, {other}.zw);"));
        }
        w.text
    }

    /// Columns c and a − c of the second step, and the bins they give; column 0 and a/2 where `c` is 0.
    fn second_step(self, a: usize, b: usize, first: bool) -> String {
        let mut w = Lines::new("            ", "s");
        let c = if first { "0u" } else { "c" };
        w.line(format!("let column = own + {c} * {b}u;"));
        w.line(format!(
            "let turn = params.factors_offset + {}u + {c} * {}u;",
            (a - 1) * b / 2,
            b / 2
        ));
        let x: Vec<String> = (0..b)
            .map(|j| w.value(format!("held[column + {j}u]")))
            .collect();
        let z = w.transform(&x);
        for j in 0..b / 2 {
            let factor = w.value(format!("factors[turn + {j}u]"));
            let pairs = if first {
                let k = a * j;
                let own = (format!("{k}u"), &z[j], "xy", &z[(b - j) % b], "xy", "xy");
                let half = (
                    format!("{}u", a / 2 + k),
                    &z[j],
                    "zw",
                    &z[b - 1 - j],
                    "zw",
                    "zw",
                );
                [own, half]
            } else {
                [(2 * j, "xy"), (2 * j + 1, "zw")].map(|(j, part)| {
                    let k = format!("c + {}u", a * j);
                    (k, &z[j], "xy", &z[b - 1 - j], "zw", part)
                })
            };
            for (k, this, this_part, mirror, mirror_part, part) in pairs {
                let scale = if k == "0u" { "end_scale" } else { "scale" };
                let pair = w.value(format!(
                    "finish({this}.{this_part}, {mirror}.{mirror_part}, {factor}.{part}, params.{scale})"
                ));
                w.line(format!("y[out + ({k}) * params.frames] = {pair}.xy;"));
                w.line(format!(
                    "y[out + ({half}u - ({k})) * params.frames] = {pair}.zw;",
                    half = a * b
                ));
            }
        }
        if first {
            let middle = &z[b / 2];
            w.line(format!(
                "y[out + {}u * params.frames] = 2.0f * params.scale * vec2({middle}.x, -{middle}.y);",
                a * b / 2
            ));
        }
        w.text
    }

    fn text(self) -> String {
        let Sharing { n, lanes, frames } = self.sharing;
        let (a, b) = split(n).expect("it is possible");
        let pairs = b / 2;
        let second = self.sharing.over_columns(
            &self.second_step(a, b, true),
            &self.second_step(a, b, false),
        );
        let barrier = self.sharing.barrier();
        format!(
            "\
// y[row, k, t] = scale sum_i window[i] x[row, t hop + i - pad] exp(-2 pi i k i / {n}), k = 0 .. {}
//
// {lanes} invocations per frame, {frames} frames per workgroup. Samples in pairs are {} complex numbers, transformed as
// {a} x {b}; then E - i W^k D of a bin and its mirror image are the bins of the real samples.

#import shared/index

// Frames lie inside of the signal and start at multiples of four samples.
override INTERIOR: bool = false;

struct Params {{
    // Frames of this dispatch, of one signal, and where a gap in their numbers begins and how wide it is.
    total: u32,
    per_row: u32,
    gap_at: u32,
    gap: u32,
    // Frames of a signal.
    frames: u32,
    hop: u32,
    pad: u32,
    length: u32,
    // 0 zeros, 1 mirror image, 2 ends.
    mode: u32,
    x_offset: u32,
    window_offset: u32,
    factors_offset: u32,
    y_offset: u32,
    // Half of what bins with a mirror image are multiplied by, and bins without one.
    scale: f32,
    end_scale: f32,
    padding0: u32,
}}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> x_quads: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> window: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> factors: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec2<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> held: array<vec4<f32>, {}>;

{}
// Four samples from place 4 i of a frame on. Places outside read a sample that is there and does not count.
fn quad(start: i32, line: u32, i: u32) -> vec4<f32> {{
    var quad: vec4<f32>;
    if INTERIOR {{
        quad = x_quads[(line + u32(start)) / 4u + i];
    }} else {{
        var at = vec4(start + 4 * i32(i)) + vec4(0, 1, 2, 3);
        let last = vec4(i32(params.length) - 1);
        if params.mode == 1u {{
            at = abs(at);
            at = min(at, 2 * last - at);
        }} else if params.mode == 2u {{
            at = clamp(at, vec4(0), last);
        }}
        let place = line + vec4<u32>(clamp(at, vec4(0), last));
        let there = vec4(x[place.x], x[place.y], x[place.z], x[place.w]);
        quad = select(vec4<f32>(), there, (at >= vec4(0)) & (at <= last));
    }}
    return quad;
}}

// Bin k and its mirror image, of z[k] = v and z[{} - k] = u.
fn finish(v: vec2<f32>, u: vec2<f32>, w: vec2<f32>, scale: f32) -> vec4<f32> {{
    let e = scale * vec2(v.x + u.x, v.y - u.y);
    let d = scale * vec2(v.x - u.x, v.y + u.y);
    let g = vec2(w.x * d.x - w.y * d.y, w.x * d.y + w.y * d.x);
    return vec4(e.x + g.y, e.y - g.x, e.x - g.y, -e.y - g.x);
}}

@compute @workgroup_size({})
fn stft_fused(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {{
    let params = params;
    let slot = local / {lanes}u;
    let lane = local % {lanes}u;
    let number = linear_workgroup(workgroup, workgroups) * {frames}u + slot;
    let own = slot * {}u;
    let row = number / params.per_row;
    var t = number % params.per_row;
    t += select(0u, params.gap, t >= params.gap_at);
    let line = params.x_offset + row * params.length;
    let start = i32(t * params.hop) - i32(params.pad);
    if number < params.total {{
        for (var i = lane; i < {pairs}u; i += {lanes}u) {{
{}        }}
    }}
{barrier}    if number < params.total {{
        let out = params.y_offset + row * {}u * params.frames + t;
{second}    }}
}}
",
            n / 2,
            n / 2,
            frames as usize * n / 4,
            arithmetic(true),
            n / 2,
            lanes * frames,
            n / 4,
            self.first_step(a, b),
            n / 2 + 1,
        )
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    total: u32,
    per_row: u32,
    gap_at: u32,
    gap: u32,
    frames: u32,
    hop: u32,
    pad: u32,
    length: u32,
    mode: u32,
    x_offset: u32,
    window_offset: u32,
    factors_offset: u32,
    y_offset: u32,
    scale: f32,
    end_scale: f32,
    padding: u32,
}

/// The frames that lie inside of the signal, from the first to before the last.
fn interior(f: &Framing) -> (usize, usize) {
    let first = f.pad.div_ceil(f.hop).min(f.frames);
    let end = match (f.length + f.pad).checked_sub(f.n_fft) {
        Some(over) => (over / f.hop + 1).min(f.frames),
        None => 0,
    };
    (first, end.max(first))
}

/// What runs for frames of this length, and why.
pub(super) fn plan_line(n_fft: usize, caps: &Caps) -> String {
    match Sharing::plan(n_fft, caps) {
        Some(sharing) => format!(
            "frames gathered, windowed and transformed at once, {}",
            sharing.describe()
        ),
        None => format!(
            "frames written first, as {n_fft} is no even length of two short factors; then {}",
            transform::plan_line(n_fft)
        ),
    }
}

/// Spectra `[rows, bins, frames, 2]` times `scale`, bins with a mirror image also times `interior_scale`; `None` where
/// no such kernel serves. `owner` lists the kernel beside the entry point `otherwise`. `x` and `window` are dense from
/// offsets that are multiples of 4.
pub(super) fn spectra(
    (owner, otherwise): (&'static dyn Op, &'static str),
    x: &Tensor,
    window: &Tensor,
    f: Framing,
    scale: f64,
    interior_scale: f64,
) -> Result<Option<Tensor>> {
    let device = x.device();
    let sizes = [f.n_fft, f.hop, f.rows * f.frames];
    let names = (owner, ENTRY, otherwise);
    let Some(sharing) = Sharing::of_call(names, device, f.n_fft, &sizes) else {
        return Ok(None);
    };
    let aligned = [f.hop, f.pad, f.length].iter().all(|n| n % 4 == 0);
    let (first, end) = if aligned { interior(&f) } else { (0, 0) };
    // Frames at the ends, or all where samples do not lie so, and frames inside.
    let variant = |interior| Variant { sharing, interior };
    let parts = [
        (variant(false), f.frames - (end - first), first, end - first),
        (variant(true), end - first, 0, first),
    ];
    for (variant, per_row, ..) in parts {
        let candidates = [(ENTRY, variant.code()), (otherwise, 0)];
        if per_row > 0 && launch::choose(owner, device, Elem::F32, &candidates)? == 1 {
            return Ok(None);
        }
    }
    let factors = table(device, Table::Fused(f.n_fft))?;
    let bins = f.n_fft / 2 + 1;
    let y = Tensor::empty(
        device,
        DType::F32,
        Shape::new(&[f.rows, bins, f.frames, 2])?,
    )?;
    let word = |n: usize| launch::word(owner.signature().name, n);
    for (variant, per_row, gap_at, gap) in parts {
        if per_row == 0 {
            continue;
        }
        let params = Params {
            total: word(f.rows * per_row)?,
            per_row: word(per_row)?,
            gap_at: word(gap_at)?,
            gap: word(gap)?,
            frames: word(f.frames)?,
            hop: word(f.hop)?,
            pad: word(f.pad)?,
            length: word(f.length)?,
            mode: f.continuation.code(),
            x_offset: word(x.layout().offset)?,
            window_offset: word(window.layout().offset / 4)?,
            factors_offset: word(factors.layout().offset / 4)?,
            y_offset: word(y.layout().offset / 2)?,
            scale: (0.5 * scale * interior_scale) as f32,
            end_scale: (0.5 * scale) as f32,
            padding: 0,
        };
        let groups = ((f.rows * per_row) as u64).div_ceil(u64::from(sharing.frames));
        let inputs = [x, x, window, &factors];
        launch::dispatch(device, &variant.kernel(), &inputs, &[&y], &params, groups)?;
    }
    Ok(Some(y))
}
