//! Normalisations over rows: the last axis, or trailing axes taken as one.
//!
//! Three rungs each: one invocation per row (the oracle); the same by quads of elements, for software drivers, where a
//! load costs per lane whatever its width and barriers are dear; and one workgroup per row, whose lanes read neighbouring
//! elements together.

pub mod layer_norm;
pub mod log_softmax;
mod rows;
pub mod softmax;

use crate::gpu::shader::{Elem, Source};
use crate::gpu::{Caps, DeviceClass, Kernel};
use crate::ops::launch::MOST_STEPS;
use crate::ops::op::{Array, Entry, Meta, Op, Role, any_device};
use crate::tensor::Tensor;

pub(crate) static OPS: &[&dyn Op] = &[
    &layer_norm::LayerNorm,
    &log_softmax::LogSoftmax,
    &softmax::Softmax,
];

/// Invocations of a workgroup, for both rungs.
const WORKGROUP: u64 = 64;

fn kernel(source: Source, entry: &'static str, elem: Elem) -> Kernel {
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64)],
        elem,
    }
}

fn entry(source: Source, name: &'static str, role: Role, rung: &'static str) -> Entry {
    Entry {
        role,
        rung,
        variant: 0,
        needs: any_device,
        kernel: kernel(source, name, Elem::F32),
    }
}

/// The rungs in the order to try them, for entry points `row`, `row_vec4` and `row_workgroup`.
///
/// On cpu-class devices the row of quads wins: [4096, 768] on lavapipe, copy 2.4 ms, softmax 5.4 by quads and 11.5 by
/// elements. On GPUs a workgroup serves a row, unless rows are so short that most of its lanes would idle. By quads
/// is possible only if `aligned`: rows and offsets are multiples of four elements. A rung that would take too many
/// steps per invocation is left out.
fn ladder(
    caps: &Caps,
    cols: usize,
    aligned: bool,
    [row, vec4, workgroup]: [&'static str; 3],
) -> Vec<(&'static str, u32)> {
    let mut order = Vec::with_capacity(4);
    let fits = |rung: &str| steps(rung, cols) <= MOST_STEPS;
    if caps.class != DeviceClass::Cpu && cols > 32 {
        order.push((workgroup, 0));
    }
    if aligned && fits(vec4) {
        order.push((vec4, 0));
    }
    if fits(row) {
        order.push((row, 0));
    }
    if !order.contains(&(workgroup, 0)) {
        order.push((workgroup, 0));
    }
    order
}

/// What the ladder takes first for rows of `cols` elements in whole tensors, and why, in one line.
fn plan_line(caps: &Caps, cols: usize, rungs: [&'static str; 3]) -> String {
    let [row, _, workgroup] = rungs;
    let aligned = cols.is_multiple_of(4);
    let (first, _) = ladder(caps, cols, aligned, rungs)[0];
    let software = caps.class == DeviceClass::Cpu;
    let why = match (first == workgroup, first == row, software) {
        (true, _, true) => "a workgroup per row, which is too long for one invocation",
        (true, _, false) => "a workgroup per row, whose lanes read neighbouring elements",
        (_, true, _) => "an invocation per row, by elements",
        (.., true) => {
            "an invocation per row, by quads, as a load costs per lane whatever its width"
        }
        (.., false) => "an invocation per row, by quads, as most lanes of a workgroup would idle",
    };
    format!("{first}: {why}")
}

/// The length of the axis that the attribute of that name says, of the first input.
fn length_of_axis(op: &'static str, inputs: &[Option<Meta>], axis: i64) -> Option<usize> {
    let x = inputs.first().copied().flatten()?;
    Some(x.shape[x.shape.axis(op, axis).ok()?])
}

/// Steps of the loops of one invocation, at most: three walks over a row, by elements or quads, or those of a lane.
fn steps(entry: &str, cols: usize) -> usize {
    if entry.ends_with("_workgroup") {
        // The lanes then meet in two reductions, of a step per power of two.
        3 * cols.div_ceil(WORKGROUP as usize) + 2 * WORKGROUP.ilog2() as usize
    } else if entry.ends_with("_vec4") {
        3 * cols.div_ceil(4)
    } else {
        3 * cols
    }
}

/// Whether conformance should try the entry point on rows of `cols` elements.
fn tries(entry: &Entry, cols: usize) -> bool {
    // The parameters' gradients are sums of few rows each.
    entry.name().contains("_parameters") || steps(entry.name(), cols) <= MOST_STEPS
}

/// Whether rows of `cols` elements in these tensors can be read by quads.
fn aligned(cols: usize, tensors: &[&Tensor]) -> bool {
    cols.is_multiple_of(4) && tensors.iter().all(|t| t.layout().offset.is_multiple_of(4))
}

/// Workgroups for `rows` rows with the chosen entry point.
fn groups(entry: &str, rows: usize) -> u64 {
    let per_invocation = match entry {
        "layer_norm_vec4" => 2,
        // Columns, here.
        "layer_norm_vjp_parameters_vec4" => 4,
        _ => 1,
    };
    match entry.ends_with("_workgroup") {
        true => rows as u64,
        false => (rows as u64).div_ceil(per_invocation * WORKGROUP),
    }
}

/// max x and Σ exp(x − max x) along `axis`, for the twins; the axis is kept with length 1.
fn largest_and_sum(x: &Array, axis: usize) -> (Array, Array) {
    let line = |at: &[usize]| {
        let mut place = at.to_vec();
        (0..x.shape[axis]).map(move |i| {
            place[axis] = i;
            x.at(&place)
        })
    };
    let shape = x.shape.with(axis, 1);
    let largest = Array::from_fn(shape, |at| line(at).fold(f64::NEG_INFINITY, f64::max));
    let sum = Array::from_fn(shape, |at| {
        line(at).map(|v| (v - largest.at(at)).exp()).sum()
    });
    (largest, sum)
}
