//! What an operator says about itself, so that tests, gradient checks, the command line and benches need no more.

use std::fmt;

use crate::error::{Error, Result};
use crate::fuse::Function;
use crate::gpu::{Caps, Kernel};
use crate::ops::elementwise::Elementwise;
use crate::tensor::{DType, Layout, Shape, Tensor};
use crate::verdict::Tolerance;

/// One operator. Object safe: the registry is a list of `&'static dyn Op`.
pub trait Op: Sync {
    fn signature(&self) -> &'static Signature;

    /// Shapes and dtypes of the outputs; every refusal, before any GPU work.
    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>>;

    /// Runs the operator; the method on `Tensor` calls the same code.
    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>>;

    /// The kernels it may dispatch; empty for a composite or a view, whose kernels are those of its parts.
    fn entries(&self) -> Vec<Entry> {
        Vec::new()
    }

    /// One of the kernels, by entry point and variant; more variants may exist than `entries` lists.
    fn entry(&self, name: &str, variant: u32) -> Option<Entry> {
        self.entries()
            .into_iter()
            .find(|e| e.name() == name && e.variant == variant)
    }

    /// The scalar function of an elementwise operator, whose kernels are generated when they are needed.
    fn function(&self) -> Option<&'static Function> {
        None
    }

    /// Which rung with which constants the plan table picks for these shapes, in one line. `None` where there is
    /// nothing to choose.
    fn plan(&self, _inputs: &[Option<Meta>], _attrs: &Attrs, _caps: &Caps) -> Option<String> {
        None
    }

    /// What conformance and benches run it on.
    fn cases(&self) -> Vec<Case>;

    /// What an entry point is tried on before its first use: two workgroups and a ragged rest per axis, at most 10⁶
    /// operations of the twin.
    fn verify_case(&self, _entry: &Entry) -> Case {
        self.cases().remove(0)
    }

    /// Whether a call of this case can come to use the entry point; conformance leaves other pairs out.
    fn tries(&self, _entry: &Entry, _case: &Case) -> bool {
        true
    }

    /// The definition, in f64, from the formula.
    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array>;

    /// How far from the twin an `f32` result may be.
    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance;

    /// Work that no implementation can avoid; `outputs` are those of [`infer`](Self::infer).
    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost;

    /// Work that no backward pass can avoid. By itself, the upstream gradients read and the gradients written once each:
    /// what a gradient reads beside that, and what it computes, only the operator knows.
    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs)
    }

    /// The scalar function behind an elementwise operator, which is what gets fused.
    fn elementwise(&'static self) -> Option<&'static Elementwise> {
        None
    }

    /// Calls that must be refused, each with a word on why.
    fn refusals(&self) -> Vec<(&'static str, Case)> {
        Vec::new()
    }
}

/// Names, types and defaults, as `affekt ops NAME` prints them.
#[derive(Debug)]
pub struct Signature {
    pub name: &'static str,
    /// `y = …`, in one line.
    pub formula: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    pub inputs: &'static [Input],
    pub attrs: &'static [AttrSpec],
    pub outputs: &'static [&'static str],
}

impl Signature {
    /// One output `y`, no attributes.
    pub const fn simple(
        name: &'static str,
        formula: &'static str,
        source: &'static str,
        inputs: &'static [Input],
    ) -> Self {
        Signature {
            name,
            formula,
            source,
            inputs,
            attrs: &[],
            outputs: &["y"],
        }
    }

    /// With these attributes.
    pub const fn attrs(mut self, attrs: &'static [AttrSpec]) -> Self {
        self.attrs = attrs;
        self
    }
}

/// One input of an operator.
#[derive(Debug)]
pub struct Input {
    pub name: &'static str,
    pub dtypes: &'static [DType],
    pub optional: bool,
    pub differentiable: bool,
}

pub const FLOATS: &[DType] = &[DType::F32, DType::F16];
pub const ANY: &[DType] = &DType::ALL;
pub const INDEX: &[DType] = &[DType::I32, DType::U32];
pub const FLAG: &[DType] = &[DType::U32];
pub const SIGNED: &[DType] = &[DType::F32, DType::F16, DType::I32];

/// The inputs of most elementwise operators.
pub const X: &[Input] = &[Input::grad("x", FLOATS)];
pub const X_SIGNED: &[Input] = &[Input::grad("x", SIGNED)];
pub const X_ANY: &[Input] = &[Input::grad("x", ANY)];
pub const AB: &[Input] = &[Input::grad("a", FLOATS), Input::grad("b", FLOATS)];
pub const AB_ANY: &[Input] = &[Input::grad("a", ANY), Input::grad("b", ANY)];
/// Of comparisons, which have no gradient.
pub const AB_COMPARED: &[Input] = &[Input::plain("a", ANY), Input::plain("b", ANY)];
pub const AB_FLAGS: &[Input] = &[Input::plain("a", FLAG), Input::plain("b", FLAG)];

impl Input {
    /// An input that a gradient flows to.
    pub const fn grad(name: &'static str, dtypes: &'static [DType]) -> Self {
        Input {
            name,
            dtypes,
            optional: false,
            differentiable: true,
        }
    }

    /// An input without a gradient.
    pub const fn plain(name: &'static str, dtypes: &'static [DType]) -> Self {
        Input {
            name,
            dtypes,
            optional: false,
            differentiable: false,
        }
    }

    pub const fn optional(self) -> Self {
        Input {
            optional: true,
            ..self
        }
    }
}

/// An attribute: name and default, which also gives its kind.
#[derive(Debug, Clone, Copy)]
pub struct AttrSpec {
    pub name: &'static str,
    pub default: AttrDefault,
}

/// Default of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum AttrDefault {
    Bool(bool),
    Int(i64),
    Float(f64),
    Ints(&'static [i64]),
    /// One of these words; the first is the default.
    Choice(&'static [&'static str]),
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    Bool(bool),
    Int(i64),
    Float(f64),
    Ints(Vec<i64>),
    Word(String),
}

impl From<AttrDefault> for Attr {
    fn from(default: AttrDefault) -> Self {
        match default {
            AttrDefault::Bool(v) => Attr::Bool(v),
            AttrDefault::Int(v) => Attr::Int(v),
            AttrDefault::Float(v) => Attr::Float(v),
            AttrDefault::Ints(v) => Attr::Ints(v.to_vec()),
            AttrDefault::Choice(v) => Attr::Word(v[0].to_string()),
        }
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Bool(v) => write!(f, "{v}"),
            Attr::Int(v) => write!(f, "{v}"),
            Attr::Float(v) => write!(f, "{v}"),
            Attr::Ints(v) => {
                let words: Vec<String> = v.iter().map(i64::to_string).collect();
                write!(f, "[{}]", words.join(","))
            }
            Attr::Word(v) => f.write_str(v),
        }
    }
}

impl From<bool> for Attr {
    fn from(v: bool) -> Self {
        Attr::Bool(v)
    }
}

impl From<i64> for Attr {
    fn from(v: i64) -> Self {
        Attr::Int(v)
    }
}

impl From<f64> for Attr {
    fn from(v: f64) -> Self {
        Attr::Float(v)
    }
}

impl From<&[i64]> for Attr {
    fn from(v: &[i64]) -> Self {
        Attr::Ints(v.to_vec())
    }
}

impl From<&str> for Attr {
    fn from(v: &str) -> Self {
        Attr::Word(v.to_string())
    }
}

/// The attributes of one call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attrs(Vec<(String, Attr)>);

impl Attrs {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &str, value: impl Into<Attr>) -> Self {
        self.0.push((name.to_string(), value.into()));
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// All attributes of the signature in its order, given or by default.
    ///
    /// Errors: [`Error::Attribute`] for an unknown name or another kind.
    pub fn complete(&self, signature: &'static Signature) -> Result<Attrs> {
        for (name, _) in &self.0 {
            if !signature.attrs.iter().any(|a| a.name == name) {
                let known: Vec<&str> = signature.attrs.iter().map(|a| a.name).collect();
                return Err(Error::attribute(
                    signature.name,
                    format!("no attribute {name}; there is {}", list(&known)),
                ));
            }
        }
        let mut out = Attrs::new();
        for spec in signature.attrs {
            let default = Attr::from(spec.default);
            let given = self.0.iter().rev().find(|(n, _)| n == spec.name);
            let value = match (given.map(|(_, v)| v), &default) {
                (None, _) => default,
                (Some(Attr::Int(v)), Attr::Float(_)) => Attr::Float(*v as f64),
                (Some(Attr::Int(v)), Attr::Ints(_)) => Attr::Ints(vec![*v]),
                (Some(v), d) if std::mem::discriminant(v) == std::mem::discriminant(d) => v.clone(),
                (Some(v), d) => {
                    return Err(Error::attribute(
                        signature.name,
                        format!("{} is {v}, expected the kind of {d}", spec.name),
                    ));
                }
            };
            if let (AttrDefault::Choice(choices), Attr::Word(word)) = (spec.default, &value) {
                if !choices.contains(&word.as_str()) {
                    return Err(Error::attribute(
                        signature.name,
                        format!(
                            "{} is {word}, expected one of {}",
                            spec.name,
                            choices.join(", ")
                        ),
                    ));
                }
            }
            out.0.push((spec.name.to_string(), value));
        }
        Ok(out)
    }

    /// Attributes from `name=value` words, read by the kinds of the signature.
    pub fn parse(signature: &'static Signature, words: &[String]) -> Result<Attrs> {
        let mut out = Attrs::new();
        for word in words {
            let wrong = |what: &str| Error::attribute(signature.name, format!("{word}: {what}"));
            let (name, text) = word
                .split_once('=')
                .ok_or_else(|| wrong("expected name=value"))?;
            let kind = signature
                .attrs
                .iter()
                .find(|a| a.name == name)
                .map(|a| a.default);
            let value = match kind {
                // `complete` names the unknown one.
                None => Attr::Word(text.to_string()),
                Some(AttrDefault::Bool(_)) => {
                    Attr::Bool(text.parse().map_err(|_| wrong("expected true or false"))?)
                }
                Some(AttrDefault::Int(_)) => {
                    Attr::Int(text.parse().map_err(|_| wrong("expected a whole number"))?)
                }
                Some(AttrDefault::Float(_)) => {
                    Attr::Float(text.parse().map_err(|_| wrong("expected a number"))?)
                }
                Some(AttrDefault::Choice(_)) => Attr::Word(text.to_string()),
                Some(AttrDefault::Ints(_)) => Attr::Ints(
                    text.trim_matches(['[', ']'])
                        .split(',')
                        .filter(|w| !w.trim().is_empty())
                        .map(|w| w.trim().parse())
                        .collect::<std::result::Result<_, _>>()
                        .map_err(|_| wrong("expected whole numbers between commas"))?,
                ),
            };
            out.0.push((name.to_string(), value));
        }
        out.complete(signature)
    }

    fn get(&self, name: &str) -> &Attr {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v)
            .unwrap_or_else(|| panic!("the signature has no attribute {name}"))
    }

    pub fn bool(&self, name: &str) -> bool {
        matches!(self.get(name), Attr::Bool(true))
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Attr::Int(v) => *v,
            other => panic!("attribute {name} is {other}"),
        }
    }

    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Attr::Float(v) => *v,
            other => panic!("attribute {name} is {other}"),
        }
    }

    pub fn ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Attr::Ints(v) => v,
            other => panic!("attribute {name} is {other}"),
        }
    }

    pub fn word(&self, name: &str) -> &str {
        match self.get(name) {
            Attr::Word(v) => v,
            other => panic!("attribute {name} is {other}"),
        }
    }
}

fn list(words: &[&str]) -> String {
    if words.is_empty() {
        "none".to_string()
    } else {
        words.join(", ")
    }
}

/// Shape and dtype of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub shape: Shape,
    pub dtype: DType,
}

impl Meta {
    pub fn of(tensor: &Tensor) -> Self {
        Meta {
            shape: *tensor.shape(),
            dtype: tensor.dtype(),
        }
    }

    pub fn bytes(&self) -> u64 {
        (self.shape.numel() * self.dtype.size()) as u64
    }
}

/// Checks presence and dtypes of the inputs against the signature.
pub(crate) fn check_inputs(signature: &'static Signature, inputs: &[Option<Meta>]) -> Result<()> {
    let op = signature.name;
    if inputs.len() != signature.inputs.len() {
        return Err(Error::shape(
            op,
            format!(
                "{} inputs given, expected {}",
                inputs.len(),
                signature.inputs.len()
            ),
        ));
    }
    for (given, input) in inputs.iter().zip(signature.inputs) {
        match given {
            None if !input.optional => {
                return Err(Error::shape(op, format!("input {} is missing", input.name)));
            }
            Some(meta) if !input.dtypes.contains(&meta.dtype) => {
                let known: Vec<&str> = input.dtypes.iter().map(|d| d.name()).collect();
                return Err(Error::dtype(
                    op,
                    format!(
                        "{} is {}, expected {}",
                        input.name,
                        meta.dtype,
                        known.join(" or ")
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses two inputs of different dtype.
pub(crate) fn same_dtype(op: &'static str, a: (&str, DType), b: (&str, DType)) -> Result<()> {
    if a.1 == b.1 {
        return Ok(());
    }
    Err(Error::dtype(
        op,
        format!(
            "{} is {}, {} is {}; convert one with cast",
            a.0, a.1, b.0, b.1
        ),
    ))
}

/// Refuses tensors of different devices.
pub(crate) fn same_device(op: &'static str, tensors: &[&Tensor]) -> Result<()> {
    match tensors
        .windows(2)
        .all(|w| w[0].device().same(w[1].device()))
    {
        true => Ok(()),
        false => Err(Error::OtherDevice { op }),
    }
}

/// Whether an entry point computes values or gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Forward,
    Vjp,
}

/// A kernel an operator may dispatch.
#[derive(Debug, Clone)]
pub struct Entry {
    pub role: Role,
    /// `naive`, `tiled`, `subgroup`, …
    pub rung: &'static str,
    /// Tells apart kernels of one entry point made with other constants or by a generator.
    pub variant: u32,
    pub needs: fn(&Caps) -> bool,
    pub kernel: Kernel,
}

impl Entry {
    pub fn name(&self) -> &'static str {
        self.kernel.entry
    }
}

/// Any device will do.
pub fn any_device(_: &Caps) -> bool {
    true
}

/// Numbers on the host, in f64 whatever the dtype: what twins compute with.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Shape,
    pub data: Vec<f64>,
}

impl Array {
    pub fn new(shape: Shape, data: Vec<f64>) -> Self {
        assert_eq!(shape.numel(), data.len(), "{shape:?}");
        Array { shape, data }
    }

    /// Element by element from its coordinates.
    pub fn from_fn(shape: Shape, mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let mut data = Vec::with_capacity(shape.numel());
        let mut at = vec![0; shape.len()];
        for _ in 0..shape.numel() {
            data.push(f(&at));
            for axis in (0..shape.len()).rev() {
                at[axis] += 1;
                if at[axis] < shape[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
        Array { shape, data }
    }

    pub fn zeros(shape: Shape) -> Self {
        Array {
            data: vec![0.0; shape.numel()],
            shape,
        }
    }

    fn place(&self, at: &[usize]) -> usize {
        at.iter()
            .zip(self.shape.iter())
            .fold(0, |place, (i, n)| place * n + i)
    }

    pub fn at(&self, at: &[usize]) -> f64 {
        self.data[self.place(at)]
    }

    pub fn at_mut(&mut self, at: &[usize]) -> &mut f64 {
        let place = self.place(at);
        &mut self.data[place]
    }

    /// The element that broadcasting puts at `at`, coordinates of a shape this one broadcasts to.
    pub fn broadcast_at(&self, at: &[usize]) -> f64 {
        let skip = at.len() - self.shape.len();
        let place = at[skip..]
            .iter()
            .zip(self.shape.iter())
            .fold(0, |place, (i, n)| place * n + if *n == 1 { 0 } else { *i });
        self.data[place]
    }

    /// Largest magnitude; 0 if there is none.
    pub fn max_abs(&self) -> f64 {
        self.data.iter().fold(0.0, |m, x| m.max(x.abs()))
    }
}

/// What numbers a case is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Domain {
    /// Uniform between the two.
    Uniform(f64, f64),
    /// Whole numbers from 0 to below.
    Index(usize),
    /// Integers between the two, ends included.
    Integers(i64, i64),
    /// One number everywhere.
    Constant(f64),
    /// Uniform in [−1, 1], moved by the first number and stretched by the second: rows far from zero.
    Offset(f64, f64),
    /// Pairwise different numbers in [−2, 2], so that no maximum is tied.
    Distinct,
}

/// One input of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub shape: Shape,
    pub dtype: DType,
    pub domain: Domain,
    /// Unused elements before and after each line of the last axis: a view with gaps.
    pub frame: (usize, usize),
    /// Whether one element is repeated along the last axis by stride 0.
    pub stretched: bool,
}

impl Spec {
    /// Where the elements lie, in a buffer of their own.
    pub fn layout(&self) -> Layout {
        let Some(&last) = self.shape.last() else {
            return Layout::contiguous(self.shape, 0);
        };
        let axis = self.shape.len() - 1;
        if self.stretched {
            return Layout::contiguous(self.shape.with(axis, 1), 0).broadcast_to(self.shape);
        }
        let wide = self.shape.with(axis, self.frame.0 + last + self.frame.1);
        Layout::contiguous(wide, 0).slice(axis, self.frame.0, last, 1)
    }
}

/// Inputs and attributes to try an operator on.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub label: String,
    pub inputs: Vec<Option<Spec>>,
    pub attrs: Attrs,
    /// Whether benches run it.
    pub bench: bool,
    /// Whether gradients exist at these inputs: away from kinks and ties.
    pub smooth: bool,
    /// Whether the twin takes minutes at this size, so that benches trust the verification of the kernels.
    pub long_twin: bool,
}

impl Case {
    pub fn new(label: impl Into<String>) -> Self {
        Case {
            label: label.into(),
            inputs: Vec::new(),
            attrs: Attrs::new(),
            bench: false,
            smooth: true,
            long_twin: false,
        }
    }

    /// The next input, f32.
    pub fn f32(self, shape: &[usize], domain: Domain) -> Self {
        self.input(shape, DType::F32, domain)
    }

    pub fn input(mut self, shape: &[usize], dtype: DType, domain: Domain) -> Self {
        self.inputs.push(Some(Spec {
            shape: Shape::of(shape),
            dtype,
            domain,
            frame: (0, 0),
            stretched: false,
        }));
        self
    }

    /// Puts unused elements before and after each line of the input given last.
    pub fn framed(mut self, frame: (usize, usize)) -> Self {
        if let Some(Some(spec)) = self.inputs.last_mut() {
            spec.frame = frame;
        }
        self
    }

    /// Repeats one element along each line of the input given last, by stride 0.
    pub fn stretched(mut self) -> Self {
        if let Some(Some(spec)) = self.inputs.last_mut() {
            spec.stretched = true;
        }
        self
    }

    /// The next input is left out.
    pub fn absent(mut self) -> Self {
        self.inputs.push(None);
        self
    }

    pub fn attr(mut self, name: &str, value: impl Into<Attr>) -> Self {
        self.attrs = self.attrs.with(name, value);
        self
    }

    pub fn bench(mut self) -> Self {
        self.bench = true;
        self
    }

    /// Says that the definition takes too long at this size.
    pub fn long_twin(mut self) -> Self {
        self.long_twin = true;
        self
    }

    /// Says that no gradient is to be checked here.
    pub fn no_gradient(mut self) -> Self {
        self.smooth = false;
        self
    }

    pub fn metas(&self) -> Vec<Option<Meta>> {
        self.inputs
            .iter()
            .map(|i| {
                i.as_ref().map(|s| Meta {
                    shape: s.shape,
                    dtype: s.dtype,
                })
            })
            .collect()
    }
}

/// Compulsory work of a call: what it needs is read and what it makes is written once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub flops: u64,
}

impl Cost {
    /// Inputs and outputs once each, and `flops`.
    pub fn streaming(inputs: &[Option<Meta>], outputs: &[Meta], flops: u64) -> Self {
        Cost {
            read_bytes: inputs.iter().flatten().map(Meta::bytes).sum(),
            written_bytes: outputs.iter().map(Meta::bytes).sum(),
            flops,
        }
    }

    /// Inputs and outputs once each, and `flops` for each element of the inputs.
    pub fn per_element(inputs: &[Option<Meta>], outputs: &[Meta], flops: u64) -> Self {
        let n: usize = inputs.iter().flatten().map(|m| m.shape.numel()).sum();
        Self::streaming(inputs, outputs, flops * n as u64)
    }

    /// Upstream gradients and gradients once each.
    pub fn vjp(signature: &Signature, inputs: &[Option<Meta>], outputs: &[Meta]) -> Self {
        let bytes_of_floats = |metas: &mut dyn Iterator<Item = &Meta>| {
            metas.filter(|m| m.dtype.is_float()).map(Meta::bytes).sum()
        };
        let inputs = inputs.iter().zip(signature.inputs);
        let inputs = inputs.filter(|(_, input)| input.differentiable);
        Cost {
            read_bytes: bytes_of_floats(&mut outputs.iter()),
            written_bytes: bytes_of_floats(&mut inputs.filter_map(|(meta, _)| meta.as_ref())),
            flops: 0,
        }
    }

    /// With these read as well.
    pub fn reading<'a>(mut self, metas: impl IntoIterator<Item = &'a Meta>) -> Self {
        self.read_bytes += metas.into_iter().map(Meta::bytes).sum::<u64>();
        self
    }

    /// With so many operations.
    pub fn computing(mut self, flops: u64) -> Self {
        self.flops = flops;
        self
    }

    pub fn bytes(&self) -> u64 {
        self.read_bytes + self.written_bytes
    }
}
