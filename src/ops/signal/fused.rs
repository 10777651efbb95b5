//! Short-time spectra in one kernel, for even lengths whose half is a product of two short ones: frames are gathered,
//! windowed, transformed as half as many complex numbers, and taken apart into bins.
//!
//! The transform of h = a · b numbers is done in two steps, b/2 butterflies of length a on two neighbours at once and
//! a/2 of length b on columns c and a − c at once, which are the mirror images of each other. What lies between is in
//! workgroup memory.

use crate::error::Result;
use crate::gpu::shader::Elem;
use crate::gpu::{Caps, Device, DeviceClass, Kernel, Source};
use crate::ops::launch;
use crate::ops::op::{Entry, Role, any_device};
use crate::ops::signal::codelet::{Lines, arithmetic};
use crate::ops::signal::framing::Framing;
use crate::ops::signal::stft::STFT;
use crate::ops::signal::transform::{self, Table, root, table};
use crate::tensor::{DType, Shape, Tensor};

/// The longest butterfly: more numbers than this are no longer kept in registers by anybody.
const LONGEST: usize = 32;

/// a and b of a frame of `n` samples, both even, a the longer; `None` if there are none.
pub(super) fn split(n: usize) -> Option<(usize, usize)> {
    if !n.is_multiple_of(8) {
        return None;
    }
    let half = n / 2;
    let smooth = |mut r: usize| {
        for p in [2, 3, 5, 7] {
            while r.is_multiple_of(p) {
                r /= p;
            }
        }
        r == 1
    };
    (2..=LONGEST)
        .filter(|b| b % 2 == 0 && half.is_multiple_of(2 * b))
        .map(|b| (half / b, b))
        .filter(|(a, b)| a >= b && *a <= LONGEST && smooth(*a) && smooth(*b))
        .min()
}

/// The factors of both steps and of taking apart, in the order that the kernel reads them, two at a time.
pub(super) fn factors(n: usize) -> Vec<(f64, f64)> {
    let (a, b) = split(n).expect("only lengths with a kernel have factors");
    let half = n / 2;
    let mut out = Vec::new();
    for k in 1..a {
        out.extend((0..b).map(|p| root(p * k, half)));
    }
    for j in 0..b / 2 {
        out.extend([root(a * j, n), root(a / 2 + a * j, n)]);
    }
    for c in 1..a / 2 {
        out.extend((0..b).map(|j| root(c + a * j, n)));
    }
    out
}

/// How a kernel is laid out over invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    pub n_fft: usize,
    /// Invocations that share a frame, a power of 2.
    lanes: u32,
    /// Frames of a workgroup, a power of 2.
    frames: u32,
    /// Serves only frames that lie inside of the signal, from samples whose places are multiples of 4.
    interior: bool,
}

impl Variant {
    /// On software drivers an invocation does a whole frame, so that the lanes of a subgroup are frames that all do the
    /// same, and nobody waits at a barrier; on others 64 invocations share as many frames as workgroup memory holds.
    ///
    /// 16 × 80000 samples, n_fft 400, hop 160 on lavapipe, CPU time over two cores: 10.9 ms so, 19 ms by eight
    /// invocations to a frame (and 1.5 s instead of 0.1 to compile), 55 ms by frames, passes and bins of their own.
    pub fn plan(n_fft: usize, caps: &Caps) -> Option<Variant> {
        split(n_fft)?;
        let bytes = 4 * n_fft as u32;
        let room = |frames: u32| frames * bytes <= caps.max_workgroup_bytes;
        let frames = [8, 4, 2, 1].into_iter().find(|f| room(*f))?;
        let invocations = match caps.class {
            DeviceClass::Cpu => 8,
            _ => 64,
        };
        Some(Variant {
            n_fft,
            lanes: invocations / frames,
            frames,
            interior: false,
        })
    }

    /// In words.
    fn describe(self) -> String {
        format!(
            "frames gathered, windowed and transformed at once, {} in a workgroup, {} to a frame",
            match self.frames {
                1 => "one".to_string(),
                n => n.to_string(),
            },
            match self.lanes {
                1 => "one invocation".to_string(),
                n => format!("{n} invocations"),
            }
        )
    }

    pub fn new(n_fft: usize, lanes: u32, frames: u32, interior: bool) -> Variant {
        Variant {
            n_fft,
            lanes,
            frames,
            interior,
        }
    }

    pub fn code(self) -> u32 {
        self.n_fft as u32
            | self.lanes.trailing_zeros() << 12
            | self.frames.trailing_zeros() << 16
            | u32::from(self.interior) << 20
    }

    pub fn of(code: u32) -> Variant {
        Variant {
            n_fft: (code & 0xfff) as usize,
            lanes: 1 << (code >> 12 & 0xf),
            frames: 1 << (code >> 16 & 0xf),
            interior: code >> 20 & 1 == 1,
        }
    }

    /// Whether a number that came from outside means a kernel.
    pub fn is_possible(self) -> bool {
        split(self.n_fft).is_some() && self.frames <= 8 && self.lanes <= 64
    }

    pub fn interior(self, interior: bool) -> Variant {
        Variant { interior, ..self }
    }

    pub fn is_interior(self) -> bool {
        self.interior
    }

    /// Frames of a verification case: two workgroups and a rest, of two signals.
    pub fn tried_frames(self) -> usize {
        self.frames as usize + 4
    }

    pub fn entry(self) -> Entry {
        Entry {
            role: Role::Forward,
            rung: "fused",
            variant: self.code(),
            needs: match self.frames * 4 * self.n_fft as u32 {
                0..=16_384 => any_device,
                _ => |caps| caps.max_workgroup_bytes >= 32_768,
            },
            kernel: self.kernel(),
        }
    }

    fn kernel(self) -> Kernel {
        // Interior is a constant and not part of the text.
        let name = format!("signal/stft_fused_{:05x}", self.code() & 0xf_ffff);
        Kernel {
            source: Source::generated(name, self.text()),
            entry: "stft_fused",
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
                w.line(format!(
                    "finish(out, {k}, {this}.{this_part}, {mirror}.{mirror_part}, {factor}.{part});"
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
        let (a, b) = split(self.n_fft).expect("plan() found it");
        let Variant {
            n_fft,
            lanes,
            frames,
            ..
        } = self;
        let (columns, pairs) = (a / 2, b / 2);
        let second = if lanes == 1 {
            // The first column's bins pair in another way; a branch in the loop would cost every lane both.
            format!(
                "        {{\n{}        }}\n        for (var c = 1u; c < {columns}u; c++) {{\n{}        }}\n",
                self.second_step(a, b, true),
                self.second_step(a, b, false)
            )
        } else {
            format!(
                "        if lane == 0u {{\n{}        }}\n        for (var c = (lane + {lanes}u - 1u) % {lanes}u + 1u; c < {columns}u; c += {lanes}u) {{\n{}        }}\n",
                self.second_step(a, b, true),
                self.second_step(a, b, false)
            )
        };
        let barrier = match lanes {
            1 => "",
            _ => "    workgroupBarrier();\n",
        };
        format!(
            "\
// y[row, k, t] = scale sum_i window[i] x[row, t hop + i - pad] exp(-2 pi i k i / {n_fft}), k = 0 .. {}
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
    scale: f32,
    padding0: u32,
    padding1: u32,
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
fn finish(out: u32, k: u32, v: vec2<f32>, u: vec2<f32>, w: vec2<f32>) {{
    let e = params.scale * vec2(v.x + u.x, v.y - u.y);
    let d = params.scale * vec2(v.x - u.x, v.y + u.y);
    let g = vec2(w.x * d.x - w.y * d.y, w.x * d.y + w.y * d.x);
    y[out + k * params.frames] = vec2(e.x + g.y, e.y - g.x);
    y[out + ({}u - k) * params.frames] = vec2(e.x - g.y, -e.y - g.x);
}}

@compute @workgroup_size({})
fn stft_fused(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {{
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
            n_fft / 2,
            n_fft / 2,
            frames as usize * n_fft / 4,
            arithmetic(true),
            n_fft / 2,
            n_fft / 2,
            lanes * frames,
            n_fft / 4,
            self.first_step(a, b),
            n_fft / 2 + 1,
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
    padding: [u32; 2],
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
    match Variant::plan(n_fft, caps) {
        Some(variant) => variant.describe(),
        None => format!(
            "frames written first, as {n_fft} is no even length of two short factors; then {}",
            transform::plan_line(n_fft)
        ),
    }
}

/// The entry that a handle or the device's plan table asks for, or the planned one.
fn planned(device: &Device, f: &Framing) -> Option<Variant> {
    let n_fft = f.n_fft;
    let sizes = [n_fft, f.hop, f.rows * f.frames];
    let preferred = launch::preferred(&STFT, device, Elem::F32, &sizes);
    match preferred.first() {
        Some(&("stft_fused", code)) => {
            split(n_fft)?;
            Some(
                Variant {
                    n_fft,
                    ..Variant::of(code)
                }
                .interior(false),
            )
            .filter(|v| v.is_possible())
            .filter(|v| v.frames * 4 * n_fft as u32 <= device.caps().max_workgroup_bytes)
        }
        Some(&("stft_frames", _)) => None,
        _ => Variant::plan(n_fft, device.caps()),
    }
}

/// Spectra `[rows, bins, frames, 2]` times `scale`; `None` where no such kernel serves. `x` and `window` are dense from
/// offsets that are multiples of 4.
pub(super) fn spectra(
    x: &Tensor,
    window: &Tensor,
    f: Framing,
    scale: f64,
) -> Result<Option<Tensor>> {
    let device = x.device();
    let Some(variant) = planned(device, &f) else {
        return Ok(None);
    };
    let aligned = [f.hop, f.pad, f.length].iter().all(|n| n % 4 == 0);
    let (first, end) = if aligned { interior(&f) } else { (0, 0) };
    // Frames at the ends, or all where samples do not lie so, and frames inside.
    let parts = [
        (variant, f.frames - (end - first), first, end - first),
        (variant.interior(true), end - first, 0, first),
    ];
    for (variant, per_row, ..) in parts {
        let candidates = [("stft_fused", variant.code()), ("stft_frames", 0)];
        if per_row > 0 && launch::choose(&STFT, device, Elem::F32, &candidates)? == 1 {
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
    let word = |n: usize| launch::word("stft", n);
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
            scale: (0.5 * scale) as f32,
            padding: [0; 2],
        };
        let groups = ((f.rows * per_row) as u64).div_ceil(u64::from(variant.frames));
        let inputs = [x, x, window, &factors];
        launch::dispatch(device, &variant.kernel(), &inputs, &[&y], &params, groups)?;
    }
    Ok(Some(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_split_into_even_halves_and_codes_lead_back() {
        assert_eq!(split(400), Some((20, 10)));
        assert_eq!(split(512), Some((16, 16)));
        assert_eq!(split(2048), Some((32, 32)));
        assert_eq!(split(16), Some((4, 2)));
        for n in [0, 4, 12, 401, 882, 4096] {
            assert_eq!(split(n), None, "{n}");
        }
        for n in (8..=2048).filter(|n| split(*n).is_some()) {
            let (a, b) = split(n).expect("filtered");
            assert_eq!(2 * a * b, n);
            assert_eq!(factors(n).len(), (a - 1) * b + n / 4, "{n}");
        }
        for (lanes, frames, interior) in [(1, 8, true), (32, 2, false)] {
            let variant = Variant::new(2048, lanes, frames, interior);
            assert_eq!(Variant::of(variant.code()), variant);
        }
    }
}
