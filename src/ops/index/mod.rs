//! Operators that move elements: by permuting axes, or by an index tensor.
//!
//! `gather` and `scatter_add` are each other's gradient. Indices count from 0, or from the end if negative; one that
//! is out of range cannot be reported by a kernel, so it gathers NaN (0 from integers) and scatters nothing.

pub mod concat;
pub mod embedding;
pub mod flip;
pub mod gather;
pub mod index_select;
pub mod one_hot;
pub mod pad;
pub mod permute;
pub mod roll;
pub mod scatter_add;
pub mod slice;

use std::ops::Range;

use crate::error::{Error, Result};
use crate::gpu::shader::{Elem, Source};
use crate::gpu::{DeviceClass, Kernel};
use crate::ops::op::{Array, Attrs, Case, Cost, Entry, Meta, Op, Role, Signature, any_device};
use crate::tensor::{Layout, MAX_RANK, Shape, Tensor};
use crate::verdict::Tolerance;

pub(crate) static OPS: &[&dyn Op] = &[
    &concat::CONCAT,
    &embedding::EMBEDDING,
    &flip::FLIP,
    &gather::Gather,
    &index_select::INDEX_SELECT,
    &one_hot::ONE_HOT,
    &pad::PAD,
    &permute::Permute,
    &roll::ROLL,
    &scatter_add::ScatterAdd,
    &slice::SLICE,
];

const WORKGROUP: u64 = 64;

fn kernel(source: Source, entry: &'static str, elem: Elem) -> Kernel {
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64)],
        elem,
    }
}

fn entry(source: Source, name: &'static str, rung: &'static str) -> Entry {
    Entry {
        role: Role::Forward,
        rung,
        variant: 0,
        needs: any_device,
        kernel: kernel(source, name, Elem::F32),
    }
}

/// Shape or strides as the eight words that kernels index by axis, the innermost axis first; `fill` beyond the rank.
fn by_axis(numbers: &[usize], fill: u32) -> [u32; 8] {
    words(numbers.iter().rev().copied(), fill)
}

fn strides(layout: &Layout) -> [u32; 8] {
    by_axis(layout.strides(), 0)
}

/// The axes of a shape, innermost first, with their strides in several layouts: as few as they can be walked by. Axes of
/// length 1 are left out, and neighbours that lie one behind the other in every layout are one.
fn walk<const N: usize>(lengths: &[usize], strides: [&[usize]; N]) -> Vec<(usize, [usize; N])> {
    let mut out: Vec<(usize, [usize; N])> = Vec::new();
    for axis in (0..lengths.len()).rev().filter(|a| lengths[*a] != 1) {
        let here = strides.map(|s| s[axis]);
        match out.last_mut() {
            Some((n, inner)) if here == inner.map(|s| s * *n) => *n *= lengths[axis],
            _ => out.push((lengths[axis], here)),
        }
    }
    out
}

/// Numbers by axis, innermost first, as the eight words that kernels index; `fill` beyond the axes.
fn words(numbers: impl Iterator<Item = usize>, fill: u32) -> [u32; 8] {
    let mut out = [fill; 8];
    for (word, n) in out.iter_mut().zip(numbers) {
        *word = n as u32;
    }
    const { assert!(MAX_RANK <= 8) };
    out
}

/// The stride between neighbours where these axes are walked as one; 0 if none of them is longer than 1. `None` where
/// they cannot be.
fn merged(lengths: &[usize], strides: &[usize]) -> Option<usize> {
    let mut long = lengths.iter().zip(strides).rev().filter(|(n, _)| **n != 1);
    let Some((n, &stride)) = long.next() else {
        return Some(0);
    };
    let mut next = n * stride;
    for (n, s) in long {
        if *s != next {
            return None;
        }
        next *= n;
    }
    Some(stride)
}

/// The strides of a layout with the axes taken as [outer, axis, inner], whose lengths but for the axis are in `lengths`.
/// `None` where outer or inner cannot be walked as one; where there is one place on the axis, its stride is 0, as it does
/// not matter.
fn around(layout: &Layout, lengths: &Shape, axis: usize) -> Option<[usize; 3]> {
    let over = |axes: Range<usize>| merged(&lengths[axes.clone()], &layout.strides()[axes]);
    let along = match layout.shape[axis] {
        1 => 0,
        _ => layout.strides()[axis],
    };
    Some([over(0..axis)?, along, over(axis + 1..lengths.len())?])
}

/// Most quads of a row that one invocation of a software driver takes: one pair of divisions serves them all. No other
/// number was tried.
const QUADS_PER_LANE: usize = 16;

/// Invocations that share a row of so many quads. On a GPU (not measured) each takes one, so that neighbours read
/// neighbouring quads.
fn lanes(class: DeviceClass, quads: usize) -> usize {
    match class {
        DeviceClass::Cpu => quads.div_ceil(QUADS_PER_LANE),
        _ => quads,
    }
}

/// `index` must have the rank of `x` and be no longer than it on any axis but `axis`.
fn check(op: &'static str, x: Meta, axis: usize, index: Meta, name: &str) -> Result<()> {
    let fits = index.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|a| a == axis || index.shape[a] <= x.shape[a]);
    if fits {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!(
            "index has shape {:?}, expected at most that of {name} {:?} but on axis {axis}",
            index.shape, x.shape
        ),
    ))
}

/// Resolves a negative index; what is still out of range is `None`.
fn resolve(index: f64, n: usize) -> Option<usize> {
    let i = if index < 0.0 { index + n as f64 } else { index };
    (i >= 0.0 && i < n as f64).then_some(i as usize)
}

/// An operator that only moves elements: what it gives is exact.
pub struct Movement {
    pub signature: &'static Signature,
    pub(crate) infer: fn(&[Option<Meta>], &Attrs) -> Result<Meta>,
    pub(crate) run: fn(&[Option<&Tensor>], &Attrs) -> Result<Tensor>,
    pub twin: fn(&[Option<&Array>], &Attrs) -> Array,
    pub cases: fn() -> Vec<Case>,
    pub refusals: fn() -> Vec<(&'static str, Case)>,
    pub entries: fn() -> Vec<Entry>,
    /// Whether gradients are views of the upstream one.
    pub gradient_is_view: fn(&Attrs) -> bool,
}

impl Op for Movement {
    fn signature(&self) -> &'static Signature {
        self.signature
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        Ok(vec![(self.infer)(inputs, attrs)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        Ok(vec![(self.run)(inputs, attrs)?])
    }

    fn entries(&self) -> Vec<Entry> {
        (self.entries)()
    }

    fn cases(&self) -> Vec<Case> {
        (self.cases)()
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        let label = match entry.name().ends_with("_quads") {
            true => "verify_quads",
            false => "verify",
        };
        let mut cases = (self.cases)();
        let at = cases.iter().position(|case| case.label == label);
        cases.swap_remove(at.unwrap_or(0))
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        vec![(self.twin)(inputs, attrs)]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn cost(&self, _: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        // As many elements are read as are written.
        let written: u64 = outputs.iter().map(Meta::bytes).sum();
        Cost {
            read_bytes: written,
            written_bytes: written,
            flops: 0,
        }
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        if (self.gradient_is_view)(attrs) {
            return Cost::default();
        }
        let indices = inputs.iter().zip(self.signature.inputs);
        let indices = indices.filter(|(_, input)| !input.differentiable);
        Cost::vjp(self.signature, inputs, outputs)
            .reading(indices.filter_map(|(meta, _)| meta.as_ref()))
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        (self.refusals)()
    }
}

/// The input that must be there.
fn given<T: Copy>(inputs: &[Option<T>], i: usize) -> T {
    inputs[i].expect("check_inputs saw it")
}
