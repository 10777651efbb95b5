//! Small operators of an app's own, defined through the public API, and ways to break them.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

use affekt::gpu::{Kernel, Source};
use affekt::ops::launch;
use affekt::ops::op::{
    Array, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Role, Signature, any_device,
};
use affekt::tensor::Layout;
use affekt::verdict::Tolerance;
use affekt::{DType, Error, Result, Shape, Tensor, tape};

const WORKGROUP: u64 = 64;
const FLOATS: &[DType] = &[DType::F32, DType::F16];

/// What is broken outside of the WGSL text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    Nothing,
    /// The strides handed to the kernel: of axis 0 always 0.
    BatchStride,
    /// The last two strides change places.
    Transposed,
    /// Stride 0 becomes that of a dense tensor.
    Stretched,
    /// The layout is taken for dense.
    Strides,
    /// The upstream gradient is taken for dense.
    UpstreamStrides,
    /// Each second forward run adds one unit in the last place.
    OtherBits,
    /// Each second backward run does.
    OtherGradientBits,
    /// Nothing is recorded.
    NoGradient,
    /// `infer` promises another shape.
    Promise,
    /// What must be refused is not.
    Accepts,
    /// It is refused after work was recorded.
    RefusesLate,
    /// It is refused without a word about who refuses.
    RefusesAnonymously,
    /// `entries` lists a rung that no call offers.
    UnreachedRung,
    /// The kernel is dispatched without asking `choose`.
    Unchosen,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Formula {
    /// y = x², one invocation per element.
    Square,
    /// y = Σ x over the last axis, one invocation per row, in tiles of 8 columns.
    RowSum,
    /// y = a + b of three axes, both read through their strides.
    Add,
}

/// An operator, right or broken.
pub struct Specimen {
    signature: &'static Signature,
    formula: Formula,
    fault: Fault,
    /// Entry points of the forward pass, best first.
    forward: Vec<&'static str>,
    backward: &'static str,
    /// The WGSL of each entry point.
    texts: Vec<(&'static str, &'static str)>,
    n_runs: AtomicU32,
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

impl Specimen {
    /// The right one, under a name of its own.
    pub fn right(name: &str, formula: Formula) -> &'static Specimen {
        Self::build(name, formula, Fault::Nothing, &[], &[])
    }

    /// One whose text has each first string replaced by the second.
    pub fn edited(name: &str, formula: Formula, edits: &[(&str, &str)]) -> &'static Specimen {
        Self::build(name, formula, Fault::Nothing, edits, &[])
    }

    pub fn faulty(name: &str, formula: Formula, fault: Fault) -> &'static Specimen {
        Self::build(name, formula, fault, &[], &[])
    }

    /// A square whose forward pass has better rungs before the naive one, each with its edits.
    pub fn ladder(
        name: &str,
        edits: &[(&str, &str)],
        rungs: &[&[(&str, &str)]],
    ) -> &'static Specimen {
        Self::build(name, Formula::Square, Fault::Nothing, edits, rungs)
    }

    fn build(
        name: &str,
        formula: Formula,
        fault: Fault,
        edits: &[(&str, &str)],
        rungs: &[&[(&str, &str)]],
    ) -> &'static Specimen {
        let (forward, backward) = match formula {
            Formula::Square => (SQUARE, SQUARE_VJP),
            Formula::RowSum => (ROW_SUM, ""),
            Formula::Add => (ADD, ""),
        };
        // An edit changes the forward part if that has the text, else the backward part.
        let edit = |part: &str, edits: &[(&str, &str)]| {
            edits.iter().fold(part.to_string(), |text, (from, to)| {
                let here = part == forward || !forward.contains(from);
                if here { text.replace(from, to) } else { text }
            })
        };
        for (from, _) in edits {
            let part = if forward.contains(from) {
                forward
            } else {
                backward
            };
            assert_eq!(part.matches(from).count(), 1, "{name}: {from:?}");
        }
        let name = leak(name.to_string());
        let written = |part: &str, entry: &'static str, edits: &[(&str, &str)]| {
            let text = edit(part, edits).replace("ENTRY", entry);
            (entry, leak(format!("{PRELUDE}{text}")))
        };
        let mut texts: Vec<_> = rungs
            .iter()
            .enumerate()
            .map(|(i, rung)| written(forward, leak(format!("{name}_rung{i}")), rung))
            .collect();
        texts.push(written(forward, name, edits));
        let entries = texts.iter().map(|(entry, _)| *entry).collect();
        let vjp = leak(format!("{name}_vjp"));
        texts.push(written(backward, vjp, edits));
        let inputs: &'static [Input] = match formula {
            Formula::Add => &const { [Input::grad("a", FLOATS), Input::grad("b", FLOATS)] },
            _ => &const { [Input::grad("x", FLOATS)] },
        };
        let signature = Box::leak(Box::new(Signature {
            name,
            formula: "see Formula",
            source: "tests/harness",
            inputs,
            attrs: &[],
            outputs: &["y"],
        }));
        Box::leak(Box::new(Specimen {
            signature,
            formula,
            fault,
            forward: entries,
            backward: vjp,
            texts,
            n_runs: AtomicU32::new(0),
        }))
    }

    fn kernel(&self, entry: &'static str, dtype: DType, accumulate: bool) -> Kernel {
        let (_, text) = self
            .texts
            .iter()
            .find(|(name, _)| *name == entry)
            .expect("every entry point has a text");
        Kernel {
            source: Source {
                name: Cow::Owned(format!("test/{entry}")),
                text: Cow::Borrowed(text),
            },
            entry,
            constants: vec![
                ("WG", WORKGROUP as f64),
                ("ACCUMULATE", f64::from(u8::from(accumulate))),
            ],
            elem: dtype.elem(),
        }
    }

    fn refusal(&self, x: &Meta) -> Option<Error> {
        let refused = x.shape.len() == 6;
        let op = match self.fault {
            Fault::RefusesAnonymously => "something",
            _ => self.signature.name,
        };
        refused.then(|| Error::Rank {
            op,
            message: format!("{:?} has six axes", x.shape),
        })
    }

    /// 1 in every second call, if the fault asks for that.
    fn jitter(&self, fault: Fault) -> u32 {
        if self.fault == fault {
            self.n_runs.fetch_add(1, Ordering::Relaxed) % 2
        } else {
            0
        }
    }

    fn choose(&'static self, entries: &[&'static str], x: &Tensor) -> Result<usize> {
        if self.fault == Fault::Unchosen {
            return Ok(0);
        }
        let candidates: Vec<_> = entries.iter().map(|e| (*e, 0)).collect();
        launch::choose(self, x.device(), x.dtype().elem(), &candidates)
    }

    fn run_forward(&'static self, x: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
        let device = x.device();
        let stored = launch::storage(device, x)?;
        let other = b.map(|b| launch::storage(device, b)).transpose()?;
        let stored = match self.formula {
            Formula::Add => stored,
            _ => stored.contiguous()?,
        };
        let cols = x.shape().last().copied().unwrap_or(1);
        let (shape, n) = match self.formula {
            Formula::RowSum => {
                let shape = Shape::new(&x.shape()[..x.shape().len() - 1])?;
                (shape, shape.numel())
            }
            _ => (*x.shape(), x.numel()),
        };
        let y = Tensor::empty(device, stored.dtype(), shape)?;
        let chosen = self.forward[self.choose(&self.forward, &stored)?];
        let mut params = Params {
            n: n as u32,
            cols: cols as u32,
            x_offset: stored.layout().offset as u32,
            y_offset: y.layout().offset as u32,
            half: u32::from(x.dtype() == DType::F16),
            jitter: self.jitter(Fault::OtherBits),
            ..Params::default()
        };
        let mut inputs = vec![&stored];
        if let Some(other) = &other {
            params.b_offset = other.layout().offset as u32;
            params.lengths = three(x.shape(), 1);
            params.x_strides = self.strides(stored.layout());
            params.b_strides = self.strides(other.layout());
            inputs.push(other);
        }
        let kernel = self.kernel(chosen, stored.dtype(), false);
        let groups = (n as u64).div_ceil(WORKGROUP);
        launch::dispatch(device, &kernel, &inputs, &[&y], &params, groups)?;
        y.cast(x.dtype())
    }

    fn strides(&self, layout: &Layout) -> [u32; 4] {
        let dense = Layout::contiguous(layout.shape, 0);
        let mut strides = three(layout.strides(), 0);
        let plain = three(dense.strides(), 0);
        match self.fault {
            Fault::BatchStride => strides[0] = 0,
            Fault::Transposed => strides.swap(1, 2),
            Fault::Strides => strides = plain,
            Fault::Stretched => {
                for (stride, plain) in strides.iter_mut().zip(plain) {
                    *stride = if *stride == 0 { plain } else { *stride };
                }
            }
            _ => {}
        }
        strides
    }

    /// dx = 2 · x · dy, added to what is there if a kernel made that.
    fn square_vjp(&'static self, x: &Tensor, dy: &Tensor, sink: &mut tape::Sink) -> Result<()> {
        let device = x.device();
        let stored = launch::storage(device, x)?.contiguous()?;
        let mut upstream = launch::storage(device, dy)?;
        if self.fault != Fault::UpstreamStrides {
            upstream = upstream.contiguous()?;
        }
        let slot = sink
            .accumulator(0)
            .filter(|slot| slot.dtype() == stored.dtype() && slot.layout().is_contiguous());
        let dx = match &slot {
            Some(slot) => slot.clone(),
            None => Tensor::empty(device, stored.dtype(), *x.shape())?,
        };
        self.choose(&[self.backward], &stored)?;
        let params = Params {
            n: x.numel() as u32,
            x_offset: stored.layout().offset as u32,
            b_offset: upstream.layout().offset as u32,
            y_offset: dx.layout().offset as u32,
            jitter: self.jitter(Fault::OtherGradientBits),
            ..Params::default()
        };
        let kernel = self.kernel(self.backward, stored.dtype(), slot.is_some());
        let groups = (x.numel() as u64).div_ceil(WORKGROUP);
        launch::dispatch(
            device,
            &kernel,
            &[&stored, &upstream],
            &[&dx],
            &params,
            groups,
        )?;
        match slot {
            Some(_) => Ok(()),
            None => sink.give(0, dx.cast(x.dtype())?),
        }
    }
}

fn three(numbers: &[usize], fill: u32) -> [u32; 4] {
    let mut out = [fill; 4];
    for (i, n) in numbers.iter().enumerate() {
        out[3 - numbers.len() + i] = *n as u32;
    }
    out
}

#[derive(Default, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    lengths: [u32; 4],
    x_strides: [u32; 4],
    b_strides: [u32; 4],
    n: u32,
    cols: u32,
    x_offset: u32,
    b_offset: u32,
    y_offset: u32,
    half: u32,
    jitter: u32,
    padding: u32,
}

impl Op for Specimen {
    fn signature(&self) -> &'static Signature {
        self.signature
    }

    fn infer(&self, inputs: &[Option<Meta>], _: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("the signature asks for it");
        let accepts = matches!(self.fault, Fault::Accepts | Fault::RefusesLate);
        if let (Some(error), false) = (self.refusal(&x), accepts) {
            return Err(error);
        }
        let shape = match (self.formula, self.fault) {
            (_, Fault::Promise) => Shape::new(&[x.shape.numel()])?,
            (Formula::RowSum, _) => Shape::new(&x.shape[..x.shape.len() - 1])?,
            _ => x.shape,
        };
        Ok(vec![Meta {
            shape,
            dtype: x.dtype,
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], _: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("the signature asks for it");
        let y = self.run_forward(x, inputs.get(1).copied().flatten())?;
        if self.fault == Fault::RefusesLate {
            if let Some(error) = self.refusal(&Meta::of(x)) {
                return Err(error);
            }
        }
        if self.fault == Fault::NoGradient {
            return Ok(vec![y]);
        }
        let tensors: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        let value = x.detach();
        Ok(vec![tape::record(
            self.signature.name,
            &tensors,
            y,
            move |dy, sink| match self.formula {
                Formula::Square => self.square_vjp(&value, dy, sink),
                Formula::RowSum => {
                    let mut kept = dy.shape().to_vec();
                    kept.push(1);
                    sink.add(0, dy.reshape(kept)?.expand(value.shape())?)
                }
                Formula::Add => {
                    sink.add(0, dy.clone())?;
                    sink.add(1, dy.clone())
                }
            },
        )])
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |name, role| Entry {
            role,
            rung: "any",
            variant: 0,
            needs: any_device,
            kernel: self.kernel(name, DType::F32, false),
        };
        let mut out: Vec<Entry> = self
            .forward
            .iter()
            .map(|name| entry(*name, Role::Forward))
            .collect();
        if self.formula == Formula::Square {
            out.push(entry(self.backward, Role::Vjp));
        }
        if self.fault == Fault::UnreachedRung {
            let mut rung = entry(self.forward[0], Role::Forward);
            rung.variant = 1;
            out.push(rung);
        }
        out
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-2.0, 2.0);
        let shapes: &[(&str, &[usize])] = match self.formula {
            Formula::Square => &[("verify", &[3, 67]), ("one", &[1]), ("tile", &[64])],
            Formula::RowSum => &[("verify", &[67, 261]), ("one", &[1, 1]), ("tile", &[3, 64])],
            Formula::Add => &[
                ("verify", &[3, 5, 13]),
                ("one", &[1, 1, 1]),
                ("flat", &[2, 1, 9]),
            ],
        };
        shapes
            .iter()
            .map(|(label, shape)| {
                let case = Case::new(*label).f32(shape, domain);
                match self.formula {
                    Formula::Add => case.f32(shape, domain),
                    _ => case,
                }
            })
            .collect()
    }

    fn twin(&self, inputs: &[Option<&Array>], _: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("the signature asks for it");
        vec![match self.formula {
            Formula::Square => Array::new(x.shape, x.data.iter().map(|v| v * v).collect()),
            Formula::Add => {
                let b = inputs[1].expect("the signature asks for it");
                let sums = x.data.iter().zip(&b.data).map(|(a, b)| a + b);
                Array::new(x.shape, sums.collect())
            }
            Formula::RowSum => {
                let cols = x.shape[x.shape.len() - 1];
                let shape = Shape::new(&x.shape[..x.shape.len() - 1]).expect("fewer axes");
                Array::new(
                    shape,
                    x.data.chunks(cols).map(|row| row.iter().sum()).collect(),
                )
            }
        }]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], _: &Attrs) -> Tolerance {
        let x = inputs[0].expect("the signature asks for it");
        match self.formula {
            Formula::RowSum => Tolerance::sum(x.shape[x.shape.len() - 1], x.max_abs()),
            _ => Tolerance::ulps(2.0, x.max_abs()),
        }
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::streaming(inputs, outputs, 0)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let shape: &[usize] = &[1, 1, 1, 1, 1, 2];
        let mut case = Case::new("refused").f32(shape, Domain::Constant(1.0));
        if self.formula == Formula::Add {
            case = case.f32(shape, Domain::Constant(1.0));
        }
        vec![("six axes", case)]
    }
}

const PRELUDE: &str = "
#import shared/index

override WG: u32 = 64u;
override ACCUMULATE: bool = false;

struct Params {
    lengths: vec4<u32>,
    x_strides: vec4<u32>,
    b_strides: vec4<u32>,
    n: u32,
    cols: u32,
    x_offset: u32,
    b_offset: u32,
    y_offset: u32,
    half: u32,
    jitter: u32,
    padding: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
";

const SQUARE: &str = "
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(WG)
fn ENTRY(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let v = Acc(x[params.x_offset + i]);
    let bits = bitcast<u32>(v * v) + params.jitter;
    y[params.y_offset + i] = Elem(bitcast<f32>(bits));
}
";

const SQUARE_VJP: &str = "
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> dy: array<Elem>;
@group(0) @binding(2) var<storage, read_write> dx: array<Elem>;

@compute @workgroup_size(WG)
fn ENTRY(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let slope = 2.0f * Acc(x[params.x_offset + i]);
    let product = slope * Acc(dy[params.b_offset + i]);
    var total = bitcast<f32>(bitcast<u32>(product) + params.jitter);
    if ACCUMULATE {
        total += Acc(dx[params.y_offset + i]);
    }
    dx[params.y_offset + i] = Elem(total);
}
";

const ROW_SUM: &str = "
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(WG)
fn ENTRY(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_invocation(workgroup, workgroups, local, WG);
    if row >= params.n {
        return;
    }
    let start = params.x_offset + row * params.cols;
    let whole = params.cols / 8u * 8u;
    var total = 0.0f;
    for (var tile = 0u; tile < whole; tile += 8u) {
        var partial = 0.0f;
        for (var c = tile; c < tile + 8u; c++) {
            partial += Acc(x[start + c]);
        }
        total = total + partial;
    }
    for (var c = whole; c < params.cols; c++) {
        total += Acc(x[start + c]);
    }
    y[params.y_offset + row] = Elem(total);
}
";

const ADD: &str = "
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> b: array<Elem>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(WG)
fn ENTRY(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.n {
        return;
    }
    let rows = i / params.lengths.z;
    let at = vec3(rows / params.lengths.y, rows % params.lengths.y, i % params.lengths.z);
    let x_steps = at * params.x_strides.xyz;
    let b_steps = at * params.b_strides.xyz;
    let left = Acc(x[params.x_offset + x_steps.x + x_steps.y + x_steps.z]);
    let right = Acc(b[params.b_offset + b_steps.x + b_steps.y + b_steps.z]);
    y[params.y_offset + i] = Elem(left + right);
}
";
