//! The one way an operator dispatches: it names its rungs from best to naive; this module verifies, chooses, records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::gpu::dispatch::Binding;
use crate::gpu::pipeline::Pipeline;
use crate::gpu::shader::{Elem, fingerprint, resolve};
use crate::gpu::{Device, DeviceClass, Kernel, Mode};
use crate::ops::op::{Entry, Op};
use crate::ops::plan_table::{self, Choice, Kind};
use crate::ops::probe;
use crate::tensor::Tensor;
use crate::verdict::{Verdict, Verdicts, spoil, trial_key};

/// Operator, entry point, variant, storage type, and the entry point that is spoiled on purpose.
type Judgement = (&'static str, &'static str, u32, Elem, Option<&'static str>);

/// Entry points already judged in this process.
#[derive(Default)]
struct Judged {
    known: Mutex<HashMap<Judgement, Fit>>,
}

impl Judged {
    fn known(&self) -> MutexGuard<'_, HashMap<Judgement, Fit>> {
        self.known
            .lock()
            .expect("looking up and inserting do not panic")
    }
}

/// What is known of an entry point on a device.
#[derive(Debug, Clone)]
enum Fit {
    Right,
    /// It runs; nobody has looked at its numbers.
    Untried,
    /// The device lacks what the entry point needs.
    Lacks,
    Wrong(String),
}

/// Steps that the loops of one invocation may take in all.
///
/// lavapipe (Mesa 22.3.6) counts the steps of all loops of an invocation together and ends each loop once there were
/// 65 536; what would have come later is silently missing. A row of 35 001 elements is wrong in a kernel that walks
/// over it twice, and so is a dot product of 70 001. Plans keep below this on every device; the rest is for what a
/// kernel loops over besides.
pub(crate) const MOST_STEPS: usize = 60_000;

/// Refuses what no plan could bring below [`MOST_STEPS`], where a driver would get it wrong.
pub(crate) fn check_steps(device: &Device, what: &'static str, steps: usize) -> Result<()> {
    if device.caps().class == DeviceClass::Cpu && steps > MOST_STEPS {
        return Err(Error::Limit {
            what,
            requested: steps as u64,
            limit: MOST_STEPS as u64,
        });
    }
    Ok(())
}

/// The first of `candidates` (entry point, variant) that this device can run and that gives right numbers here.
///
/// `entries` must come from `op`; `elem` is the storage type the kernel will be compiled for.
/// Errors: [`Error::KernelWrong`] if none is right.
pub fn choose(
    op: &'static dyn Op,
    device: &Device,
    elem: Elem,
    candidates: &[(&'static str, u32)],
) -> Result<usize> {
    // An operator with variants has already planned for the one asked for; its code may say more than was asked.
    let forced = device.mode().only.and_then(|only| {
        let exact = candidates.iter().position(|c| *c == only);
        exact.or_else(|| candidates.iter().position(|c| c.0 == only.0))
    });
    if let Some(i) = forced {
        note_choice(device, candidates[i]);
        return Ok(i);
    }
    let mut wrong = None;
    for (i, &(entry, variant)) in candidates.iter().enumerate() {
        match judge(op, device, elem, entry, variant)? {
            Fit::Right | Fit::Untried => {
                note_choice(device, candidates[i]);
                return Ok(i);
            }
            Fit::Lacks => {}
            Fit::Wrong(detail) => wrong = Some(detail),
        }
    }
    Err(Error::KernelWrong {
        op: op.signature().name,
        adapter: device.adapter().label(),
        detail: wrong.unwrap_or_else(|| "no entry point runs on this device".to_string()),
    })
}

/// As [`choose`], for calls of these sizes: what the device's plan table prefers comes before the order of the candidates.
pub(crate) fn choose_for(
    op: &'static dyn Op,
    device: &Device,
    elem: Elem,
    sizes: &[usize],
    candidates: &[Choice],
) -> Result<usize> {
    let preferred = preferred(op, device, elem, sizes);
    let place = |choice: &Choice| candidates.iter().position(|c| c == choice);
    let Some(first) = preferred.iter().find_map(place) else {
        return choose(op, device, elem, candidates);
    };
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.remove(first);
    order.insert(0, first);
    let reordered: Vec<Choice> = order.iter().map(|i| candidates[*i]).collect();
    Ok(order[choose(op, device, elem, &reordered)?])
}

/// The entry points to plan for first, best first: the one that a handle allows alone, or those of the plan table. Empty
/// where neither has a say; the built-in plan decides then.
pub(crate) fn preferred(
    op: &'static dyn Op,
    device: &Device,
    elem: Elem,
    sizes: &[usize],
) -> Vec<Choice> {
    let kind = Kind::new(op.signature().name, elem, sizes);
    if device.mode().guard {
        Ledger::of(device).note_kind(&kind);
    }
    match device.mode().only {
        Some(only) => vec![only],
        None => plan_table::preferred(device, &kind).map_or(Vec::new(), |list| list.to_vec()),
    }
}

/// Whether an entry point can run here and gives right numbers on its verification case, which is run unless its verdict
/// is known.
#[cfg(feature = "bench")]
pub(crate) fn is_right(
    op: &'static dyn Op,
    device: &Device,
    elem: Elem,
    (entry, variant): Choice,
) -> Result<bool> {
    let verifying = device.with_mode(Mode {
        verify: true,
        ..device.mode()
    });
    let fit = judge(op, &verifying, elem, entry, variant)?;
    Ok(matches!(fit, Fit::Right))
}

fn judge(
    op: &'static dyn Op,
    device: &Device,
    elem: Elem,
    name: &'static str,
    variant: u32,
) -> Result<Fit> {
    let key = (
        op.signature().name,
        name,
        variant,
        elem,
        device.mode().corrupt,
    );
    let judged = device.extension(Judged::default);
    let known = judged.known().get(&key).cloned();
    match known {
        None => {}
        Some(Fit::Untried) if device.mode().verify => {}
        Some(fit) => return Ok(fit),
    }
    let entry = op
        .entry(name, variant)
        .unwrap_or_else(|| panic!("{}: entries() lists no {name} {variant}", key.0));
    let fit = if !(entry.needs)(device.caps()) {
        Fit::Lacks
    } else if device.mode().verify {
        match verdict(op, device, elem, &entry)? {
            Verdict::Right => Fit::Right,
            Verdict::Wrong(detail) => Fit::Wrong(detail),
        }
    } else {
        Fit::Untried
    };
    judged.known().insert(key, fit.clone());
    Ok(fit)
}

/// The verdict on an entry point: the remembered one, or that of its verification case, which is run now.
fn verdict(op: &'static dyn Op, device: &Device, elem: Elem, entry: &Entry) -> Result<Verdict> {
    let mut key = verdict_key(op, entry, elem)?;
    if let Some(spoiled) = device.mode().corrupt {
        key = trial_key(spoiled, &key);
    }
    let verdicts = Verdicts::of(device);
    if let Some(verdict) = verdicts.get(&key) {
        return Ok(verdict);
    }
    let probing = device.with_mode(Mode {
        fuse: device.mode().fuse,
        verify: false,
        guard: false,
        only: Some((entry.name(), entry.variant)),
        corrupt: device.mode().corrupt,
    });
    let found = match probe::run(op, entry, elem, &probing) {
        // A kernel that the driver does not take is as good as wrong: another rung may do.
        Err(error @ (Error::Shader { .. } | Error::Driver { .. })) => Some(error.to_string()),
        other => other?,
    };
    let verdict = match found {
        None => Verdict::Right,
        Some(detail) => {
            log::warn!(
                "{} is wrong on {} and is not used: {detail}",
                entry.name(),
                device.adapter().label()
            );
            Verdict::Wrong(detail)
        }
    };
    verdicts.put(key, verdict.clone());
    Ok(verdict)
}

/// `op/entry/variant/elem#hash of the text`.
fn verdict_key(op: &'static dyn Op, entry: &Entry, elem: Elem) -> Result<String> {
    let resolved = resolve(&entry.kernel.source, elem)?;
    Ok(format!(
        "{}/{}/{}/{}#{:016x}",
        op.signature().name,
        entry.name(),
        entry.variant,
        elem.wgsl(),
        fingerprint(&resolved, entry.name(), &entry.kernel.constants)
    ))
}

/// Verifies every entry point of `op` that this device can run, ahead of its first use.
pub(crate) fn prepare(op: &'static dyn Op, device: &Device) -> Result<()> {
    let verifying = device.with_mode(Mode {
        verify: true,
        ..device.mode()
    });
    for entry in op.entries() {
        judge(
            op,
            &verifying,
            entry.kernel.elem,
            entry.name(),
            entry.variant,
        )?;
    }
    Ok(())
}

/// What was chosen and dispatched in check mode: conformance asks whether every entry point is reached and none is
/// dispatched unverified.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<LedgerState>);

#[derive(Default)]
struct LedgerState {
    chosen: Vec<Choice>,
    kinds: Vec<Kind>,
    unchosen: Option<&'static str>,
}

impl Ledger {
    pub fn of(device: &Device) -> Arc<Self> {
        device.extension(Ledger::default)
    }

    fn state(&self) -> MutexGuard<'_, LedgerState> {
        self.0.lock().expect("noting does not panic")
    }

    #[cfg(feature = "check")]
    pub fn clear(&self) {
        *self.state() = LedgerState::default();
    }

    /// Whether this entry point was chosen since the last [`clear`](Self::clear).
    #[cfg(feature = "check")]
    pub fn chose(&self, entry: (&'static str, u32)) -> bool {
        self.state().chosen.contains(&entry)
    }

    /// Entry points chosen since the last [`clear`](Self::clear), in the order of their first use.
    #[cfg(feature = "bench")]
    pub fn chosen(&self) -> Vec<(&'static str, u32)> {
        self.state().chosen.clone()
    }

    fn note_kind(&self, kind: &Kind) {
        let kinds = &mut self.state().kinds;
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }

    /// The calls that a plan table could have had a say in since the last [`clear`](Self::clear).
    #[cfg(feature = "bench")]
    pub fn kinds(&self) -> Vec<Kind> {
        self.state().kinds.clone()
    }

    /// An entry point that was dispatched without being chosen.
    #[cfg(feature = "check")]
    pub fn unchosen(&self) -> Option<&'static str> {
        self.state().unchosen
    }
}

fn note_choice(device: &Device, entry: (&'static str, u32)) {
    if device.mode().guard {
        let ledger = Ledger::of(device);
        let chosen = &mut ledger.state().chosen;
        if !chosen.contains(&entry) {
            chosen.push(entry);
        }
    }
}

/// Records `kernel` over whole buffers: inputs, then outputs, in the order of the bindings. `groups` workgroups are
/// folded into two dimensions where one axis is too short; `shared/index` has the arithmetic.
///
/// The entry point must have come out of [`choose`], so that nothing unverified runs.
pub fn dispatch(
    device: &Device,
    kernel: &Kernel,
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    params: &impl bytemuck::NoUninit,
    groups: u64,
) -> Result<()> {
    if device.mode().guard {
        let ledger = Ledger::of(device);
        let mut state = ledger.state();
        if !state.chosen.iter().any(|(entry, _)| *entry == kernel.entry) {
            state.unchosen = Some(kernel.entry);
        }
    }
    let pipeline = device.pipeline(kernel)?;
    dispatch_compiled(device, &pipeline, inputs, outputs, params, groups)
}

/// As [`dispatch`], for operators that keep their pipelines.
pub(crate) fn dispatch_compiled(
    device: &Device,
    pipeline: &Pipeline,
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    params: &impl bytemuck::NoUninit,
    groups: u64,
) -> Result<()> {
    let bindings = inputs
        .iter()
        .chain(outputs)
        .map(|t| Ok(Binding::whole(&t.buffer()?)))
        .collect::<Result<Vec<_>>>()?;
    device.dispatch(pipeline, &bindings, bytemuck::bytes_of(params), groups)?;
    if device.mode().corrupt == Some(pipeline.entry) {
        for output in outputs.iter().filter(|t| t.numel() > 0) {
            let offset = output.layout().offset * output.dtype().size();
            spoil(device, &output.buffer()?, offset)?;
        }
    }
    Ok(())
}

/// The storage type a kernel is compiled for, and the tensors to hand it: as they are, or as `f32` where tensors are
/// `f16` and the device's kernels cannot read that.
pub fn storage(device: &Device, tensor: &Tensor) -> Result<Tensor> {
    use crate::tensor::DType;
    if tensor.dtype() == DType::F16 && !device.caps().f16 {
        return crate::fuse::cast(tensor, DType::F32);
    }
    Ok(tensor.detach())
}

/// A size or offset as a word of `params`. [`Tensor`]s have at most 2³² elements, so this is for derived sizes.
pub(crate) fn word(op: &'static str, n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::Limit {
        what: op,
        requested: n as u64,
        limit: u64::from(u32::MAX),
    })
}
