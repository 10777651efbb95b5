//! Every case that an operator registers for benches: is it right, how long does it take, and what stops it.

use std::time::Instant;

use crate::bench::call::Call;
use crate::bench::clock::{Clock, sample};
use crate::bench::report::{Bound, Ceilings, Row, RowVerdict, Timing, row_name};
use crate::bench::statistics::Budget;
use crate::check::{Outcome, Property, Trial};
use crate::error::{Error, Result};
use crate::fuse::take_given_way;
use crate::gpu::{Device, DeviceOptions, Mode};
use crate::ops;
use crate::ops::launch::Ledger;
use crate::ops::op::{Attrs, Case, Entry, Op, Role};
use crate::ops::plan_table::{self, Choice};
use crate::ops::probe::{inputs_of, place};
use crate::tensor::Tensor;
use crate::verdict::{Verdict, Verdicts, trial_key};

/// 90th over 10th percentile beyond which a row is called noisy.
const WIDE: f64 = 1.5;
/// Ratio of the last to the first tenth of the samples, or its inverse, beyond which it is too.
const DRIFT: f64 = 1.2;

/// A case to be timed, forward or backward.
#[derive(Clone)]
pub struct Subject {
    pub op: &'static dyn Op,
    pub case: Case,
    pub role: Role,
}

/// The bench cases whose name, `operator/case` or `operator/case backward`, contains the filter.
pub fn subjects(filter: Option<&str>) -> Vec<Subject> {
    let mut all = all_subjects(filter);
    all.retain(|s| s.case.bench);
    all
}

/// As [`subjects`], with the small cases that conformance looks at.
pub fn all_subjects(filter: Option<&str>) -> Vec<Subject> {
    ops::all()
        .flat_map(|op| op.cases().into_iter().map(move |case| (op, case)))
        .flat_map(|(op, case)| {
            [Role::Forward, Role::Vjp].map(|role| Subject {
                op,
                case: case.clone(),
                role,
            })
        })
        .filter(|s| s.role == Role::Forward || s.has_gradient())
        .filter(|s| filter.is_none_or(|f| s.name().contains(f)))
        .collect()
}

impl Subject {
    /// `matmul/512`, `matmul/512 backward`.
    pub fn name(&self) -> String {
        let (op, case) = (self.op.signature().name, &self.case.label);
        row_name(op, case, self.role == Role::Vjp)
    }

    /// Whether a gradient flows to one of its inputs and has to be computed.
    fn has_gradient(&self) -> bool {
        let inputs = self.case.inputs.iter().zip(self.op.signature().inputs);
        let mut inputs = inputs.filter_map(|(spec, input)| Some((spec.as_ref()?, input)));
        let flows = inputs.any(|(spec, input)| input.differentiable && spec.dtype.is_float());
        let cost = ops::cost(self.op, Role::Vjp, &self.case.metas(), &self.case.attrs);
        flows && cost.is_ok_and(|cost| cost.bytes() > 0)
    }

    /// Shapes and dtypes of the inputs that are there.
    pub(super) fn shapes(&self) -> String {
        let words = self.case.inputs.iter().flatten();
        let words: Vec<String> = words.map(|s| format!("{}{:?}", s.dtype, s.shape)).collect();
        words.join(" ")
    }

    pub(super) fn attrs(&self) -> Result<Attrs> {
        self.case.attrs.complete(self.op.signature())
    }

    /// The inputs on the device.
    pub(super) fn upload(&self, device: &Device) -> Result<Vec<Option<Tensor>>> {
        self.case
            .inputs
            .iter()
            .zip(inputs_of(&self.case, 1))
            .map(|(spec, array)| match (spec, array) {
                (Some(spec), Some(array)) => place(device, spec, &array).map(Some),
                _ => Ok(None),
            })
            .collect()
    }

    /// The entry points of its role that this device can run and that this case could come to use.
    pub(super) fn candidates(&self, device: &Device) -> Vec<Entry> {
        let mut entries = self.op.entries();
        entries.retain(|e| {
            e.role == self.role && (e.needs)(device.caps()) && self.op.tries(e, &self.case)
        });
        entries
    }

    /// What was chosen in check mode since the ledger was cleared, of this role alone.
    pub(super) fn chosen(&self, device: &Device) -> Vec<Choice> {
        let of_role = |(name, variant): &Choice| {
            let entry = self.op.entry(name, *variant);
            entry.is_some_and(|e| e.role == self.role)
        };
        Ledger::of(device)
            .chosen()
            .into_iter()
            .filter(of_role)
            .collect()
    }

    fn empty_row(&self, verdict: RowVerdict, detail: Option<String>) -> Row {
        let (op, case) = (self.op.signature().name, &self.case.label);
        Row {
            detail,
            backward: self.role == Role::Vjp,
            ..Row::without_time(op, case, self.shapes(), verdict)
        }
    }

    /// Checks the case against its definition, then times it.
    ///
    /// Errors: [`Error::DeviceLost`] alone; whatever else goes wrong is the row's verdict.
    pub fn measure(&self, device: &Device, ceilings: &Ceilings, budget: &Budget) -> Result<Row> {
        match self.try_to_measure(device, ceilings, budget) {
            Ok(row) => Ok(row),
            Err(lost @ Error::DeviceLost { .. }) => Err(lost),
            Err(
                reason @ (Error::Limit { .. }
                | Error::Unsupported { .. }
                | Error::OutOfMemory { .. }),
            ) => Ok(self.empty_row(RowVerdict::Skipped, Some(reason.to_string()))),
            Err(wrong) => Ok(Row {
                dropped: self.dropped(device),
                ..self.empty_row(RowVerdict::Wrong, Some(wrong.to_string()))
            }),
        }
    }

    fn try_to_measure(&self, device: &Device, ceilings: &Ceilings, budget: &Budget) -> Result<Row> {
        let attrs = self.attrs()?;
        let metas = self.case.metas();
        let call = Call::new(self, device)?;
        let _ = take_given_way(device);
        // Verifies the entry points that the plan picks; the trial then looks at this very case.
        call.once()?;
        device.wait()?;
        let note = match self.check(device)? {
            Ok(note) => note.map(str::to_string),
            Err((verdict, detail)) => return Ok(self.empty_row(verdict, Some(detail))),
        };
        let entries = self.entries(device)?;
        let prepared = call.prepare()?;
        let before = device.stream_stats().n_dispatches;
        device.reset_high_water();
        let held = device.memory().in_use;
        let results = call.results(prepared)?;
        let memory = device.memory();
        let workspace_bytes = memory.high_water.saturating_sub(memory.in_use.max(held));
        drop(results);
        device.wait()?;
        let n_dispatches = device.stream_stats().n_dispatches - before;
        if n_dispatches == 0 {
            let reason = "nothing is dispatched: what comes out is a view of what is there";
            return Ok(self.empty_row(RowVerdict::Skipped, Some(reason.to_string())));
        }
        let half = Budget {
            max_secs: budget.max_secs / 2.0,
            ..*budget
        };
        let time = |clock: Clock| {
            let (prepare, work) = (|| call.prepare(), |prepared| call.work(prepared));
            clock.time_prepared(device, &half, n_dispatches, prepare, work)
        };
        let gpu = match Clock::of(device) {
            Clock::Timestamps => Some(time(Clock::Timestamps)?),
            Clock::Wall => None,
        };
        let wall = time(Clock::Wall)?;
        let cost = ops::cost(self.op, self.role, &metas, &attrs)?;
        let mut dropped = self.dropped(device);
        dropped.extend(take_given_way(device));
        let timing = gpu.unwrap_or(wall);
        let secs = timing.median;
        // What was planned is not what runs where a kernel was found wrong or a table has a say; plans are of forward passes.
        let as_planned = self.role == Role::Forward
            && dropped.is_empty()
            && plan_table::fingerprint(device).is_empty();
        let mut row = Row {
            median: Some(secs),
            gpu,
            wall: Some(wall),
            plan: match as_planned {
                true => self.op.plan(&metas, &attrs, device.caps()),
                false => None,
            },
            entries: entries
                .iter()
                .map(|(entry, variant)| entry_name(entry, *variant))
                .collect(),
            dropped,
            n_dispatches,
            bytes: cost.bytes(),
            written_bytes: cost.written_bytes,
            flops: cost.flops,
            gb_s: Some(cost.bytes() as f64 / secs / 1e9),
            gflop_s: (cost.flops > 0).then(|| cost.flops as f64 / secs / 1e9),
            workspace_bytes,
            noisy: is_noisy(&timing),
            ..self.empty_row(RowVerdict::Right, note)
        };
        row.rate(ceilings);
        Ok(row)
    }

    /// Holds the case against its definition, as far as that can be done at its size; a note where it cannot. A backward pass
    /// is differentiated numerically when its kernels are verified, at a size where that can be done.
    fn check(
        &self,
        device: &Device,
    ) -> Result<std::result::Result<Option<&str>, (RowVerdict, String)>> {
        let (property, note) = match (self.role, self.case.long_twin) {
            (Role::Vjp, _) => (
                Property::Repeat,
                Some(
                    "the same bits twice; its kernels are verified at a size at which they can be differentiated numerically",
                ),
            ),
            (Role::Forward, false) => (Property::Value, None),
            (Role::Forward, true) => (
                Property::Repeat,
                Some(
                    "the definition takes too long at this size; checked by the verification of its kernels",
                ),
            ),
        };
        let trial = Trial {
            op: self.op,
            case: self.case.clone(),
            property,
            only: None,
        };
        Ok(match trial.run(device)? {
            Outcome::Right => Ok(note),
            Outcome::Wrong(detail) => Err((RowVerdict::Wrong, detail)),
            Outcome::Skipped(detail) => Err((RowVerdict::Skipped, detail)),
        })
    }

    /// The entry points that a call comes to use, those of the parts of a composite included.
    fn entries(&self, device: &Device) -> Result<Vec<Choice>> {
        let ledger = Ledger::of(device);
        let watched = device.with_mode(Mode {
            guard: true,
            ..device.mode()
        });
        let call = Call::new(self, &watched)?;
        let prepared = call.prepare()?;
        ledger.clear();
        call.work(prepared)?;
        device.wait()?;
        Ok(ledger.chosen())
    }

    /// The entry points of the operator, of its role, that were found wrong here.
    fn dropped(&self, device: &Device) -> Vec<String> {
        let own = format!("{}/", self.op.signature().name);
        let prefix = match device.mode().corrupt {
            Some(spoiled) => trial_key(spoiled, &own),
            None => own,
        };
        let all = Verdicts::of(device).all();
        let wrong = all.iter().filter_map(|(key, verdict)| {
            let entry = key.strip_prefix(&prefix)?.split('/').next()?;
            let mut entries = self.op.entries().into_iter();
            let other = entries.any(|e| e.name() == entry && e.role != self.role);
            if other {
                return None;
            }
            match verdict {
                Verdict::Wrong(detail) => Some(format!("{entry}: {detail}")),
                Verdict::Right => None,
            }
        });
        wrong.collect()
    }

    /// What the first call on a fresh device takes beside a later one: compiling the kernels, mostly.
    ///
    /// Errors: those of the call.
    pub fn first_call(&self, options: &DeviceOptions) -> Result<f64> {
        let device = Device::open(DeviceOptions {
            verify: false,
            ..options.clone()
        })?;
        let call = Call::new(self, &device)?;
        device.wait()?;
        let once = || -> Result<f64> {
            let prepared = call.prepare()?;
            let begin = Instant::now();
            call.work(prepared)?;
            device.wait()?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let first = once()?;
        let budget = Budget {
            min_samples: 3,
            min_secs: 0.0,
            max_samples: 3,
            ..Budget::default()
        };
        Ok((first - sample(&budget, once)?.median).max(0.0))
    }
}

impl Row {
    /// Sets what bounds it and how near to that it comes.
    pub(super) fn rate(&mut self, ceilings: &Ceilings) {
        if let Some(secs) = self.median {
            let work = Work {
                read_bytes: self.bytes - self.written_bytes,
                written_bytes: self.written_bytes,
                flops: self.flops,
                n_dispatches: self.n_dispatches,
                on_device: self.gpu.is_some(),
            };
            let (bound, least) = attainable(ceilings, &work);
            self.percent = Some(100.0 * least / secs);
            self.bound = Some(bound);
            self.above_ceiling = self.is_above_ceiling();
        }
    }
}

/// `softmax_vec4`, with the number of the variant where it is one of several.
pub(super) fn entry_name(entry: &str, variant: u32) -> String {
    match variant {
        0 => entry.to_string(),
        variant => format!("{entry}.{variant}"),
    }
}

/// What a call cannot avoid.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub flops: u64,
    pub n_dispatches: u64,
    /// Whether the time it is held against is by the device's timestamps: launching costs less there than by wall clock.
    pub on_device: bool,
}

/// What stops a call, and the seconds it takes at least by the ceilings.
pub fn attainable(ceilings: &Ceilings, work: &Work) -> (Bound, f64) {
    let memory = ceilings.memory_secs(work.read_bytes, work.written_bytes);
    let compute = match ceilings.f32_gflop_s > 0.0 {
        true => work.flops as f64 / (ceilings.f32_gflop_s * 1e9),
        false => 0.0,
    };
    let bounds = [
        (Bound::Memory, memory.unwrap_or(0.0)),
        (Bound::Compute, compute),
        (
            Bound::Launch,
            work.n_dispatches as f64 * ceilings.launch_secs(work.on_device),
        ),
    ];
    bounds
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("there are three")
}

/// Whether the samples spread or drift too far to tell small differences.
fn is_noisy(timing: &Timing) -> bool {
    timing.p90 > WIDE * timing.p10 || !(1.0 / DRIFT..DRIFT).contains(&timing.drift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{LaunchPoint, MemoryPoint};

    fn ceilings() -> Ceilings {
        let point = |bytes, copy_gb_s| MemoryPoint {
            bytes,
            copy_gb_s,
            ..MemoryPoint::default()
        };
        let launch = |secs| LaunchPoint {
            n_dispatches: 64,
            secs,
        };
        Ceilings {
            memory: vec![point(1 << 10, 40.0), point(1 << 20, 10.0)],
            f32_gflop_s: 100.0,
            launch: vec![launch(1e-5)],
            launch_on_device: vec![launch(1e-6)],
            ..Ceilings::default()
        }
    }

    #[test]
    fn the_longest_of_three_times_bounds() {
        let of = |bytes: u64, flops, on_device| {
            let work = Work {
                read_bytes: bytes / 2,
                written_bytes: bytes / 2,
                flops,
                n_dispatches: 1,
                on_device,
            };
            attainable(&ceilings(), &work)
        };
        assert_eq!(of(64, 64, false), (Bound::Launch, 1e-5));
        // Time on the device is held against what launching takes there.
        assert_eq!(of(64, 64, true), (Bound::Launch, 1e-6));
        let megabytes = (10 << 20) as f64;
        assert_eq!(of(10 << 20, 1, true), (Bound::Memory, megabytes / 10e9));
        assert_eq!(of(64, 1 << 30, true).0, Bound::Compute);
    }

    #[test]
    fn a_row_above_the_ceiling_says_so() {
        let mut row = Row {
            median: Some(1e-3),
            bytes: 10 << 20,
            ..Row::without_time("sum", "a", String::new(), RowVerdict::Right)
        };
        row.rate(&ceilings());
        assert!(row.above_ceiling && row.percent.unwrap() > 104.0);
        row.median = Some(1.1e-3);
        row.rate(&ceilings());
        assert!(!row.above_ceiling);
    }

    #[test]
    fn every_operator_with_kernels_has_a_bench_case() {
        let with = subjects(None);
        let without: Vec<&str> = ops::all()
            .filter(|op| !op.entries().is_empty() || op.function().is_some())
            .map(|op| op.signature().name)
            .filter(|name| with.iter().all(|s| s.op.signature().name != *name))
            .collect();
        assert_eq!(without, Vec::<&str>::new());
        let backward = |op: &str| {
            let of_op = with.iter().filter(|s| s.op.signature().name == op);
            of_op.filter(|s| s.role == Role::Vjp).count()
        };
        assert!(backward("matmul") > 0 && backward("gelu") == 1);
        assert_eq!([backward("argmax"), backward("adam_step")], [0, 0]);
    }
}
