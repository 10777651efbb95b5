//! `affekt ops`: what the operators are, and what runs when one is called.

use std::io::{self, Write};

use affekt::gpu::shader::{Elem, resolve};
use affekt::gpu::{Limits, Source};
use affekt::ops::op::{Attr, AttrDefault, Attrs, Entry, Meta, Op, Role, Signature};
use affekt::ops::{self, probe};
use affekt::tensor::{DType, Shape};
use affekt::{Device, Tensor, fuse};
use clap::Args;
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome};
use crate::print;
use crate::session::Session;

/// List the operators; for one, print its signature, kernels and bindings
#[derive(Args)]
#[command(
    after_help = "Examples:\n  affekt ops softmax\n  affekt ops matmul --shape 512x64 64x512"
)]
pub struct Ops {
    /// The operator
    name: Option<String>,
    /// Print what runs for inputs of these shapes, like 8x768, in place of the kernels
    ///
    /// They come in the order of the inputs. The dtype stands in front if it is not the first that the input takes
    /// (f16:8x768); `scalar` has no axes; `-` leaves an input out.
    #[arg(long, value_name = "SHAPE", num_args = 1.., requires = "name")]
    shape: Vec<String>,
    /// Attributes that go with --shape
    #[arg(long = "attr", value_name = "NAME=VALUE", num_args = 1.., requires = "shape")]
    attrs: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Ops {
    pub fn run(&self, session: &Session) -> Outcome {
        let mut out = io::stdout().lock();
        match &self.name {
            None if self.json => {
                let list: Vec<Value> = ops::all()
                    .map(|op| signature_json(op.signature()))
                    .collect();
                print::json(&mut out, &json!({ "ops": list }))?;
            }
            None => {
                let rows: Vec<Vec<String>> = ops::all()
                    .map(|op| {
                        let s = op.signature();
                        vec![s.name.into(), s.formula.into(), s.source.into()]
                    })
                    .collect();
                print::table(&mut out, &["operator", "formula", "source"], &rows)?;
            }
            Some(name) => self.one(ops::find(name)?, session, &mut out)?,
        }
        Ok(out.flush()?)
    }

    fn one(&self, op: &'static dyn Op, session: &Session, out: &mut impl Write) -> Outcome {
        let signature = op.signature();
        let planned = match self.shape.is_empty() {
            true => None,
            false => Some(Planned::of(op, &self.shape, &self.attrs, session)?),
        };
        let kernels = match planned {
            // The plan is the answer; the JSON holds everything.
            Some(_) if !self.json => Vec::new(),
            _ => kernels(op, session)?,
        };
        if self.json {
            let mut value = signature_json(signature);
            value["functions"] = op.function().map(|f| &*f.source.text).into();
            value["kernels"] = kernels.iter().map(Kernel::json).collect();
            value["shape"] = planned.as_ref().map_or(Value::Null, Planned::json);
            return Ok(print::json(out, &value)?);
        }
        print_signature(out, signature)?;
        if let Some(planned) = planned {
            return Ok(planned.print(out)?);
        }
        for kernel in &kernels {
            writeln!(out)?;
            kernel.print(out)?;
        }
        if let Some(function) = op.function() {
            let source = &function.source;
            if kernels.is_empty() {
                writeln!(out, "kernels  generated on an adapter, and there is none")?;
            }
            writeln!(
                out,
                "\n// ---- {} ----\n{}",
                source.name,
                source.text.trim_end()
            )?;
        } else if kernels.is_empty() {
            writeln!(out, "kernels  none of its own")?;
        }
        // Several entry points may share one text.
        let mut printed: Vec<&str> = Vec::new();
        for kernel in &kernels {
            if printed.contains(&kernel.text.as_str()) {
                continue;
            }
            printed.push(&kernel.text);
            writeln!(
                out,
                "\n// ---- {} ----\n{}",
                kernel.source,
                kernel.text.trim_end()
            )?;
        }
        Ok(())
    }
}

/// A compilable text and what is to be bound to it.
struct Kernel {
    role: &'static str,
    rung: String,
    entry: String,
    variant: u32,
    constants: Vec<(&'static str, f64)>,
    overrides: Vec<String>,
    bindings: Vec<(String, bool)>,
    params_bytes: u32,
    source: String,
    text: String,
}

impl Kernel {
    fn of(entry: &Entry) -> Result<Self, Failure> {
        let role = match entry.role {
            Role::Forward => "forward",
            Role::Vjp => "vjp",
        };
        let kernel = &entry.kernel;
        Self::read(&kernel.source, kernel.elem, kernel.entry).map(|read| Kernel {
            role,
            rung: entry.rung.to_string(),
            variant: entry.variant,
            constants: kernel.constants.clone(),
            ..read
        })
    }

    fn read(source: &Source, elem: Elem, entry: &str) -> Result<Self, Failure> {
        let resolved = resolve(source, elem)?;
        let reflection = resolved.reflect(&source.name, entry)?;
        Ok(Kernel {
            role: "generated",
            rung: "fused".to_string(),
            entry: entry.to_string(),
            variant: 0,
            constants: Vec::new(),
            overrides: reflection.overrides,
            bindings: reflection
                .names
                .into_iter()
                .zip(reflection.writes)
                .collect(),
            params_bytes: reflection.params_size,
            source: source.name.to_string(),
            text: resolved.text,
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let variant = match self.variant {
            0 => String::new(),
            n => format!(", variant {n}"),
        };
        writeln!(
            out,
            "kernel   {} ({}, {}{variant}) in {}",
            self.entry, self.role, self.rung, self.source
        )?;
        let bindings: Vec<String> = self
            .bindings
            .iter()
            .map(|(name, writes)| format!("{name} {}", if *writes { "write" } else { "read" }))
            .collect();
        let params = match self.params_bytes {
            0 => String::new(),
            n => format!("; params of {n} bytes"),
        };
        writeln!(out, "         bindings   {}{params}", bindings.join(", "))?;
        let constants: Vec<String> = self
            .overrides
            .iter()
            .map(
                |name| match self.constants.iter().find(|(n, _)| n == name) {
                    Some((_, value)) => format!("{name} = {value}"),
                    None => format!("{name} as in the text"),
                },
            )
            .collect();
        if !constants.is_empty() {
            writeln!(out, "         constants  {}", constants.join(", "))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let constants: serde_json::Map<String, Value> = self
            .constants
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value)))
            .collect();
        let bindings: Vec<Value> = self
            .bindings
            .iter()
            .map(|(name, writes)| json!({ "name": name, "writes": writes }))
            .collect();
        json!({
            "entry": self.entry,
            "role": self.role,
            "rung": self.rung,
            "variant": self.variant,
            "constants": constants,
            "overrides": self.overrides,
            "bindings": bindings,
            "params_bytes": self.params_bytes,
            "source": self.source,
            "wgsl": self.text,
        })
    }
}

/// The kernels of an operator: its entry points, or what is generated for an elementwise one on this adapter.
fn kernels(op: &'static dyn Op, session: &Session) -> Result<Vec<Kernel>, Failure> {
    if op.function().is_some() {
        return match session.open(Limits::Full) {
            Ok(device) => generated(op, &device),
            // What it is made of can be told anywhere.
            Err(affekt::Error::NoAdapter { .. }) => Ok(Vec::new()),
            Err(other) => Err(other.into()),
        };
    }
    op.entries().iter().map(Kernel::of).collect()
}

/// Runs an elementwise operator on its first case, forward and backward, and reads what was generated for that.
fn generated(op: &'static dyn Op, device: &Device) -> Result<Vec<Kernel>, Failure> {
    let case = op.cases().remove(0);
    let arrays = probe::inputs_of(&case, 1);
    let mut leaves = Vec::new();
    for ((spec, array), input) in case.inputs.iter().zip(&arrays).zip(op.signature().inputs) {
        let (Some(spec), Some(array)) = (spec, array) else {
            leaves.push(None);
            continue;
        };
        let tensor = probe::upload(device, array, spec.dtype)?;
        let leaf = input.differentiable && spec.dtype.is_float();
        leaves.push(Some(if leaf {
            tensor.requires_grad()?
        } else {
            tensor
        }));
    }
    let references: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
    let y = ops::run(op, &references, &case.attrs)?.remove(0);
    probe::download(&y)?;
    let forward = fuse::generated(device);
    if y.has_grad() {
        let ones = Tensor::full(device, 1.0f32, y.shape())?;
        // A real upstream gradient is dense.
        y.backward_from(&ones.contiguous()?)?;
    }
    let mut texts: Vec<(&'static str, _)> =
        forward.iter().map(|t| ("forward", t.clone())).collect();
    for text in fuse::generated(device) {
        if !forward.contains(&text) {
            texts.push(("vjp", text));
        }
    }
    texts
        .into_iter()
        .filter(|(_, text)| text.contains(&format!("fn {}", op.signature().name)))
        .map(|(role, text)| {
            let name = format!("{}, {role}, generated for f32", op.signature().name);
            let source = Source::generated(name, text.to_string());
            Ok(Kernel {
                role,
                ..Kernel::read(&source, Elem::F32, "fused")?
            })
        })
        .collect()
}

/// What a call on these shapes would do.
struct Planned {
    inputs: Vec<Option<Meta>>,
    outputs: Vec<Meta>,
    attrs: Attrs,
    bytes: u64,
    flops: u64,
    plan: Option<String>,
    names: &'static Signature,
}

impl Planned {
    fn of(
        op: &'static dyn Op,
        shapes: &[String],
        words: &[String],
        session: &Session,
    ) -> Result<Self, Failure> {
        let signature = op.signature();
        let attrs = Attrs::parse(signature, words)?;
        if shapes.len() > signature.inputs.len() {
            return Err(Failure::Wrong(format!(
                "{}: {} shapes given, it has {} inputs",
                signature.name,
                shapes.len(),
                signature.inputs.len()
            )));
        }
        let mut inputs = vec![None; signature.inputs.len()];
        for ((slot, word), input) in inputs.iter_mut().zip(shapes).zip(signature.inputs) {
            *slot = parse_meta(word, input.dtypes[0]).ok_or_else(|| {
                Failure::Wrong(format!(
                    "{}: {word:?} is no shape, expected one like 8x768 or f16:8x768",
                    signature.name
                ))
            })?;
        }
        let outputs = ops::infer(op, &inputs, &attrs)?;
        let cost = op.cost(&inputs, &outputs, &attrs);
        let device = session.open(Limits::Full)?;
        Ok(Planned {
            plan: op.plan(&inputs, &attrs, device.caps()),
            inputs,
            outputs,
            attrs,
            bytes: cost.bytes(),
            flops: cost.flops,
            names: signature,
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out)?;
        let words = |meta: &Meta| format!("{} {:?}", meta.dtype, meta.shape);
        let mut rows = Vec::new();
        for (input, meta) in self.names.inputs.iter().zip(&self.inputs) {
            let text = meta.as_ref().map_or("left out".to_string(), words);
            rows.push(vec!["in".to_string(), input.name.to_string(), text]);
        }
        for (name, value) in self.attrs.iter() {
            rows.push(vec!["with".into(), name.to_string(), value.to_string()]);
        }
        for (name, meta) in self.names.outputs.iter().zip(&self.outputs) {
            rows.push(vec!["out".into(), name.to_string(), words(meta)]);
        }
        print::table(out, &[], &rows)?;
        writeln!(
            out,
            "work  {} to read and write, {} operations",
            print::bytes(self.bytes),
            print::count(self.flops)
        )?;
        let plan = self.plan.as_deref().unwrap_or("one way to run");
        writeln!(out, "plan  {plan}")
    }

    fn json(&self) -> Value {
        let meta = |m: &Meta| json!({ "dtype": m.dtype.name(), "shape": m.shape.to_vec() });
        let attrs: serde_json::Map<String, Value> = self
            .attrs
            .iter()
            .map(|(name, value)| (name.to_string(), attr_json(value)))
            .collect();
        json!({
            "inputs": self.inputs.iter().map(|i| i.as_ref().map(meta)).collect::<Vec<_>>(),
            "attributes": attrs,
            "outputs": self.outputs.iter().map(meta).collect::<Vec<_>>(),
            "bytes": self.bytes,
            "flops": self.flops,
            "plan": self.plan,
        })
    }
}

/// `f16:8x768`; `Some(None)` for an input left out.
fn parse_meta(word: &str, first: DType) -> Option<Option<Meta>> {
    if word == "-" {
        return Some(None);
    }
    let (dtype, dims) = match word.split_once(':') {
        Some((name, dims)) => (DType::ALL.into_iter().find(|d| d.name() == name)?, dims),
        None => (first, word),
    };
    let dims: Vec<usize> = match dims {
        "scalar" => Vec::new(),
        dims => dims
            .split('x')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?,
    };
    let shape = Shape::new(&dims).ok()?;
    Some(Some(Meta { shape, dtype }))
}

fn kind(default: AttrDefault) -> &'static str {
    match default {
        AttrDefault::Bool(_) => "bool",
        AttrDefault::Int(_) => "int",
        AttrDefault::Float(_) => "float",
        AttrDefault::Ints(_) => "ints",
        AttrDefault::Choice(_) => "choice",
    }
}

fn attr_json(attr: &Attr) -> Value {
    match attr {
        Attr::Bool(v) => json!(v),
        Attr::Int(v) => json!(v),
        Attr::Float(v) => json!(v),
        Attr::Ints(v) => json!(v),
        Attr::Word(v) => json!(v),
    }
}

fn signature_json(signature: &Signature) -> Value {
    let inputs: Vec<Value> = signature
        .inputs
        .iter()
        .map(|i| {
            json!({
                "name": i.name,
                "dtypes": i.dtypes.iter().map(|d| d.name()).collect::<Vec<_>>(),
                "optional": i.optional,
                "differentiable": i.differentiable,
            })
        })
        .collect();
    let attributes: Vec<Value> = signature
        .attrs
        .iter()
        .map(|a| {
            let choices = match a.default {
                AttrDefault::Choice(words) => json!(words),
                _ => Value::Null,
            };
            json!({
                "name": a.name,
                "kind": kind(a.default),
                "default": attr_json(&Attr::from(a.default)),
                "choices": choices,
            })
        })
        .collect();
    json!({
        "name": signature.name,
        "formula": signature.formula,
        "source": signature.source,
        "inputs": inputs,
        "attributes": attributes,
        "outputs": signature.outputs,
    })
}

/// `layer_norm(x, weight?, bias?; eps = 0.00001) → y`, then the details.
fn print_signature(out: &mut impl Write, signature: &Signature) -> io::Result<()> {
    let inputs: Vec<String> = signature
        .inputs
        .iter()
        .map(|i| format!("{}{}", i.name, if i.optional { "?" } else { "" }))
        .collect();
    let attrs: Vec<String> = signature
        .attrs
        .iter()
        .map(|a| format!("{} = {}", a.name, Attr::from(a.default)))
        .collect();
    let attrs = match attrs.is_empty() {
        true => String::new(),
        false => format!("; {}", attrs.join(", ")),
    };
    writeln!(
        out,
        "{}({}{attrs}) → {}\n",
        signature.name,
        inputs.join(", "),
        signature.outputs.join(", ")
    )?;
    writeln!(out, "formula  {}", signature.formula)?;
    writeln!(out, "source   {}", signature.source)?;
    let mut rows = Vec::new();
    for input in signature.inputs {
        let dtypes: Vec<&str> = input.dtypes.iter().map(|d| d.name()).collect();
        let mut notes = Vec::new();
        if input.differentiable {
            notes.push("differentiable");
        }
        if input.optional {
            notes.push("optional");
        }
        let label = if rows.is_empty() { "inputs " } else { "" };
        rows.push(vec![
            label.to_string(),
            input.name.to_string(),
            dtypes.join(" "),
            notes.join(", "),
        ]);
    }
    let n_inputs = rows.len();
    for attr in signature.attrs {
        let default = match attr.default {
            AttrDefault::Choice(words) => words.join(" | "),
            other => Attr::from(other).to_string(),
        };
        let label = if rows.len() == n_inputs {
            "attrs  "
        } else {
            ""
        };
        rows.push(vec![
            label.to_string(),
            attr.name.to_string(),
            kind(attr.default).to_string(),
            default,
        ]);
    }
    print::table(out, &[], &rows)
}
