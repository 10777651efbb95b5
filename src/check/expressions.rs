//! Random chains of elementwise operators: fused, one by one, and in f64.

use crate::error::Result;
use crate::fuse::{MAX_BINDINGS, MAX_NODES};
use crate::gpu::{Device, Mode};
use crate::ops::elementwise::Elementwise;
use crate::ops::op::{Array, Attr, AttrDefault, Attrs, Domain, Op, Spec};
use crate::ops::probe::{Numbers, download, made_up, upload};
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
    /// Whether one kernel can hold it all on this device.
    pub fits: bool,
    pub dispatches_fused: u64,
    pub dispatches_one_by_one: u64,
    /// Share of the elements whose value is defined: not outside of a function's domain, no overflow.
    pub share_compared: f64,
}

/// One value of an expression; arguments are earlier ones.
struct Step {
    what: What,
    dtype: DType,
    shape: Shape,
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
    let (expected, bound) = twin(&steps);
    let root = steps.last().expect("an expression has a step");
    let n_leaves = count(&steps, |s| matches!(s.what, What::Leaf(_)));
    let n_nodes = steps.len() - n_leaves;
    let bindings = MAX_BINDINGS.min(device.caps().max_storage_buffers as usize);
    let even = count(&steps, |s| {
        !matches!(s.what, What::Leaf(_)) && s.shape == root.shape
    });
    let wrong_kernels = || {
        let all = Verdicts::of(device).all();
        all.into_iter().filter_map(|(key, verdict)| match verdict {
            Verdict::Wrong(detail) if key.starts_with("fused/") => Some((key, detail)),
            _ => None,
        })
    };
    let wrong_before: Vec<_> = wrong_kernels().collect();
    let mut report = Report {
        wrong: None,
        n_nodes,
        n_leaves,
        fits: n_nodes <= MAX_NODES && n_leaves < bindings && even == n_nodes,
        dispatches_fused: 0,
        dispatches_one_by_one: 0,
        share_compared: 0.0,
    };
    let clear = |i: usize| expected.data[i].is_finite() && bound.data[i].is_finite();
    let n_clear = (0..expected.data.len()).filter(|&i| clear(i)).count();
    report.share_compared = n_clear as f64 / expected.data.len() as f64;
    // The first run verifies the kernels, which is a test of verification: it must find nothing wrong.
    for (how, fuse, verify) in [
        ("fused and verified", true, true),
        ("fused", true, false),
        ("one by one", false, false),
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
        let mut got = download(&apply(&steps, leaves)?)?;
        let dispatched = device.stream_stats().n_dispatches - before;
        match (fuse, verify) {
            (true, false) => report.dispatches_fused = dispatched,
            (false, _) => report.dispatches_one_by_one = dispatched,
            (true, true) => {}
        }
        let mut wanted = expected.data.clone();
        for (i, (got, wanted)) in got.data.iter_mut().zip(&mut wanted).enumerate() {
            if !clear(i) {
                (*got, *wanted) = (0.0, 0.0);
            }
        }
        let compared = crate::verdict::compare(&got.data, &wanted, |i| {
            if clear(i) { bound.data[i] } else { 0.0 }
        });
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
    if let Some((_, detail)) = wrong_kernels().find(|w| !wrong_before.contains(w)) {
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
        // Of odd lines, or long enough and even for kernels that work by quads.
        let shape = match numbers.below(2) {
            0 => Shape::of(&[2 + numbers.below(3), 1 + numbers.below(40), 3]),
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
        growth.grow(dtype, size, None);
        growth
    }

    /// Adds a value of `dtype` made of about `size` functions; `domain` is what its user asks for.
    fn grow(&mut self, dtype: DType, size: usize, domain: Option<Domain>) -> usize {
        // Products of more integers leave what f64 and i32 agree on.
        let size = if dtype.is_float() { size } else { size.min(6) };
        if size == 0 {
            return self.leaf(dtype, domain);
        }
        let casts: &[DType] = match dtype {
            DType::F32 => &[DType::F16, DType::I32, DType::U32],
            DType::F16 => &[DType::F32, DType::I32],
            DType::I32 | DType::U32 => &[],
        };
        if !casts.is_empty() && self.numbers.unit() < 0.12 {
            let from = casts[self.numbers.below(casts.len())];
            let x = self.grow(from, size - 1, None);
            let shape = self.steps[x].shape;
            return self.push(What::Cast(x), dtype, shape);
        }
        let candidates: Vec<(&'static Elementwise, DType)> = self
            .functions
            .iter()
            .filter_map(|op| {
                let elem = op.elem_for(dtype)?;
                Some((*op, elem))
            })
            .collect();
        if candidates.is_empty() {
            return self.leaf(dtype, domain);
        }
        // Functions with a restricted domain (log, acos, division) take leaves, which keep to it; made of other
        // functions most of their elements would be undefined, and nothing could be compared. Few of them are enough.
        let wanted = self.numbers.unit() < 0.85;
        let fitting: Vec<_> = candidates
            .iter()
            .filter(|(op, _)| is_total(op) == wanted)
            .copied()
            .collect();
        let candidates = if fitting.is_empty() {
            candidates
        } else {
            fitting
        };
        let (op, elem) = candidates[self.numbers.below(candidates.len())];
        let total = is_total(op);
        let n = op.signature.inputs.len();
        let mut rest = size - 1;
        let mut arguments = Vec::with_capacity(n);
        for i in 0..n {
            let flag = op.function.inputs[i].1 == crate::fuse::Kind::Flag;
            let share = match i + 1 == n {
                true => rest,
                false => self.numbers.below(rest + 1),
            };
            let share = if flag { share.min(3) } else { share };
            rest -= share;
            let share = if total { share } else { 0 };
            let (dtype, domain) = match flag {
                true => (DType::U32, Domain::Index(2)),
                false => (elem, op.domains[i]),
            };
            arguments.push(match total || flag {
                true => self.grow(dtype, share, Some(domain)),
                false => self.fresh_leaf(dtype, Some(domain)),
            });
        }
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
        let shape = arguments
            .iter()
            .try_fold(Shape::SCALAR, |s, a| s.broadcast(&self.steps[*a].shape))
            .expect("leaves broadcast to one shape");
        self.push(What::Apply(op, attrs, arguments), dtype, shape)
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
        self.push(What::Leaf(array), dtype, spec.shape)
    }

    fn push(&mut self, what: What, dtype: DType, shape: Shape) -> usize {
        self.steps.push(Step { what, dtype, shape });
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

/// Values and first-order error bounds; NaN where nothing is promised.
fn twin(steps: &[Step]) -> (Array, Array) {
    let mut known: Vec<(Array, Array)> = Vec::with_capacity(steps.len());
    for step in steps {
        let (op, attrs, arguments) = match &step.what {
            What::Leaf(array) => {
                known.push((array.clone(), Array::zeros(array.shape)));
                continue;
            }
            What::Cast(x) => (None, &Attrs::new(), vec![*x]),
            What::Apply(op, attrs, arguments) => (Some(op), attrs, arguments.clone()),
        };
        let params = op.map_or(Vec::new(), |op| op.param_values(attrs));
        let mut bounds = Vec::with_capacity(step.shape.numel());
        let values = Array::from_fn(step.shape, |at| {
            let x: Vec<(f64, f64)> = arguments
                .iter()
                .map(|a| (known[*a].0.broadcast_at(at), known[*a].1.broadcast_at(at)))
                .collect();
            let (mut value, mut error) = match op {
                None => x[0],
                Some(op) => {
                    let mut params = params.clone();
                    if op.function.indexed {
                        params.push(bounds.len() as f64);
                    }
                    crate::fuse::value_and_error(op.function, &x, &params, step.dtype)
                }
            };
            // A function of something undefined is undefined, even if its twin gets over that.
            let fits = match step.dtype {
                DType::F32 => value.abs() < 1e37,
                DType::F16 => value.abs() < 6e4,
                DType::I32 => value.abs() < 2f64.powi(31),
                DType::U32 => (0.0..2f64.powi(32)).contains(&value),
            };
            if !fits || x.iter().any(|(v, _)| v.is_nan()) {
                (value, error) = (f64::NAN, f64::NAN);
            }
            if step.dtype == DType::F16 {
                // One by one, and where the expression is cut, each value is stored: rounded to nearest or towards
                // zero, to fewer bits below 6.1e-5.
                error += 2.0 * DType::F16.unit_roundoff() * (value.abs() + error) + 6e-8;
            }
            bounds.push(error);
            value
        });
        known.push((values, Array::new(step.shape, bounds)));
    }
    let (values, mut bounds) = known.pop().expect("an expression has a step");
    let exact = steps.last().is_some_and(|s| !s.dtype.is_float());
    for bound in &mut bounds.data {
        // 2: the analysis is of first order.
        *bound = 2.0 * *bound + if exact { 0.0 } else { 1e-37 };
    }
    (values, bounds)
}

/// Whether a function is finite wherever the others of an expression may take it.
fn is_total(op: &Elementwise) -> bool {
    const PLACES: [f64; 8] = [-50.0, -3.7, -1.0, 0.0, 0.5, 1.0, 2.5, 50.0];
    let attrs = Attrs::new()
        .complete(op.signature)
        .expect("defaults complete");
    let params = op.param_values(&attrs);
    let n = op.function.inputs.len();
    (0..PLACES.len().pow(n as u32)).all(|mut combination| {
        let x: Vec<f64> = op
            .function
            .inputs
            .iter()
            .map(|(_, kind)| {
                let place = PLACES[combination % PLACES.len()];
                combination /= PLACES.len();
                match kind {
                    crate::fuse::Kind::Flag => f64::from(place > 0.0),
                    _ => place,
                }
            })
            .collect();
        (op.function.twin)(&x, &params).abs() < 1e6
    })
}
