//! Every case that an operator registers for benches: is it right, how long does it take, and what stops it.

use std::time::Instant;

use crate::bench::clock::{Clock, sample};
use crate::bench::report::{Bound, Ceilings, Row, RowVerdict, Timing};
use crate::bench::statistics::Budget;
use crate::check::{Outcome, Property, Trial};
use crate::error::{Error, Result};
use crate::gpu::{Device, DeviceOptions};
use crate::ops;
use crate::ops::launch::Ledger;
use crate::ops::op::{Attrs, Case, Op};
use crate::ops::plan_table;
use crate::ops::probe::{inputs_of, upload};
use crate::tensor::Tensor;
use crate::verdict::{TRIAL, Verdict, Verdicts};

/// 90th over 10th percentile beyond which a row is called noisy.
const WIDE: f64 = 1.5;
/// Ratio of the last to the first tenth of the samples, or its inverse, beyond which it is too.
const DRIFT: f64 = 1.2;

/// A case to be timed.
#[derive(Clone)]
pub struct Subject {
    pub op: &'static dyn Op,
    pub case: Case,
}

/// The bench cases whose name, `operator/case`, contains the filter.
pub fn subjects(filter: Option<&str>) -> Vec<Subject> {
    let all =
        ops::all().flat_map(|op| op.cases().into_iter().map(move |case| Subject { op, case }));
    all.filter(|s| s.case.bench)
        .filter(|s| filter.is_none_or(|f| s.name().contains(f)))
        .collect()
}

impl Subject {
    /// `matmul/512`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.op.signature().name, self.case.label)
    }

    /// Shapes and dtypes of the inputs that are there.
    fn shapes(&self) -> String {
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
                (Some(spec), Some(array)) => upload(device, &array, spec.dtype).map(Some),
                _ => Ok(None),
            })
            .collect()
    }

    fn empty_row(&self, verdict: RowVerdict, detail: Option<String>) -> Row {
        Row {
            op: self.op.signature().name.to_string(),
            case: self.case.label.clone(),
            shapes: self.shapes(),
            verdict,
            detail,
            median: None,
            gpu: None,
            wall: None,
            plan: None,
            entries: Vec::new(),
            dropped: Vec::new(),
            n_dispatches: 0,
            bytes: 0,
            flops: 0,
            gb_s: None,
            gflop_s: None,
            percent: None,
            bound: None,
            workspace_bytes: 0,
            compile_cold: None,
            compile_cached: None,
            noisy: false,
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
        let inputs = self.upload(device)?;
        let references: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        let outputs = || ops::run(self.op, &references, &attrs);
        let call = || outputs()?.iter().try_for_each(Tensor::force);
        // Verifies the entry points that the plan picks; the trial then looks at this very case.
        call()?;
        device.wait()?;
        let trial = Trial {
            op: self.op,
            case: self.case.clone(),
            property: match self.case.long_twin {
                true => Property::Repeat,
                false => Property::Value,
            },
            only: None,
        };
        let verdict = match trial.run(device)? {
            Outcome::Right => RowVerdict::Right,
            Outcome::Wrong(detail) => {
                return Ok(self.empty_row(RowVerdict::Wrong, Some(detail)));
            }
            Outcome::Skipped(detail) => {
                return Ok(self.empty_row(RowVerdict::Skipped, Some(detail)));
            }
        };
        let note = self.case.long_twin.then(|| {
            "the definition takes too long at this size; checked by the verification of its kernels".to_string()
        });
        let entries = Ledger::of(device).chosen();
        let before = device.stream_stats().n_dispatches;
        device.reset_high_water();
        let held = device.memory().in_use;
        let results = outputs()?;
        results.iter().try_for_each(Tensor::force)?;
        let memory = device.memory();
        let workspace_bytes = memory.high_water.saturating_sub(memory.in_use.max(held));
        drop(results);
        device.wait()?;
        let n_dispatches = device.stream_stats().n_dispatches - before;
        let half = Budget {
            max_secs: budget.max_secs / 2.0,
            ..*budget
        };
        let gpu = match Clock::of(device) {
            Clock::Timestamps => Some(Clock::Timestamps.time(device, &half, n_dispatches, call)?),
            Clock::Wall => None,
        };
        let wall = Clock::Wall.time(device, &half, n_dispatches, call)?;
        let cost = self.op.cost(&metas, &attrs);
        let dropped = self.dropped(device);
        let timing = gpu.unwrap_or(wall);
        let secs = timing.median;
        let mut row = Row {
            median: Some(secs),
            gpu,
            wall: Some(wall),
            // What was planned is not what runs where a kernel was found wrong or a table has a say.
            plan: match dropped.is_empty() && plan_table::fingerprint(device).is_empty() {
                true => self.op.plan(&metas, &attrs, device.caps()),
                false => None,
            },
            entries: entries
                .iter()
                .map(|(entry, variant)| entry_name(entry, *variant))
                .collect(),
            dropped,
            n_dispatches,
            bytes: cost.bytes,
            flops: cost.flops,
            gb_s: Some(cost.bytes as f64 / secs / 1e9),
            gflop_s: (cost.flops > 0).then(|| cost.flops as f64 / secs / 1e9),
            workspace_bytes,
            noisy: is_noisy(&timing),
            ..self.empty_row(verdict, note)
        };
        row.rate(ceilings);
        Ok(row)
    }

    /// The entry points of the operator that were found wrong here.
    fn dropped(&self, device: &Device) -> Vec<String> {
        let own = format!("{}/", self.op.signature().name);
        let prefix = match device.mode().corrupt {
            Some(spoiled) => format!("{TRIAL}{spoiled}/{own}"),
            None => own,
        };
        let all = Verdicts::of(device).all();
        let wrong = all.iter().filter_map(|(key, verdict)| {
            let entry = key.strip_prefix(&prefix)?.split('/').next()?;
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
        let attrs = self.attrs()?;
        let inputs = self.upload(&device)?;
        let references: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        device.wait()?;
        let call = || -> Result<f64> {
            let begin = Instant::now();
            let outputs = ops::run(self.op, &references, &attrs)?;
            outputs.iter().try_for_each(Tensor::force)?;
            device.wait()?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let first = call()?;
        let budget = Budget {
            min_samples: 3,
            min_secs: 0.0,
            max_samples: 3,
            ..Budget::default()
        };
        Ok((first - sample(&budget, call)?.median).max(0.0))
    }
}

impl Row {
    /// Sets what bounds it and how near to that it comes.
    pub(super) fn rate(&mut self, ceilings: &Ceilings) {
        if let Some(secs) = self.median {
            let (bound, least) = attainable(ceilings, self.bytes, self.flops, self.n_dispatches);
            self.percent = Some(100.0 * least / secs);
            self.bound = Some(bound);
        }
    }
}

/// `softmax_vec4`, with the number of the variant where it is one of several.
fn entry_name(entry: &str, variant: u32) -> String {
    match variant {
        0 => entry.to_string(),
        variant => format!("{entry}.{variant}"),
    }
}

/// What stops a call, and the seconds it takes at least by the ceilings.
pub fn attainable(ceilings: &Ceilings, bytes: u64, flops: u64, n_dispatches: u64) -> (Bound, f64) {
    let memory = ceilings
        .copy_bytes_per_sec(bytes)
        .map_or(0.0, |rate| bytes as f64 / rate);
    let compute = match ceilings.f32_gflop_s > 0.0 {
        true => flops as f64 / (ceilings.f32_gflop_s * 1e9),
        false => 0.0,
    };
    let launch = match ceilings.launch.is_empty() {
        true => 0.0,
        false => n_dispatches as f64 * ceilings.launch_secs(),
    };
    let bounds = [
        (Bound::Memory, memory),
        (Bound::Compute, compute),
        (Bound::Launch, launch),
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
        Ceilings {
            memory: vec![point(1 << 10, 40.0), point(1 << 20, 10.0)],
            f32_gflop_s: 100.0,
            launch: vec![LaunchPoint {
                n_dispatches: 64,
                secs: 1e-5,
            }],
            ..Ceilings::default()
        }
    }

    #[test]
    fn the_curve_is_read_between_its_points_and_kept_beyond() {
        let rate = |bytes| ceilings().copy_bytes_per_sec(bytes).unwrap() / 1e9;
        assert_eq!([rate(1), rate(1 << 10), rate(1 << 30)], [40.0, 40.0, 10.0]);
        assert!((rate(1 << 15) - 25.0).abs() < 1e-9);
        assert_eq!(Ceilings::default().copy_bytes_per_sec(1), None);
    }

    #[test]
    fn the_longest_of_three_times_bounds() {
        let of = |bytes, flops| attainable(&ceilings(), bytes, flops, 1);
        assert_eq!(of(64, 64), (Bound::Launch, 1e-5));
        assert_eq!(of(10 << 20, 1), (Bound::Memory, (10 << 20) as f64 / 10e9));
        assert_eq!(of(64, 1 << 30).0, Bound::Compute);
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
    }
}
