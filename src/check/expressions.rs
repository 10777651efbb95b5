//! Random chains of elementwise operators: fused, one by one, and in f64.

use crate::error::{Error, Result};
use crate::fuse::bound::{self, Bounded};
use crate::fuse::{Kind, MAX_BINDINGS, MAX_NODES};
use crate::gpu::{Device, Mode};
use crate::ops::elementwise::Elementwise;
use crate::ops::op::{Array, Attr, AttrDefault, Attrs, Domain, Op, Spec};
use crate::ops::probe::{Numbers, download, inputs_of, made_up, upload};
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::{Verdict, Verdicts};

/// What became of one expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was found; `None` if all ways of computing it agree.
    pub wrong: Option<String>,
    /// Function applications, casts included.
    pub n_nodes: usize,
    pub n_leaves: usize,
    /// The functions that it applies, without casts.
    pub functions: Vec<&'static str>,
    /// Whether one kernel can hold it all on this device.
    pub fits: bool,
    pub dispatches_fused: u64,
    pub dispatches_one_by_one: u64,
    /// Share of the elements that are compared within [`CLOSE`]: not outside of a function's domain, no overflow, not
    /// where a function jumps.
    pub share_compared: f64,
}

/// Bounds that count as close, as a part of the value, or of a tenth where that is more.
pub const CLOSE: f64 = 0.02;
/// The share of elements that one function may leave without a close bound.
const MAX_LOSS: f64 = 0.005;

/// One value of an expression; arguments are earlier ones.
struct Step {
    what: What,
    dtype: DType,
    shape: Shape,
    /// By the twins, and how far from them a kernel may be.
    values: Array,
    bounds: Array,
}

impl Step {
    /// The share of elements with a close bound.
    fn share(&self) -> f64 {
        let close = |(x, e): &(&f64, &f64)| **e <= CLOSE * x.abs().max(0.1);
        let n_close = self
            .values
            .data
            .iter()
            .zip(&self.bounds.data)
            .filter(close)
            .count();
        n_close as f64 / self.values.data.len() as f64
    }
}

enum What {
    Leaf(Array),
    Apply(&'static Elementwise, Attrs, Vec<usize>),
    Cast(usize),
}

/// Makes the expression of `seed`, runs it fused and one by one in check mode, compares both with its twin, and counts
/// dispatches: an expression that fits one kernel takes one.
///
/// Leaves are dense, strided and broadcast, of all dtypes; values are used several times; conditions are computed.
pub fn check(device: &Device, functions: &[&'static Elementwise], seed: u64) -> Result<Report> {
    let steps = Growth::new(functions, seed).steps;
    let alone = device.extension(super::Alone::default);
    let _alone = alone.lock();
    let root = steps.last().expect("an expression has a step");
    let n_leaves = count(&steps, |s| matches!(s.what, What::Leaf(_)));
    let n_nodes = steps.len() - n_leaves;
    let bindings = MAX_BINDINGS.min(device.caps().max_storage_buffers as usize);
    let even = count(&steps, |s| {
        !matches!(s.what, What::Leaf(_)) && s.shape == root.shape
    });
    let wrong_before = wrong_kernels(device);
    let mut report = Report {
        wrong: None,
        n_nodes,
        n_leaves,
        functions: steps
            .iter()
            .filter_map(|s| match &s.what {
                What::Apply(op, ..) => Some(op.signature.name),
                _ => None,
            })
            .collect(),
        fits: n_nodes <= MAX_NODES && n_leaves < bindings && even == n_nodes,
        dispatches_fused: 0,
        dispatches_one_by_one: 0,
        share_compared: root.share(),
    };
    let clear: Vec<bool> = root.bounds.data.iter().map(|e| e.is_finite()).collect();
    let only_clear = |numbers: &[f64]| -> Vec<f64> {
        let pairs = numbers.iter().zip(&clear);
        pairs.map(|(x, c)| if *c { *x } else { 0.0 }).collect()
    };
    let (wanted, bounds) = (only_clear(&root.values.data), only_clear(&root.bounds.data));
    // The last run verifies the kernels, which is a test of verification: it must find nothing wrong.
    for (how, fuse, verify) in [
        ("fused", true, false),
        ("one by one", false, false),
        ("fused and verified", true, true),
    ] {
        let handle = device.with_mode(Mode {
            fuse,
            verify,
            guard: true,
            only: None,
            corrupt: None,
        });
        let leaves = upload_leaves(&handle, &steps)?;
        let before = device.stream_stats().n_dispatches;
        let got = match apply(&steps, leaves).and_then(|root| download(&root)) {
            Err(error @ Error::KernelWrong { .. }) => {
                let found = format!("{how}: {error}; {}", describe(&steps));
                report.wrong.get_or_insert(found);
                continue;
            }
            other => other?,
        };
        let dispatched = device.stream_stats().n_dispatches - before;
        match (fuse, verify) {
            (true, false) => report.dispatches_fused = dispatched,
            (false, _) => report.dispatches_one_by_one = dispatched,
            (true, true) => {}
        }
        let compared = crate::verdict::compare(&only_clear(&got.data), &wanted, |i| bounds[i]);
        if let Err(mismatch) = compared {
            report
                .wrong
                .get_or_insert(format!("{how}: {mismatch}; {}", describe(&steps)));
        }
    }
    let mut others = Vec::new();
    if let Some(detail) = super::guard::inspect(device)? {
        others.push(detail);
    }
    let found = wrong_kernels(device);
    if let Some((_, detail)) = found.iter().find(|w| !wrong_before.contains(w)) {
        others.push(format!("verification finds {detail}"));
    }
    if report.fits && report.dispatches_fused != 1 {
        others.push(format!(
            "fits one kernel and takes {} dispatches",
            report.dispatches_fused
        ));
    }
    if report.dispatches_one_by_one != n_nodes as u64 {
        others.push(format!(
            "{} dispatches one by one for {n_nodes} functions",
            report.dispatches_one_by_one
        ));
    }
    for other in others {
        report
            .wrong
            .get_or_insert(format!("{other}; {}", describe(&steps)));
    }
    Ok(report)
}

/// Key and finding of each generated kernel that was found wrong.
fn wrong_kernels(device: &Device) -> Vec<(String, String)> {
    let all = Verdicts::of(device).all().into_iter();
    all.filter_map(|(key, verdict)| match verdict {
        Verdict::Wrong(detail) if key.starts_with("fused/") => Some((key, detail)),
        _ => None,
    })
    .collect()
}

/// Runs backward passes of a function whose upstream gradient is made of its own value, as that of a sum of squares is:
/// stored and recomputed, as it is and doubled. What verification finds wrong in their kernels; it must find nothing.
///
/// Errors: those of the calls.
pub fn check_gradient(
    device: &Device,
    op: &'static Elementwise,
    dtype: DType,
) -> Result<Option<String>> {
    let alone = device.extension(super::Alone::default);
    let _alone = alone.lock();
    let handle = device.with_mode(Mode {
        fuse: true,
        verify: true,
        guard: true,
        only: None,
        corrupt: None,
    });
    let before = wrong_kernels(device);
    let mut cases = op.cases().into_iter();
    let case = cases
        .find(|c| c.label == "lines_of_quads")
        .expect("every elementwise operator has it");
    let attrs = case.attrs.complete(op.signature())?;
    for stored in [false, true] {
        for doubled in [false, true] {
            let numbers = inputs_of(&case, 1).into_iter().flatten();
            let specs = case.inputs.iter().flatten().zip(op.signature.inputs);
            let inputs = numbers.zip(specs).map(|(array, (spec, input))| {
                let dtype = if spec.dtype.is_float() {
                    dtype
                } else {
                    spec.dtype
                };
                let tensor = upload(&handle, &array, dtype)?;
                match input.differentiable {
                    true => tensor.requires_grad(),
                    false => Ok(tensor),
                }
            });
            let inputs = inputs.collect::<Result<Vec<Tensor>>>()?;
            let references: Vec<Option<&Tensor>> = inputs.iter().map(Some).collect();
            let y = op.run(&references, &attrs)?.remove(0);
            if !y.has_grad() {
                return Ok(None);
            }
            if stored {
                y.force()?;
            }
            let own = y.detach();
            let upstream = if doubled { own.mul(2.0)? } else { own };
            let gradients = y.backward_from(&upstream)?;
            let gradients = inputs.iter().filter_map(|input| gradients.get(input));
            gradients.into_iter().try_for_each(Tensor::force)?;
        }
    }
    device.wait()?;
    let found = wrong_kernels(device).into_iter();
    let mut new = found.filter(|w| !before.contains(w));
    Ok(new.next().map(|(_, detail)| detail))
}

fn count(steps: &[Step], which: impl Fn(&Step) -> bool) -> usize {
    steps.iter().filter(|s| which(s)).count()
}

/// The expression in one line, as calls on numbered values.
fn describe(steps: &[Step]) -> String {
    let lines: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(i, step)| {
            let what = match &step.what {
                What::Leaf(_) => "leaf".to_string(),
                What::Cast(x) => format!("cast(v{x})"),
                What::Apply(op, _, arguments) => {
                    let names: Vec<String> = arguments.iter().map(|a| format!("v{a}")).collect();
                    format!("{}({})", op.signature.name, names.join(", "))
                }
            };
            format!("v{i} = {what} {} {:?}", step.dtype, step.shape)
        })
        .collect();
    lines.join("; ")
}

/// An expression under way.
struct Growth<'a> {
    functions: &'a [&'static Elementwise],
    numbers: Numbers,
    shape: Shape,
    /// How often a value is one that exists already.
    reuse: f64,
    steps: Vec<Step>,
}

impl<'a> Growth<'a> {
    fn new(functions: &'a [&'static Elementwise], seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        // Of odd lines, or long enough and even for kernels that work by quads, or by pairs of these.
        let shape = match numbers.below(8) {
            0 => Shape::of(&[13 + numbers.below(3), 43 + numbers.below(8), 32]),
            1..4 => Shape::of(&[2 + numbers.below(3), 1 + numbers.below(40), 3]),
            _ => Shape::of(&[
                5 + numbers.below(3),
                9 + numbers.below(8),
                24 + 4 * numbers.below(3),
            ]),
        };
        // Few leaves reach the limit of nodes, many the limit of buffers.
        let reuse = [0.2, 0.5, 0.9][numbers.below(3)];
        let size = 2 + numbers.below(44);
        let dtype = match numbers.below(12) {
            0 | 1 => DType::F16,
            2 => DType::I32,
            3 => DType::U32,
            _ => DType::F32,
        };
        let mut growth = Growth {
            functions,
            numbers,
            shape,
            reuse,
            steps: Vec::new(),
        };
        // A lone leaf is no expression.
        while growth
            .steps
            .last()
            .is_none_or(|s| matches!(s.what, What::Leaf(_)))
        {
            growth.steps.clear();
            growth.grow(dtype, size, None);
        }
        growth
    }

    /// Adds a value of `dtype` made of about `size` functions; `domain` is what its user asks for.
    ///
    /// A function that would leave too few elements to compare, because they are outside of its domain or next to a
    /// jump, gives way to another of the same arguments: what is shaped is the expression, never the bound.
    fn grow(&mut self, dtype: DType, size: usize, domain: Option<Domain>) -> usize {
        let start = self.steps.len();
        let casts: &[DType] = match dtype {
            DType::F32 => &[DType::F16, DType::I32, DType::U32],
            DType::F16 => &[DType::F32, DType::I32],
            DType::I32 => &[DType::F32, DType::F16, DType::U32],
            DType::U32 => &[DType::F32, DType::I32],
        };
        if size > 0 && self.numbers.unit() < 0.12 {
            let from = casts[self.numbers.below(casts.len())];
            let x = self.grow(from, size - 1, None);
            let shape = self.steps[x].shape;
            // Integers do not reach every float, and u32 no negative one.
            if let Some(step) = self.admit(What::Cast(x), dtype, shape) {
                return step;
            }
            self.steps.truncate(start);
        }
        // Products of more integers leave what f64 holds.
        let size = if dtype.is_float() { size } else { size.min(6) };
        let candidates: Vec<(&'static Elementwise, Vec<DType>)> = self
            .functions
            .iter()
            .map(|op| (*op, op.elems_for(dtype)))
            .filter(|(_, elems)| !elems.is_empty())
            .collect();
        if size == 0 || candidates.is_empty() {
            return self.leaf(dtype, domain);
        }
        let (op, elems) = &candidates[self.numbers.below(candidates.len())];
        let elem = elems[self.numbers.below(elems.len())];
        // At the end of a branch some are given new leaves of their domain (log, acos, division).
        let ends = size <= 2 && self.numbers.unit() < 0.5;
        let n = op.function.inputs.len();
        let mut rest = if ends { 0 } else { size - 1 };
        let mut arguments = Vec::with_capacity(n);
        for (i, (_, kind)) in op.function.inputs.iter().enumerate() {
            let flag = *kind == Kind::Flag;
            let share = match i + 1 == n {
                true => rest,
                false => self.numbers.below(rest + 1),
            };
            let share = if flag { share.min(3) } else { share };
            rest -= share;
            let (dtype, domain) = match flag {
                true => (DType::U32, Domain::Index(2)),
                false => (elem, op.domains[i]),
            };
            arguments.push(match ends {
                true => self.fresh_leaf(dtype, Some(domain)),
                false => self.grow(dtype, share, Some(domain)),
            });
        }
        let kinds = |op: &Elementwise| op.function.inputs.iter().map(|i| i.1).collect::<Vec<_>>();
        let mut fitting: Vec<&'static Elementwise> = candidates
            .iter()
            .filter(|(other, elems)| kinds(other) == kinds(op) && elems.contains(&elem))
            .map(|(other, _)| *other)
            .collect();
        for i in (1..fitting.len()).rev() {
            fitting.swap(i, self.numbers.below(i + 1));
        }
        let shape = arguments
            .iter()
            .try_fold(Shape::SCALAR, |s, a| s.broadcast(&self.steps[*a].shape))
            .expect("leaves broadcast to one shape");
        for op in std::iter::once(*op).chain(fitting) {
            let mut attrs = Attrs::new();
            for spec in op.signature.attrs {
                attrs = attrs.with(
                    spec.name,
                    match spec.default {
                        AttrDefault::Choice(words) => {
                            Attr::Word(words[self.numbers.below(words.len())].to_string())
                        }
                        default => Attr::from(default),
                    },
                );
            }
            let what = What::Apply(op, attrs, arguments.clone());
            if let Some(step) = self.admit(what, dtype, shape) {
                return step;
            }
        }
        self.steps.truncate(start);
        self.leaf(dtype, domain)
    }

    /// Adds a value, unless it leaves too few elements to compare.
    fn admit(&mut self, what: What, dtype: DType, shape: Shape) -> Option<usize> {
        let (values, bounds) = evaluate(&self.steps, &what, dtype, shape);
        let least = arguments_of(&what)
            .iter()
            .map(|a| self.steps[*a].share())
            .fold(1.0, f64::min);
        let step = Step {
            what,
            dtype,
            shape,
            values,
            bounds,
        };
        if step.share() < least - MAX_LOSS {
            return None;
        }
        self.steps.push(step);
        Some(self.steps.len() - 1)
    }

    /// A leaf, or any earlier value of this dtype.
    fn leaf(&mut self, dtype: DType, domain: Option<Domain>) -> usize {
        let known: Vec<usize> = (0..self.steps.len())
            .filter(|&i| self.steps[i].dtype == dtype)
            .collect();
        if !known.is_empty() && self.numbers.unit() < self.reuse {
            return known[self.numbers.below(known.len())];
        }
        self.fresh_leaf(dtype, domain)
    }

    fn fresh_leaf(&mut self, dtype: DType, domain: Option<Domain>) -> usize {
        let mut dims: Vec<usize> = self.shape.to_vec();
        if self.numbers.unit() < 0.3 {
            for n in &mut dims {
                if self.numbers.unit() < 0.5 {
                    *n = 1;
                }
            }
            dims.drain(..self.numbers.below(dims.len()));
        }
        let spec = Spec {
            shape: Shape::of(&dims),
            dtype,
            domain: match (dtype, domain) {
                (DType::U32, Some(Domain::Index(2))) => Domain::Index(2),
                (DType::U32, _) => Domain::Integers(0, 3),
                (DType::I32, _) => Domain::Integers(-3, 3),
                (_, Some(domain)) => domain,
                _ => Domain::Uniform(-1.5, 1.5),
            },
            frame: (0, 0),
            stretched: false,
        };
        let array = made_up(&spec, &mut self.numbers);
        self.steps.push(Step {
            values: array.clone(),
            bounds: Array::zeros(spec.shape),
            what: What::Leaf(array),
            dtype,
            shape: spec.shape,
        });
        self.steps.len() - 1
    }
}

fn upload_leaves(device: &Device, steps: &[Step]) -> Result<Vec<Option<Tensor>>> {
    steps
        .iter()
        .enumerate()
        .map(|(i, step)| match &step.what {
            What::Leaf(array) if i % 3 == 2 => {
                super::strided::upload(device, array, step.dtype).map(Some)
            }
            What::Leaf(array) => upload(device, array, step.dtype).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn apply(steps: &[Step], mut values: Vec<Option<Tensor>>) -> Result<Tensor> {
    for (i, step) in steps.iter().enumerate() {
        let value = |k: &usize| values[*k].as_ref();
        let made = match &step.what {
            What::Leaf(_) => continue,
            What::Cast(x) => value(x).expect("arguments come first").cast(step.dtype)?,
            What::Apply(op, attrs, arguments) => {
                let inputs: Vec<Option<&Tensor>> = arguments.iter().map(value).collect();
                op.run(&inputs, attrs)?.remove(0)
            }
        };
        values[i] = Some(made);
    }
    let root = values.pop().flatten();
    Ok(root.expect("an expression has a step"))
}

fn arguments_of(what: &What) -> &[usize] {
    match what {
        What::Leaf(_) => &[],
        What::Cast(x) => std::slice::from_ref(x),
        What::Apply(_, _, arguments) => arguments,
    }
}

/// Values by the twins, and bounds of what fused kernels and those of one function may make of them; NaN where nothing
/// is promised.
fn evaluate(steps: &[Step], what: &What, dtype: DType, shape: Shape) -> (Array, Array) {
    let arguments = arguments_of(what);
    let (op, elem) = match what {
        What::Apply(op, ..) => (Some(op), elem_of(op, arguments, steps)),
        _ => (None, dtype),
    };
    let params = match what {
        What::Apply(op, attrs, _) => op.param_values(attrs),
        _ => Vec::new(),
    };
    let mut bounds = Vec::with_capacity(shape.numel());
    let values = Array::from_fn(shape, |at| {
        let x: Vec<Bounded> = arguments
            .iter()
            .map(|a| {
                let step = &steps[*a];
                (step.values.broadcast_at(at), step.bounds.broadcast_at(at))
            })
            .collect();
        let computed = match op {
            None => bound::cast(x[0], steps[arguments[0]].dtype, dtype),
            Some(op) if op.function.indexed => {
                let params = [&params[..], &[bounds.len() as f64]].concat();
                bound::value(op.function, &x, &params, elem)
            }
            Some(op) => bound::value(op.function, &x, &params, elem),
        };
        // One by one, and where the expression is cut, each value is stored.
        let (value, error) = bound::stored(dtype, computed);
        bounds.push(error);
        value
    });
    (values, Array::new(shape, bounds))
}

/// The dtype that stands for `T` in a call.
fn elem_of(op: &Elementwise, arguments: &[usize], steps: &[Step]) -> DType {
    let mut kinds = op.function.inputs.iter().zip(arguments);
    let of_elem = kinds.find(|((_, kind), _)| *kind == Kind::Elem);
    of_elem.map_or(DType::U32, |(_, a)| steps[*a].dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::elementwise;

    /// What a function says of its course is true: whatever its arguments may be, it stays within the bound.
    #[test]
    fn bounds_hold_all_over_the_box() {
        let mut numbers = Numbers::new(1);
        for op in elementwise::all() {
            let f = op.function;
            let params = op.param_values(&Attrs::new().complete(op.signature).expect("defaults"));
            let mut n_clear = 0;
            for _ in 0..20_000 {
                let boxed: Vec<Bounded> = f
                    .inputs
                    .iter()
                    .map(|(_, kind)| match kind {
                        Kind::Flag => (numbers.below(2) as f64, 0.0),
                        _ => {
                            let width = 10f64.powf(-3.0 + 4.0 * numbers.unit());
                            let x = 8.0 * numbers.unit() - 4.0;
                            let x = if numbers.below(4) == 0 { x.round() } else { x };
                            (x, if numbers.below(4) == 0 { 0.0 } else { width })
                        }
                    })
                    .collect();
                let (y, bound) = bound::value(f, &boxed, &params, DType::F32);
                if !bound.is_finite() {
                    continue;
                }
                n_clear += 1;
                for _ in 0..8 {
                    let x: Vec<f64> = boxed
                        .iter()
                        .map(|(x, e)| x + e * (2.0 * numbers.unit() - 1.0))
                        .collect();
                    let moved = ((f.twin)(&x, &params) - y).abs();
                    assert!(
                        moved <= bound * (1.0 + 1e-9),
                        "{} of {boxed:?} is {y} within {bound}, but moves by {moved} at {x:?}",
                        f.name
                    );
                }
            }
            assert!(n_clear > 1000, "{}: {n_clear} boxes", f.name);
        }
    }
}
