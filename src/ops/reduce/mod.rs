//! Reductions over any set of axes.
//!
//! They share one way of looking at the input ([`Plan`]): kept axes in front, reduced axes behind, merged to at most
//! three each. Sums are made in blocks, so that rounding errors grow with the length of a block and the number of
//! blocks and not with the length of the axis; a long reduction to few results is split over invocations and ends in
//! a second pass, always in the same order.

pub mod argmax;
pub mod argmin;
pub mod logsumexp;
pub mod max;
pub mod mean;
pub mod min;
pub mod sum;
pub mod var;

use crate::error::{Error, Result};
use crate::fuse::contiguous;
use crate::gpu::Kernel;
use crate::gpu::shader::{Elem, Source};
use crate::ops::launch::{self, MOST_STEPS};
use crate::ops::op::{
    Array, Attrs, Case, Cost, Domain, Entry, Meta, Op, Role, Signature, any_device,
};
use crate::tensor::{DType, Layout, Shape, Tensor};
use crate::verdict::Tolerance;

pub(crate) static OPS: &[&dyn Op] = &[
    &argmax::ARGMAX,
    &argmin::ARGMIN,
    &logsumexp::LOGSUMEXP,
    &max::Max,
    &mean::MEAN,
    &min::Min,
    &sum::Sum,
    &var::VAR,
];

/// Invocations of a workgroup.
const WORKGROUP: u64 = 64;
/// Elements one invocation reduces before the reduction is worth splitting, and of each part then. 512 keeps a part
/// longer than the write and second read of its partial result cost.
const PART: usize = 512;
/// Elements one invocation reduces at most. Of `MOST_STEPS` some go to blocks and to loops around the innermost.
const MOST_PART: usize = MOST_STEPS / 4 * 3;

/// The axes of a call, sorted, each once; none given means all.
pub(crate) fn axes_of(op: &'static str, shape: &Shape, axes: &[i64]) -> Result<Vec<usize>> {
    if axes.is_empty() {
        return Ok((0..shape.len()).collect());
    }
    let mut out = axes
        .iter()
        .map(|a| shape.axis(op, *a))
        .collect::<Result<Vec<_>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::attribute(
            op,
            format!("axes {axes:?} name one twice"),
        ));
    }
    Ok(out)
}

/// The shape that is left.
pub(crate) fn reduced_shape(shape: &Shape, axes: &[usize], keepdim: bool) -> Shape {
    let dims: Vec<usize> = (0..shape.len())
        .filter_map(|a| match axes.contains(&a) {
            false => Some(shape[a]),
            true if keepdim => Some(1),
            true => None,
        })
        .collect();
    Shape::of(&dims)
}

pub(crate) fn infer(op: &'static str, x: Meta, attrs: &Attrs) -> Result<Meta> {
    let axes = axes_of(op, &x.shape, attrs.ints("axes"))?;
    Ok(Meta {
        shape: reduced_shape(&x.shape, &axes, attrs.bool("keepdim")),
        dtype: x.dtype,
    })
}

/// Lengths and strides of up to three merged axes, outermost first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Three {
    lengths: [u32; 4],
    strides: [u32; 4],
}

impl Three {
    /// `None` if more than three are left after merging.
    fn merge(axes: impl Iterator<Item = (usize, usize)>) -> Option<Self> {
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (length, stride) in axes.filter(|(n, _)| *n != 1) {
            match merged.last_mut() {
                Some((n, s)) if *s == stride * length => {
                    *n *= length;
                    *s = stride;
                }
                _ => merged.push((length, stride)),
            }
        }
        if merged.len() > 3 {
            return None;
        }
        let mut out = Three {
            lengths: [1; 4],
            strides: [0; 4],
        };
        let first = 3 - merged.len();
        for (i, (n, s)) in merged.into_iter().enumerate() {
            out.lengths[first + i] = n as u32;
            out.strides[first + i] = s as u32;
        }
        Some(out)
    }

    fn numel(&self) -> usize {
        self.lengths[..3].iter().map(|n| *n as usize).product()
    }

    /// Steps of the loops that walk over all elements, outer loops and loops over blocks of 64 included.
    fn steps(&self) -> usize {
        let [a, b, c] = [0, 1, 2].map(|i| self.lengths[i] as usize);
        a + a * b * (1 + c + c.div_ceil(64))
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    kept_lengths: [u32; 4],
    kept_strides: [u32; 4],
    reduced_lengths: [u32; 4],
    reduced_strides: [u32; 4],
    n_results: u32,
    n_parts: u32,
    part: u32,
    x_offset: u32,
    y_offset: u32,
    padding: [u32; 3],
}

/// The input of a reduction as the kernels look at it.
struct Plan {
    x: Tensor,
    kept: Three,
    reduced: Three,
}

impl Plan {
    /// Kept and reduced axes; `None` if more than three are left of either after merging.
    fn split(layout: &Layout, axes: &[usize]) -> Option<(Three, Three)> {
        let pick = |wanted: bool| {
            let layout = *layout;
            (0..layout.shape.len())
                .filter(move |a| axes.contains(a) == wanted)
                .map(move |a| (layout.shape[a], layout.strides()[a]))
        };
        Some((Three::merge(pick(false))?, Three::merge(pick(true))?))
    }

    fn new(x: &Tensor, axes: &[usize]) -> Result<Self> {
        if let Some((kept, reduced)) = Self::split(x.layout(), axes) {
            return Ok(Plan {
                x: x.detach(),
                kept,
                reduced,
            });
        }
        // More than three axes on a side even after merging: reduced ones move behind the others, in a copy.
        let order: Vec<usize> = (0..x.shape().len())
            .filter(|a| !axes.contains(a))
            .chain(axes.iter().copied())
            .collect();
        let moved = contiguous(&x.view(x.layout().permute(&order)))?;
        let n_kept = x.shape().len() - axes.len();
        let strides = moved.layout().strides().to_vec();
        let dims = moved.shape().to_vec();
        let pair = |range: std::ops::Range<usize>| {
            Three::merge(range.map(|a| (dims[a], strides[a])))
                .expect("axes of a contiguous tensor merge to one")
        };
        Ok(Plan {
            kept: pair(0..n_kept),
            reduced: pair(n_kept..dims.len()),
            x: moved,
        })
    }
}

/// Parts that a reduction along one axis is split into: so many that every core has work, and that no invocation walks
/// over more than [`MOST_PART`] elements.
fn parts(n_results: usize, n_reduced: usize) -> usize {
    let wanted = if n_results < 4096 && n_reduced >= 4 * PART {
        n_reduced.div_ceil(PART).min(4096)
    } else {
        1
    };
    wanted.max(n_reduced.div_ceil(MOST_PART))
}

/// How the elements of one result are shared out, in one line.
fn plan_line(op: &'static str, inputs: &[Option<Meta>], attrs: &Attrs) -> Option<String> {
    let x = inputs.first().copied().flatten()?;
    let axes = axes_of(op, &x.shape, attrs.ints("axes")).ok()?;
    let n_reduced: usize = axes.iter().map(|a| x.shape[*a]).product();
    let n_results = x.shape.numel().checked_div(n_reduced).unwrap_or(0);
    Some(match parts(n_results, n_reduced) {
        1 => format!("results undivided, of {n_reduced} elements each"),
        n => format!("{n} parts per result and a second pass, as results are few and long"),
    })
}

/// The kernels of a reduction, which follow the conventions of `shared/axes`: result `r`, part `p` goes to
/// `y[r * n_parts + p]`.
#[derive(Clone, Copy)]
struct Kernels {
    source: fn(&'static str) -> Source,
    naive: &'static str,
    /// By quads: along one reduced axis that lies together, and of results that do.
    quads: Option<[&'static str; 2]>,
}

impl Kernels {
    /// The entry points for this plan, best first.
    ///
    /// On software drivers a load costs per lane whatever its width: [4096, 768] on lavapipe along the rows 0.95 ms by quads,
    /// and two to four times that by elements (a disturbed machine). Several reduced axes that do not merge are left to the naive kernel.
    fn ladder(&self, plan: &Plan) -> Vec<(&'static str, u32)> {
        let naive = (self.naive, 0);
        let Some([lines, columns]) = self.quads else {
            return vec![naive];
        };
        let even = |axes: &Three, n: usize| {
            let mut used = axes.lengths[..n].iter().zip(&axes.strides[..n]);
            used.all(|(length, stride)| *length == 1 || stride.is_multiple_of(4))
        };
        let together = |axes: &Three| axes.strides[2] == 1 && axes.lengths[2].is_multiple_of(4);
        let (kept, reduced) = (&plan.kept, &plan.reduced);
        let offset = plan.x.layout().offset.is_multiple_of(4);
        let whole = reduced.numel() > 0 && kept.numel() > 0;
        if !offset || !whole {
            return vec![naive];
        }
        if reduced.lengths[..2] != [1, 1] {
            return vec![naive];
        }
        if together(reduced) && even(kept, 3) {
            return vec![(lines, 0), naive];
        }
        if together(kept) && even(kept, 2) && even(reduced, 3) {
            return vec![(columns, 0), naive];
        }
        vec![naive]
    }

    /// Whether an entry point could serve reductions of this shape over these axes.
    fn tries(&self, name: &str, shape: &Shape, axes: &[usize]) -> bool {
        let Some([lines, columns]) = self.quads else {
            return true;
        };
        let x = Layout::contiguous(*shape, 0);
        let Some((kept, reduced)) = Plan::split(&x, axes) else {
            return name == self.naive;
        };
        let together = |axes: &Three| axes.strides[2] == 1 && axes.lengths[2].is_multiple_of(4);
        let whole = reduced.numel() > 0 && kept.numel() > 0;
        let one = whole && reduced.lengths[..2] == [1, 1];
        match name {
            _ if name == lines => one && together(&reduced),
            _ if name == columns => one && together(&kept),
            _ => true,
        }
    }
}

/// Runs the kernels of a reduction.
fn reduce(
    op: &'static dyn Op,
    kernels: Kernels,
    x: &Tensor,
    axes: &[usize],
    shape: Shape,
) -> Result<Tensor> {
    let device = x.device();
    let stored = launch::storage(device, x)?;
    let plan = Plan::new(&stored, axes)?;
    let n_results = shape.numel();
    let n_reduced = plan.reduced.numel();
    // Partial results are of the accumulator's type.
    let n_parts = match plan.reduced.lengths[..2] == [1, 1] {
        true => parts(n_results, n_reduced),
        false if plan.reduced.steps() <= MOST_STEPS => 1,
        // Too long for one invocation, and on several axes: the longest goes first, alone.
        false => {
            let longest = axes.iter().max_by_key(|a| x.dim(**a));
            let longest = *longest.expect("several axes are reduced");
            let wide = match x.dtype() {
                DType::F16 => crate::fuse::cast(x, DType::F32)?,
                _ => x.detach(),
            };
            let first = reduced_shape(x.shape(), &[longest], true);
            let y = reduce(op, kernels, &wide, &[longest], first)?;
            return reduce(op, kernels, &y, axes, shape)?.cast(x.dtype());
        }
    };
    let run = |plan: &Plan, n_parts: usize, y: &Tensor| -> Result<()> {
        let elem = plan.x.dtype().elem();
        let candidates = kernels.ladder(plan);
        let (entry, _) = candidates[launch::choose(op, device, elem, &candidates)?];
        let n = plan.reduced.numel();
        let by_quads = entry != kernels.naive;
        // Where parts are read by quads, none begins between two.
        let part = match by_quads {
            true => n.div_ceil(n_parts).next_multiple_of(4),
            false => n.div_ceil(n_parts),
        };
        let columns = kernels.quads.is_some_and(|[_, columns]| columns == entry);
        let n_made = if columns { n_results / 4 } else { n_results };
        let params = Params {
            kept_lengths: plan.kept.lengths,
            kept_strides: plan.kept.strides,
            reduced_lengths: plan.reduced.lengths,
            reduced_strides: plan.reduced.strides,
            n_results: launch::word("results of a reduction", n_results)?,
            n_parts: n_parts as u32,
            part: part as u32,
            x_offset: plan.x.layout().offset as u32,
            y_offset: y.layout().offset as u32,
            padding: [0; 3],
        };
        launch::dispatch(
            device,
            &kernel((kernels.source)(entry), entry, elem),
            &[&plan.x],
            &[y],
            &params,
            ((n_made * n_parts) as u64).div_ceil(WORKGROUP),
        )
    };
    let y = if n_parts == 1 {
        let y = Tensor::empty(device, stored.dtype(), shape)?;
        run(&plan, 1, &y)?;
        y
    } else if stored.dtype() == DType::F16 {
        // Partial sums in f16 would lose what the blocks keep.
        return reduce(op, kernels, &crate::fuse::cast(x, DType::F32)?, axes, shape)?
            .cast(DType::F16);
    } else {
        let partials = Tensor::empty(device, stored.dtype(), Shape::of(&[n_results, n_parts]))?;
        run(&plan, n_parts, &partials)?;
        if n_parts > MOST_PART {
            reduce(op, kernels, &partials, &[1], shape)?
        } else {
            let y = Tensor::empty(device, stored.dtype(), shape)?;
            run(&Plan::new(&partials, &[1])?, 1, &y)?;
            y
        }
    };
    if y.dtype() == x.dtype() {
        Ok(y)
    } else {
        crate::fuse::cast(&y, x.dtype())
    }
}

fn kernel(source: Source, entry: &'static str, elem: Elem) -> Kernel {
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64)],
        elem,
    }
}

fn entry(source: Source, name: &'static str, role: Role) -> Entry {
    Entry {
        role,
        rung: match name.ends_with("_vec4") {
            true => "vec4",
            false => "naive",
        },
        variant: 0,
        needs: any_device,
        kernel: kernel(source, name, Elem::F32),
    }
}

/// Cases that every reduction of floats gets.
fn cases(domain: Domain) -> Vec<Case> {
    let case = |label: &str, shape: &[usize], axes: &[i64]| {
        Case::new(label)
            .f32(shape, domain)
            .attr("axes", axes)
            .attr("keepdim", false)
    };
    vec![
        // Two workgroups of results, two blocks and a rest of each axis.
        case("verify", &[5, 27, 137], &[2]),
        case("all", &[3, 5, 7], &[]),
        case("one_element", &[1], &[0]),
        case("first_axis", &[67, 5], &[0]),
        case("middle_axis", &[3, 65, 7], &[1]),
        case("outer_axes", &[5, 3, 67], &[0, 2]),
        case("alternating_axes", &[2, 3, 2, 3, 2, 3], &[0, 2, 4]),
        case("other_alternating_axes", &[3, 2, 3, 2, 3, 2], &[1, 3, 5]),
        case("split", &[2, 4099], &[1]),
        Case::new("keepdim")
            .f32(&[4, 9], domain)
            .attr("axes", [-1i64].as_slice())
            .attr("keepdim", true),
        Case::new("f16")
            .input(&[3, 4, 129], DType::F16, domain)
            .attr("axes", [2i64].as_slice()),
        Case::new("f16_split")
            .input(&[2, 2500], DType::F16, domain)
            .attr("axes", [1i64].as_slice()),
        Case::new("i32")
            .input(&[3, 70], DType::I32, Domain::Integers(-9, 9))
            .attr("axes", [1i64].as_slice()),
        // More elements per result than a software driver lets one invocation walk over, on axes that do not merge.
        case("long_outer_axes", &[260, 2, 260], &[0, 2]).no_gradient(),
        case("rows_of_768", &[4096, 768], &[1])
            .bench()
            .no_gradient(),
        case("to_one", &[1 << 20], &[]).bench().no_gradient(),
    ]
}

fn refusals() -> Vec<(&'static str, Case)> {
    let case = |axes: &[i64]| {
        Case::new("refused")
            .f32(&[2, 3], Domain::Constant(1.0))
            .attr("axes", axes)
    };
    vec![
        ("an axis that is not there", case(&[2])),
        ("an axis twice", case(&[0, -2])),
    ]
}

/// Refuses a reduction of nothing where nothing has no value.
pub(crate) fn check_not_empty(op: &'static str, shape: &Shape, axes: &[usize]) -> Result<()> {
    match axes.iter().find(|a| shape[**a] == 0) {
        None => Ok(()),
        Some(axis) => Err(Error::Empty {
            op,
            message: format!("axis {axis} of {shape:?} has no elements"),
        }),
    }
}

/// Refusals of a reduction that needs elements.
fn refusals_with_empty() -> Vec<(&'static str, Case)> {
    let mut out = refusals();
    out.push((
        "an axis without elements",
        Case::new("refused")
            .f32(&[2, 0], Domain::Constant(0.0))
            .attr("axes", [1i64].as_slice()),
    ));
    out
}

/// A reduction made of other operators: what it does to the elements of one result, and how it is composed.
pub struct Composite {
    pub signature: &'static Signature,
    /// Input, sorted axes, keepdim, attributes.
    pub(crate) run: fn(&Tensor, &[usize], bool, &Attrs) -> Result<Tensor>,
    /// The elements of one result.
    pub twin: fn(&[f64], &Attrs) -> f64,
    /// The input, how many elements make one result, attributes.
    pub tolerance: fn(&Array, usize, &Attrs) -> Tolerance,
    pub cases: fn() -> Vec<Case>,
    pub flops: u64,
    /// Whether the gradient looks at the input. Where it does not, it is a view of what is as small as the result.
    pub gradient_reads_x: bool,
}

impl Op for Composite {
    fn signature(&self) -> &'static Signature {
        self.signature
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        let op = self.signature.name;
        check_not_empty(op, &x.shape, &axes_of(op, &x.shape, attrs.ints("axes"))?)?;
        Ok(vec![infer(op, x, attrs)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = axes_of(self.signature.name, x.shape(), attrs.ints("axes"))?;
        Ok(vec![(self.run)(x, &axes, attrs.bool("keepdim"), attrs)?])
    }

    fn cases(&self) -> Vec<Case> {
        (self.cases)()
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let op = self.signature.name;
        let axes = axes_of(op, &x.shape, attrs.ints("axes")).expect("infer checked them");
        let shape = reduced_shape(&x.shape, &axes, attrs.bool("keepdim"));
        let data = lines(x, &axes)
            .iter()
            .map(|line| (self.twin)(line, attrs))
            .collect();
        vec![Array::new(shape, data)]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let x = inputs[0].expect("check_inputs saw it");
        let op = self.signature.name;
        let axes = axes_of(op, &x.shape, attrs.ints("axes")).expect("infer checked them");
        (self.tolerance)(x, axes.iter().map(|a| x.shape[*a]).product(), attrs)
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::per_element(inputs, outputs, self.flops)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        match self.gradient_reads_x {
            true => Cost::vjp(self.signature, inputs, outputs).reading(&inputs[0]),
            false => Cost::default(),
        }
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        refusals_with_empty()
    }
}

/// The elements that make each result, in row-major order.
fn lines(x: &Array, axes: &[usize]) -> Vec<Vec<f64>> {
    let kept = reduced_shape(&x.shape, axes, true);
    let mut out = vec![Vec::new(); kept.numel()];
    Array::from_fn(x.shape, |at| {
        let place = (0..at.len()).fold(0, |place, a| {
            place * kept[a] + if axes.contains(&a) { 0 } else { at[a] }
        });
        out[place].push(x.at(at));
        0.0
    });
    out
}

/// Cases of floats only: what is composed of floating-point operators takes no integers.
fn float_cases(domain: Domain) -> Vec<Case> {
    let mut out = cases(domain);
    out.retain(|c| c.inputs.iter().flatten().all(|s| s.dtype.is_float()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_invocation_takes_too_many_steps() {
        for n_results in [1, 4095, 4096, 1 << 20] {
            for n in [0, 1, 2047, 2048, 60_000, 70_000, 1 << 28, 1 << 32] {
                let n_parts = parts(n_results, n);
                let part = n.div_ceil(n_parts);
                assert!(n_parts * part >= n && (n_parts == 1 || part > 0));
                let walk = Three {
                    lengths: [1, 1, part as u32, 1],
                    strides: [0; 4],
                };
                assert!(walk.steps() <= MOST_STEPS, "{n_results} of {n}");
            }
        }
    }
}
