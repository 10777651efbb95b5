//! Conformance: every operator, every case, every property, on one adapter.
//!
//! A [`Trial`] is one property of one case. Tests, `affekt check` and benches run the same list. Results are compared
//! with the operator's f64 twin, gradients with numeric ones of the twin; buffers are poisoned beforehand and framed
//! by guard words that nobody may touch.

mod environment;
pub mod expressions;
mod guard;
pub mod page;
pub mod report;
pub(crate) mod side_by_side;
mod strided;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use environment::Environment;

use crate::error::Result;
use crate::gpu::{Device, Mode};
use crate::ops;
use crate::ops::launch::Ledger;
use crate::ops::op::{Array, Attrs, Case, Meta, Op, Role, Spec};
use crate::ops::probe::{
    Place, check_gradients, compare_outputs, download, inputs_of, place, upload, views,
};
use crate::tensor::{DType, Tensor};

/// What a trial looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Results equal the twin's; shapes and dtypes those of `infer`; nothing outside of the outputs is written.
    Value,
    /// The same from views with gaps, transposed, and from the middle of a buffer.
    Strided,
    /// The same from inputs that repeat one element along an axis by stride 0.
    Stretched,
    /// The same with every `f32` input as `f16`.
    Half,
    /// Two runs give the same bits, of gradients too.
    Repeat,
    /// Gradients equal numeric ones of the twin.
    Gradient,
    /// The same from strided inputs with a strided upstream gradient, and with one stretched by stride 0.
    StridedGradient,
    /// The same for `f16` inputs.
    HalfGradient,
    /// A tensor used twice gets the sum of both gradients.
    Accumulate,
    /// The verification case of an entry point dispatches it, so that a verdict is about the right kernel.
    Reached,
    /// A call that must be refused is refused, before anything is dispatched.
    Refuse,
}

impl Property {
    pub fn name(self) -> &'static str {
        match self {
            Property::Value => "value",
            Property::Strided => "strided",
            Property::Stretched => "stretched",
            Property::Half => "f16",
            Property::Repeat => "repeat",
            Property::Gradient => "gradient",
            Property::StridedGradient => "strided-gradient",
            Property::HalfGradient => "f16-gradient",
            Property::Accumulate => "accumulate",
            Property::Reached => "reached",
            Property::Refuse => "refuse",
        }
    }
}

/// One thing to check.
#[derive(Clone)]
pub struct Trial {
    pub op: &'static dyn Op,
    pub case: Case,
    pub property: Property,
    /// The entry point to use instead of the planned one.
    pub only: Option<(&'static str, u32)>,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Right,
    Wrong(String),
    /// The device cannot run it.
    Skipped(String),
}

/// Every trial of every operator.
pub fn trials() -> Vec<Trial> {
    ops::all().flat_map(trials_of).collect()
}

/// Every trial of one operator. Bench cases are left to benches.
pub fn trials_of(op: &'static dyn Op) -> Vec<Trial> {
    let signature = op.signature();
    let mut out = Vec::new();
    let mut push = |case: &Case, property, only| {
        out.push(Trial {
            op,
            case: case.clone(),
            property,
            only,
        });
    };
    let halves = signature
        .inputs
        .iter()
        .any(|i| i.dtypes.contains(&DType::F16));
    for case in op.cases().iter().filter(|c| !c.bench) {
        let float = case
            .inputs
            .iter()
            .flatten()
            .zip(signature.inputs)
            .any(|(s, i)| s.dtype == DType::F32 && i.differentiable);
        let gradient = case.smooth && float;
        push(case, Property::Value, None);
        push(case, Property::Strided, None);
        push(case, Property::Repeat, None);
        let long = |spec: &Spec| spec.shape.iter().any(|n| *n > 1);
        if case.inputs.iter().flatten().any(long) {
            push(case, Property::Stretched, None);
        }
        if gradient {
            push(case, Property::Gradient, None);
            push(case, Property::StridedGradient, None);
            push(case, Property::Accumulate, None);
        }
        if halves && float {
            push(case, Property::Half, None);
            if gradient {
                push(case, Property::HalfGradient, None);
            }
        }
        // Every rung, whatever the plan prefers here.
        for entry in op.entries() {
            if !op.tries(&entry, case) {
                continue;
            }
            let only = Some((entry.name(), entry.variant));
            match entry.role {
                Role::Forward => push(case, Property::Value, only),
                Role::Vjp if gradient => push(case, Property::Gradient, only),
                Role::Vjp => {}
            }
        }
    }
    for entry in op.entries() {
        let only = Some((entry.name(), entry.variant));
        push(&op.verify_case(&entry), Property::Reached, only);
    }
    for (why, case) in op.refusals() {
        let mut case = case;
        case.label = why.replace(' ', "_");
        push(&case, Property::Refuse, None);
    }
    out
}

impl Trial {
    /// `layer_norm/far_from_zero/value`, with `@entry` if one is forced.
    pub fn name(&self) -> String {
        let base = format!(
            "{}/{}/{}",
            self.op.signature().name,
            self.case.label,
            self.property.name()
        );
        match self.only {
            None => base,
            Some((entry, 0)) => format!("{base}@{entry}"),
            Some((entry, variant)) => format!("{base}@{entry}.{variant}"),
        }
    }

    /// Why this device cannot run the trial; `None` if it can.
    pub fn skipped(&self, device: &Device) -> Option<String> {
        let (name, variant) = self.only?;
        let entry = self.op.entry(name, variant)?;
        (!(entry.needs)(device.caps())).then(|| format!("this device cannot run {name}"))
    }

    /// Runs the trial. Errors of the operator are findings; only a lost device is an error here.
    ///
    /// Trials of one device run one at a time, whatever the threads: they count dispatches and look at all buffers.
    pub fn run(&self, device: &Device) -> Result<Outcome> {
        if let Some(reason) = self.skipped(device) {
            return Ok(Outcome::Skipped(reason));
        }
        let alone = device.extension(Alone::default);
        let _alone = alone.lock();
        let guarded = device.with_mode(Mode {
            fuse: device.mode().fuse,
            verify: false,
            guard: true,
            only: self.only,
            corrupt: device.mode().corrupt,
        });
        let ledger = Ledger::of(device);
        ledger.clear();
        let found = match self.property {
            Property::Refuse => self.refuse(device),
            _ => self.run_guarded(&guarded),
        };
        let spoiled = guard::inspect(device)?;
        let found = match found {
            Ok(None) => spoiled.or_else(|| {
                let entry = ledger.unchosen()?;
                Some(format!("{entry} was dispatched without being chosen"))
            }),
            Ok(found) => found,
            Err(error @ crate::Error::DeviceLost { .. }) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        Ok(found.map_or(Outcome::Right, Outcome::Wrong))
    }

    fn run_guarded(&self, device: &Device) -> Result<Option<String>> {
        let mut case = self.case.clone();
        if matches!(self.property, Property::Half | Property::HalfGradient) {
            for (spec, input) in case.inputs.iter_mut().zip(self.op.signature().inputs) {
                if let Some(spec) = spec {
                    if spec.dtype == DType::F32 && input.dtypes.contains(&DType::F16) {
                        spec.dtype = DType::F16;
                    }
                }
            }
        }
        let attrs = case.attrs.complete(self.op.signature())?;
        let seed = seed_of(&case.label);
        let mut inputs = inputs_of(&case, seed);
        let tensors = case
            .inputs
            .iter()
            .zip(&mut inputs)
            .enumerate()
            .map(|(i, (spec, array))| match (spec, array) {
                (Some(spec), Some(array)) => match self.property {
                    Property::Strided | Property::StridedGradient => {
                        strided::upload(device, array, spec.dtype).map(Some)
                    }
                    Property::Stretched => {
                        // Neighbouring cases and inputs take turns in which axis is stretched.
                        let turn = seed as usize + i;
                        strided::stretch(device, array, spec.dtype, turn).map(Some)
                    }
                    _ => place(device, spec, array).map(Some),
                },
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        let dense: &Place<'_> = &|device, dy, dtype| upload(device, dy, dtype);
        let strided: &Place<'_> = &|device, dy, dtype| strided::upload(device, dy, dtype);
        let stretched: &Place<'_> =
            &|device, dy, dtype| strided::stretch(device, dy, dtype, seed as usize);
        let gradients = |place: &Place<'_>| -> Result<Option<String>> {
            Ok(check_gradients(self.op, device, &inputs, &tensors, &attrs, seed, place)?.err())
        };
        match self.property {
            Property::Value | Property::Strided | Property::Stretched | Property::Half => {
                self.value(&inputs, &tensors, &attrs)
            }
            Property::Repeat => self.repeat(device, &tensors, &attrs),
            Property::Gradient | Property::HalfGradient => gradients(dense),
            Property::StridedGradient => match gradients(strided)? {
                None => gradients(stretched),
                found => Ok(found),
            },
            Property::Accumulate => self.accumulate(device, &tensors, &attrs),
            Property::Reached => {
                let (name, variant) = self.only.expect("trials_of names an entry point");
                // A gradient runs the forward pass too.
                gradients(dense)?;
                let reached = Ledger::of(device).chose((name, variant));
                Ok((!reached).then(|| format!("its verification case does not dispatch {name}")))
            }
            Property::Refuse => unreachable!("handled by run"),
        }
    }

    fn value(
        &self,
        inputs: &[Option<Array>],
        tensors: &[Option<Tensor>],
        attrs: &Attrs,
    ) -> Result<Option<String>> {
        let references: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        let got = ops::run(self.op, &references, attrs)?;
        let metas: Vec<Option<Meta>> = references.iter().map(|t| t.map(Meta::of)).collect();
        let inferred = self.op.infer(&metas, attrs)?;
        for (k, (got, inferred)) in got.iter().zip(&inferred).enumerate() {
            if Meta::of(got) != *inferred {
                return Ok(Some(format!(
                    "{} is {} {:?}, infer says {} {:?}",
                    self.op.signature().outputs[k],
                    got.dtype(),
                    got.shape(),
                    inferred.dtype,
                    inferred.shape
                )));
            }
        }
        let expected = self.op.twin(&views(inputs), attrs);
        if got.len() != expected.len() {
            return Ok(Some(format!(
                "{} outputs, the twin has {}",
                got.len(),
                expected.len()
            )));
        }
        let tolerance = self.op.tolerance(&views(inputs), attrs);
        let compared = compare_outputs(&got, &expected, tolerance)?;
        Ok(compared
            .err()
            .map(|(k, mismatch)| format!("{}: {mismatch}", self.op.signature().outputs[k])))
    }

    fn repeat(
        &self,
        device: &Device,
        tensors: &[Option<Tensor>],
        attrs: &Attrs,
    ) -> Result<Option<String>> {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let leaves = self.leaves(tensors)?;
            let references: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
            let mut results = ops::run(self.op, &references, attrs)?;
            if results[0].has_grad() {
                let dy = upstream(device, &results[0])?;
                let gradients = results[0].backward_from(&dy)?;
                results.extend(
                    leaves
                        .iter()
                        .flatten()
                        .filter_map(|l| gradients.get(l).cloned()),
                );
            }
            let bits = results
                .iter()
                .map(|t| Ok(download(t)?.data.iter().map(|x| x.to_bits()).collect()))
                .collect::<Result<Vec<Vec<u64>>>>()?;
            runs.push(bits);
        }
        let n_outputs = self.op.signature().outputs.len();
        let differs = (0..runs[0].len()).find(|&k| runs[0][k] != runs[1][k]);
        Ok(differs.map(|k| {
            let what = if k < n_outputs { "value" } else { "gradient" };
            format!("the {what} of the second run has other bits")
        }))
    }

    /// The inputs as leaves of the tape where they are differentiable.
    fn leaves(&self, tensors: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        tensors
            .iter()
            .zip(self.op.signature().inputs)
            .map(|(t, input)| match t {
                Some(t) if input.differentiable && t.dtype().is_float() => {
                    t.requires_grad().map(Some)
                }
                other => Ok(other.clone()),
            })
            .collect()
    }

    /// Gradients by a tensor that is used in two calls are twice those of one.
    fn accumulate(
        &self,
        device: &Device,
        tensors: &[Option<Tensor>],
        attrs: &Attrs,
    ) -> Result<Option<String>> {
        let signature = self.op.signature();
        let leaves = self.leaves(tensors)?;
        let references: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
        let once = ops::run(self.op, &references, attrs)?.remove(0);
        let dy = upstream(device, &once)?;
        let single = once.backward_from(&dy)?;
        let first = ops::run(self.op, &references, attrs)?.remove(0);
        let second = ops::run(self.op, &references, attrs)?.remove(0);
        let both = first.add(&second)?.backward_from(&dy)?;
        for (leaf, input) in leaves.iter().zip(signature.inputs) {
            let Some(leaf) = leaf.as_ref().filter(|l| l.has_grad()) else {
                continue;
            };
            let (Some(one), Some(two)) = (single.get(leaf), both.get(leaf)) else {
                return Ok(Some(format!("{} has no gradient", input.name)));
            };
            let (one, two) = (download(one)?, download(two)?);
            let u = leaf.dtype().unit_roundoff();
            let scale = one.max_abs();
            for (i, (a, b)) in one.data.iter().zip(&two.data).enumerate() {
                // Where a kernel adds in place, its terms meet the first gradient in another order.
                if !((2.0 * a - b).abs() <= 8.0 * u * (a.abs() + scale)) {
                    return Ok(Some(format!(
                        "d{}[{i}] of two uses is {b:e}, of one {a:e}",
                        input.name
                    )));
                }
            }
        }
        Ok(None)
    }

    fn refuse(&self, device: &Device) -> Result<Option<String>> {
        let inputs = inputs_of(&self.case, 1);
        let tensors = self
            .case
            .inputs
            .iter()
            .zip(&inputs)
            .map(|(spec, array)| match (spec, array) {
                (Some(spec), Some(array)) => upload(device, array, spec.dtype).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        let references: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        let before = device.stream_stats().n_dispatches;
        let refused = ops::run(self.op, &references, &self.case.attrs);
        let dispatched = device.stream_stats().n_dispatches - before;
        Ok(match refused {
            Ok(_) => Some("was not refused".to_string()),
            Err(_) if dispatched > 0 => Some(format!("{dispatched} dispatches before the refusal")),
            Err(error) if !error.to_string().contains(self.op.signature().name) => {
                Some(format!("the message does not name the operator: {error}"))
            }
            Err(_) => None,
        })
    }
}

/// A made-up upstream gradient of `y`.
fn upstream(device: &Device, y: &Tensor) -> Result<Tensor> {
    let mut numbers = ops::probe::Numbers::new(11);
    let dy = Array::from_fn(*y.shape(), |_| {
        f64::from((2.0 * numbers.unit() - 1.0) as f32)
    });
    upload(device, &dy, y.dtype())
}

/// Held while a trial runs on a device.
#[derive(Default)]
pub(crate) struct Alone(Mutex<()>);

impl Alone {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // A trial that panicked leaves nothing behind that the next one would trip over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seed_of(label: &str) -> u64 {
    label
        .bytes()
        .fold(17, |seed, b| seed * 31 % 1_000_003 + u64::from(b))
}
