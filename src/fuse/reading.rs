//! How a generated kernel goes through its elements: which lie together, and how many an invocation serves.

use crate::fuse::graph::Graph;
use crate::gpu::{Caps, DeviceClass};
use crate::tensor::{DType, Layout, Shape, Tensor};

/// How a leaf is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// Element `i` lies at `offset + i`.
    Dense,
    /// One element for all.
    Single,
    Strided,
    /// Strided, and each quad of elements lies together, from a place that is a multiple of four. By quads only.
    Rows,
    /// Strided, and one element serves a whole quad. By quads only.
    Columns,
}

impl Access {
    /// Whether places come of coordinates and strides.
    pub fn is_strided(self) -> bool {
        matches!(self, Access::Strided | Access::Rows | Access::Columns)
    }
}

/// Elements of an invocation that works by quads.
pub(super) const QUAD: usize = 4;
/// Fewer elements than this are done one by one: the time is that of the launch, and the kernel compiles faster.
const SHORT: usize = 1 << 10;
/// As many elements as this are done by two quads: what an invocation costs by itself is shared. Fewer gain nothing, and
/// the kernel compiles in 1 ms more on lavapipe, in 5 on SwiftShader. 2²⁰ elements by one quad, two, four, medians of three
/// runs: on lavapipe a chain of ten 1.32, 1.24, 1.20 ms, add .93, .83, .89, a row added to a matrix 1.07, .89, .88; on
/// SwiftShader the chain 4.3, 4.0, 5.5, add 1.9, 1.7, 1.5, the row 2.5, 2.0, 1.8. Two lose nowhere.
const LONG: usize = 1 << 14;

/// Axes of the index arithmetic: as few as the strided leaves allow.
#[derive(Debug, PartialEq)]
pub(super) struct Axes {
    pub lengths: Vec<usize>,
    /// For each leaf, strides by axis; empty unless the leaf is strided.
    pub strides: Vec<Vec<usize>>,
}

fn access(layout: &Layout) -> Access {
    if layout.is_contiguous() {
        Access::Dense
    } else if layout
        .shape
        .iter()
        .zip(layout.strides())
        .all(|(n, s)| *n == 1 || *s == 0)
    {
        Access::Single
    } else {
        Access::Strided
    }
}

/// Merges neighbouring axes where every strided leaf steps evenly across them.
fn coalesce(shape: &Shape, leaves: &[Tensor], accesses: &[Access]) -> Axes {
    let mut axes = Axes {
        lengths: Vec::new(),
        strides: vec![Vec::new(); leaves.len()],
    };
    for axis in 0..shape.len() {
        let length = shape[axis];
        if length == 1 {
            continue;
        }
        let strided = || {
            leaves
                .iter()
                .zip(accesses)
                .enumerate()
                .filter(|(_, (_, a))| a.is_strided())
                .map(|(i, (leaf, _))| (i, leaf.layout().strides()[axis]))
        };
        let merges = !axes.lengths.is_empty()
            && strided().all(|(i, stride)| axes.strides[i].last() == Some(&(stride * length)));
        if merges {
            *axes.lengths.last_mut().expect("not empty") *= length;
            for (i, stride) in strided() {
                *axes.strides[i].last_mut().expect("not empty") = stride;
            }
        } else {
            axes.lengths.push(length);
            for (i, stride) in strided() {
                axes.strides[i].push(stride);
            }
        }
    }
    if !accesses.iter().any(|a| a.is_strided()) {
        axes.lengths.clear();
    }
    axes
}

/// How a kernel goes through its elements.
#[derive(Debug)]
pub(super) struct Reading {
    pub accesses: Vec<Access>,
    pub axes: Axes,
    /// Quads of elements that an invocation computes, one after the other in the same row; 0: a single element.
    pub quads: usize,
}

impl Reading {
    pub fn of(caps: &Caps, graph: &Graph, outputs: &[Tensor]) -> Self {
        let accesses: Vec<Access> = graph.leaves.iter().map(|l| access(l.layout())).collect();
        let axes = coalesce(&graph.shape, &graph.leaves, &accesses);
        match by_quads(caps, graph, &accesses, &axes, outputs) {
            Some(accesses) => Reading {
                quads: if by_two_quads(graph, &axes) { 2 } else { 1 },
                accesses,
                axes,
            },
            None => Reading {
                accesses,
                axes,
                quads: 0,
            },
        }
    }

    /// The same ways of reading other leaves of another shape.
    pub fn again(&self, graph: &Graph) -> Self {
        Reading {
            axes: coalesce(&graph.shape, &graph.leaves, &self.accesses),
            accesses: self.accesses.clone(),
            quads: self.quads,
        }
    }

    /// Axes of the index arithmetic.
    pub fn rank(&self) -> usize {
        self.axes.lengths.len()
    }
}

/// Whether an invocation of the kernel should compute four elements, and how it then reads the leaves.
///
/// On software drivers a load costs per lane whatever its width, so quads pay. 2²⁰ elements on lavapipe, one by one and by
/// quads: abs 1.7 and 0.8 ms, add 2.2 and 1.3, gelu 3.8 and 2.6. GPUs read neighbours together as it is. No f16 takes
/// part: pairs of it share a word.
fn by_quads(
    caps: &Caps,
    graph: &Graph,
    accesses: &[Access],
    axes: &Axes,
    outputs: &[Tensor],
) -> Option<Vec<Access>> {
    let aligned = |t: &Tensor| t.layout().offset.is_multiple_of(QUAD);
    let wide = |t: &Tensor| t.dtype() != DType::F16;
    let n = graph.shape.numel();
    let suits = caps.class == DeviceClass::Cpu
        && n >= SHORT
        && n.is_multiple_of(QUAD)
        && axes.lengths.last().is_none_or(|n| n.is_multiple_of(QUAD))
        && graph.leaves.iter().all(wide)
        && outputs.iter().all(|t| wide(t) && aligned(t));
    if !suits {
        return None;
    }
    let quad = |((leaf, access), strides): ((&Tensor, &Access), &Vec<usize>)| match access {
        Access::Dense => aligned(leaf).then_some(Access::Dense),
        Access::Strided => {
            let (last, outer) = strides.split_last()?;
            let even = aligned(leaf) && outer.iter().all(|s| s.is_multiple_of(QUAD));
            Some(match last {
                1 if even => Access::Rows,
                0 => Access::Columns,
                _ => Access::Strided,
            })
        }
        other => Some(*other),
    };
    graph
        .leaves
        .iter()
        .zip(accesses)
        .zip(&axes.strides)
        .map(quad)
        .collect()
}

/// Whether an invocation that works by quads should compute two, which then lie in the same row.
fn by_two_quads(graph: &Graph, axes: &Axes) -> bool {
    let n = graph.shape.numel();
    let row = axes.lengths.last().copied().unwrap_or(n);
    n >= LONG && row.is_multiple_of(2 * QUAD)
}

/// A layout over `shape` that a kernel reads in the same way as it reads this leaf: strided leaves become transposed and
/// stretched ones, whose axes do not merge.
pub(super) fn probe_layout(reading: &Reading, leaf: usize, shape: Shape) -> Layout {
    // The axes in reverse order, but for the last ones, which stay as they are; those that were turned are twice as long,
    // and every second element is taken, so that one axis is strided as well.
    let turned = |n_kept: usize| {
        let n_turned = shape.len() - n_kept;
        let axes: Vec<usize> = (0..n_turned).rev().chain(n_turned..shape.len()).collect();
        let wide: Vec<usize> = axes
            .iter()
            .map(|&a| if a < n_turned { 2 * shape[a] } else { shape[a] })
            .collect();
        let mut layout = Layout::contiguous(Shape::of(&wide), 0);
        for (place, &axis) in axes.iter().enumerate().take(n_turned) {
            layout = layout.slice(place, 0, shape[axis], 2);
        }
        layout.permute(&axes)
    };
    match reading.accesses[leaf] {
        Access::Dense => Layout::contiguous(shape, 0),
        Access::Single => Layout::contiguous(Shape::SCALAR, 0).broadcast_to(shape),
        Access::Strided => turned(0),
        Access::Rows => turned(1),
        Access::Columns => {
            let n = shape.len() - 1;
            turned(1).slice(n, 0, 1, 1).broadcast_to(shape)
        }
    }
}
