//! Real rows from half spectra in one kernel, for the lengths of [`fused`](super::fused): bins in pairs are put together
//! to half as many complex numbers, which are transformed. The spectra may lie with bins or with frames in front.

use crate::error::Result;
use crate::gpu::shader::Elem;
use crate::gpu::{Kernel, Source};
use crate::ops::launch;
use crate::ops::op::{Entry, Op, Role};
use crate::ops::signal::codelet::{Lines, arithmetic};
use crate::ops::signal::fused::{Sharing, split};
use crate::ops::signal::irfft::IRFFT;
use crate::ops::signal::transform::{Table, dense, table};
use crate::tensor::{DType, Layout, Shape, Tensor};

pub(super) const ENTRY: &str = "irfft_fused";

pub(super) fn entry(sharing: Sharing) -> Entry {
    Entry {
        role: Role::Forward,
        rung: "fused",
        variant: sharing.code(),
        needs: sharing.needs(),
        kernel: kernel(sharing),
    }
}

fn kernel(sharing: Sharing) -> Kernel {
    let name = format!("signal/irfft_fused_{:05x}", sharing.code());
    Kernel {
        source: Source::generated(name, text(sharing)),
        entry: ENTRY,
        constants: vec![],
        elem: Elem::F32,
    }
}

/// Bins of columns c and a − c as the numbers to be transformed, and their transforms of length b; of columns 0 and a/2
/// where `first`.
fn first_step(a: usize, b: usize, first: bool) -> String {
    let half = a * b;
    let mut w = Lines::new("            ", "t");
    let c = if first { "0u" } else { "c" };
    w.line(format!(
        "let turn = params.factors_offset + {}u + {c} * {}u;",
        (a - 1) * b / 2,
        b / 2
    ));
    let bin = |k: &str| format!("x[spectrum + ({k}) * params.bin_stride]");
    // Number j of the column, and of the one of the mirror images.
    let mut this = vec![String::new(); b];
    let mut other = vec![String::new(); b];
    for j in 0..b / 2 {
        let factor = w.value(format!("factors[turn + {j}u]"));
        let mut begin = |k: String, mirror: String, part: &str| {
            let [v, u] = [bin(&k), bin(&mirror)];
            w.value(format!("begin({v}, {u}, {factor}.{part})"))
        };
        if first {
            let k = a * j;
            if j > 0 {
                let pair = begin(format!("{k}u"), format!("{}u", half - k), "xy");
                this[j] = format!("{pair}.xy");
                this[b - j] = format!("{pair}.zw");
            }
            let k = a / 2 + a * j;
            let pair = begin(format!("{k}u"), format!("{}u", half - k), "zw");
            other[j] = format!("{pair}.xy");
            other[b - 1 - j] = format!("{pair}.zw");
        } else {
            for (j, part) in [(2 * j, "xy"), (2 * j + 1, "zw")] {
                let k = a * j;
                let pair = begin(format!("c + {k}u"), format!("{}u - c", half - k), part);
                this[j] = format!("{pair}.xy");
                other[b - 1 - j] = format!("{pair}.zw");
            }
        }
    }
    if first {
        // Bins 0 and n/2, of which the real parts count, and the one that is its own mirror image.
        let ends = w.value(format!(
            "params.end_scale * vec2({}.x, {}.x)",
            bin("0u"),
            bin(&format!("{half}u"))
        ));
        this[0] = format!("vec2({ends}.x + {ends}.y, {ends}.y - {ends}.x)");
        this[b / 2] = format!("2.0f * params.scale * {}", bin(&format!("{}u", half / 2)));
    }
    let columns: Vec<String> = this
        .iter()
        .zip(&other)
        .map(|(this, other)| w.value(format!("vec4({this}, {other})")))
        .collect();
    for (p, value) in w.transform(&columns).iter().enumerate() {
        w.line(format!("held[own + {c} * {b}u + {p}u] = {value};"));
    }
    w.text
}

/// A butterfly of length a, for numbers 2 i and 2 i + 1 of each column, and the samples it gives.
fn second_step(a: usize, b: usize) -> String {
    let pairs = b / 2;
    let mut w = Lines::new("            ", "s");
    let mut columns = vec![String::new(); a];
    for c in 0..a / 2 {
        let place = format!("own + 2u * i + {}u", c * b);
        let left = w.value(format!("held[{place}]"));
        let right = w.value(format!("held[{place} + 1u]"));
        columns[c] = format!("vec4({left}.xy, {right}.xy)");
        columns[if c == 0 { a / 2 } else { a - c }] = format!("vec4({left}.zw, {right}.zw)");
    }
    let turned: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(k, column)| match k {
            0 => w.value(column),
            _ => {
                let place = format!("params.factors_offset + i + {}u", (k - 1) * pairs);
                w.value(format!("times({column}, factors[{place}])"))
            }
        })
        .collect();
    for (q, value) in w.transform(&turned).iter().enumerate() {
        w.line(format!(
            "y[to + i + {}u] = {value} * vec4(1.0f, -1.0f, 1.0f, -1.0f);",
            pairs * q
        ));
    }
    w.text
}

fn text(sharing: Sharing) -> String {
    let Sharing { n, lanes, frames } = sharing;
    let (a, b) = split(n).expect("it is possible");
    let first = sharing.over_columns(&first_step(a, b, true), &first_step(a, b, false));
    let barrier = sharing.barrier();
    let second = second_step(a, b);
    let pairs = b / 2;
    let half = n / 2;
    let quads = n / 4;
    format!(
        "\
// y[row, t, i] = sum_k x~[row, t, k] exp(2 pi i k i / {n}), x~ = scaled bins 0 .. {half} and their mirror images
//
// {lanes} invocations per frame, {frames} frames per workgroup. E - i W^k D of a bin and its mirror image are {half} complex
// numbers, transformed as {a} x {b}; the results in pairs are the conjugates of samples in pairs.

#import shared/index

struct Params {{
    // Frames, and those of a row.
    total: u32,
    per_row: u32,
    // Counted in complex numbers.
    row_stride: u32,
    frame_stride: u32,
    bin_stride: u32,
    x_offset: u32,
    factors_offset: u32,
    y_offset: u32,
    // What bins with a mirror image are multiplied by, and bins without one.
    scale: f32,
    end_scale: f32,
    padding0: u32,
    padding1: u32,
}}

@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> factors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> held: array<vec4<f32>, {held}>;

{arithmetic}
// Numbers k and {half} - k, of the bins v = x[k] and u = x[{half} - k].
fn begin(v: vec2<f32>, u: vec2<f32>, w: vec2<f32>) -> vec4<f32> {{
    let e = params.scale * vec2(v.x + u.x, u.y - v.y);
    let d = params.scale * vec2(v.x - u.x, -v.y - u.y);
    let g = vec2(w.x * d.y + w.y * d.x, w.y * d.y - w.x * d.x);
    return vec4(e.x + g.x, e.y + g.y, e.x - g.x, g.y - e.y);
}}

@compute @workgroup_size({workgroup})
fn irfft_fused(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {{
    let params = params;
    let slot = local / {lanes}u;
    let lane = local % {lanes}u;
    let number = linear_workgroup(workgroup, workgroups) * {frames}u + slot;
    let own = slot * {quads}u;
    if number < params.total {{
        let row = number / params.per_row;
        let t = number % params.per_row;
        let spectrum = params.x_offset + row * params.row_stride + t * params.frame_stride;
{first}    }}
{barrier}    if number < params.total {{
        let to = params.y_offset + number * {quads}u;
        for (var i = lane; i < {pairs}u; i += {lanes}u) {{
{second}        }}
    }}
}}
",
        arithmetic = arithmetic(true),
        held = frames as usize * quads,
        workgroup = lanes * frames,
    )
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    total: u32,
    per_row: u32,
    row_stride: u32,
    frame_stride: u32,
    bin_stride: u32,
    x_offset: u32,
    factors_offset: u32,
    y_offset: u32,
    scale: f32,
    end_scale: f32,
    padding: [u32; 2],
}

/// Rows, frames and bins of spectra `[.., bins, 2]` that can be read as they lie.
fn lies(x: &Tensor) -> Option<Layout> {
    let dims = x.shape();
    let (lead, spectrum) = dims.split_at(dims.len() - 2);
    let (frames, rows) = match lead.split_last() {
        Some((frames, rows)) => (*frames, rows.iter().product()),
        None => (1, 1),
    };
    let shape = Shape::of(&[rows, frames, spectrum[0], 2]);
    let layout = x.layout().reshape(shape)?;
    let (parts, others) = layout.strides().split_last()?;
    let even = others.iter().all(|s| s % 2 == 0) && layout.offset % 2 == 0;
    (*parts == 1 && even).then_some(layout)
}

/// `[frames, n]` from half spectra `x [.., n/2 + 1, 2]`, which may lie anyhow: all bins times `scale`, those with a
/// mirror image also times `interior`. `None` where no such kernel serves.
pub(super) fn rows(x: &Tensor, n: usize, scale: f64, interior: f64) -> Result<Option<Tensor>> {
    let device = x.device();
    let frames = x.numel() / (2 * (n / 2 + 1));
    let names: (&'static dyn Op, _, _) = (&IRFFT, ENTRY, "irfft");
    let Some(sharing) = Sharing::of_call(names, device, n, &[n, frames]) else {
        return Ok(None);
    };
    let candidates = [(ENTRY, sharing.code()), ("irfft", 0)];
    if launch::choose(&IRFFT, device, Elem::F32, &candidates)? == 1 {
        return Ok(None);
    }
    let (x, layout) = match lies(x) {
        Some(layout) => (x.detach(), layout),
        None => {
            let x = dense(x, 2)?;
            let layout = lies(&x).expect("dense numbers are read as they lie");
            (x, layout)
        }
    };
    let factors = table(device, Table::Fused(n))?;
    let y = Tensor::empty(device, DType::F32, Shape::new(&[frames, n])?)?;
    let word = |n: usize| launch::word("irfft", n);
    let strides = layout.strides();
    let params = Params {
        total: word(frames)?,
        per_row: word(layout.shape[1])?,
        row_stride: word(strides[0] / 2)?,
        frame_stride: word(strides[1] / 2)?,
        bin_stride: word(strides[2] / 2)?,
        x_offset: word(layout.offset / 2)?,
        factors_offset: word(factors.layout().offset / 4)?,
        y_offset: word(y.layout().offset / 4)?,
        scale: (scale * interior) as f32,
        end_scale: scale as f32,
        padding: [0; 2],
    };
    let groups = (frames as u64).div_ceil(u64::from(sharing.frames));
    let kernel = kernel(sharing);
    launch::dispatch(device, &kernel, &[&x, &factors], &[&y], &params, groups)?;
    Ok(Some(y))
}
