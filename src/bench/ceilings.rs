//! What an adapter can do at most, measured through the same stack as the operators: memory, arithmetic, launches,
//! transfers. Every kernel's result is looked at before its time is believed.

use std::time::Instant;

use bytemuck::{Pod, Zeroable};

use crate::bench::clock::{Clock, sample};
use crate::bench::report::{Ceilings, LaunchPoint, MemoryPoint, Timing};
use crate::bench::statistics::{Budget, Samples};
use crate::error::{Error, Result};
use crate::gpu::shader::{Elem, Source};
use crate::gpu::stream::BATCH;
use crate::gpu::{Device, DeviceClass, Kernel};
use crate::ops::launch::dispatch_compiled;
use crate::tensor::{DType, Shape, Tensor};

/// Invocations of a workgroup.
const WORKGROUP: u64 = 64;
/// Bytes of a quad of each invocation of a workgroup.
const LINE: u64 = 16 * WORKGROUP;
/// Working sets of the curve, in bytes: from the caches of one core to far beyond those of all.
const WORKING_SETS: [u64; 7] = [
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
];
/// Bytes that a dispatch moves at least: a few milliseconds on lavapipe, and twenty microseconds on the fastest card.
const MOVED: u64 = 32 << 20;
/// Quads per invocation that are tried; the best is the ceiling. Many independent ones hide latency on a GPU; on a software
/// driver eight quads of accumulators do not fit the registers.
const MEMORY_QUADS: [u32; 2] = [1, 4];
const ARITHMETIC_QUADS: [u32; 2] = [2, 8];
/// Dispatches per submission whose cost is measured.
const LAUNCHES: [u32; 4] = [1, 16, 64, 256];
/// Bytes of an upload and of a download.
const TRANSFER: usize = 16 << 20;
/// Readbacks of one number whose times give the 99th percentile.
const READBACKS: usize = 300;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MemoryParams {
    blocks: u32,
    n_workgroups: u32,
    value: f32,
    padding: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MultiplyAddParams {
    steps: u32,
    n: u32,
    factor: f32,
    term: f32,
}

/// The kernels that ceilings are measured with.
pub fn kernels() -> Vec<Kernel> {
    let memory = ["copy_memory", "read_memory", "write_memory"]
        .into_iter()
        .flat_map(|entry| MEMORY_QUADS.map(|quads| kernel(entry, quads, Elem::F32)));
    let arithmetic = [Elem::F32, Elem::F16]
        .into_iter()
        .flat_map(|elem| ARITHMETIC_QUADS.map(|quads| kernel("multiply_add", quads, elem)));
    let launch = kernel("nothing", 1, Elem::F32);
    memory.chain(arithmetic).chain([launch]).collect()
}

fn kernel(entry: &'static str, quads: u32, elem: Elem) -> Kernel {
    let source = match entry {
        "multiply_add" => Source::file(
            "bench/multiply_add",
            include_str!("../../shaders/bench/multiply_add.wgsl"),
        ),
        "nothing" => Source::file(
            "bench/nothing",
            include_str!("../../shaders/bench/nothing.wgsl"),
        ),
        _ => Source::file(
            "bench/memory",
            include_str!("../../shaders/bench/memory.wgsl"),
        ),
    };
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64), ("QUADS", f64::from(quads))],
        elem,
    }
}

/// Measures all of them; `show` is told what is being measured.
///
/// Errors: [`Error::KernelWrong`] if a kernel of the measurement itself gives wrong numbers here; those of a lost device.
pub fn measure(device: &Device, budget: &Budget, show: &mut dyn FnMut(&str)) -> Result<Ceilings> {
    let mut memory = Vec::new();
    for bytes in WORKING_SETS {
        // Both halves of a copy must fit, and the host's memory is the device's on a software driver.
        let most = match device.caps().class {
            DeviceClass::Cpu => 64 << 20,
            _ => device.caps().max_binding_bytes,
        };
        if bytes <= most {
            show(&format!("memory, {} KiB", bytes >> 10));
            memory.push(memory_point(device, bytes, budget)?);
        }
    }
    show("arithmetic in f32");
    let f32_gflop_s = multiply_add(device, Elem::F32, budget)?;
    let f16_gflop_s = match device.caps().f16 {
        true => {
            show("arithmetic in f16");
            Some(multiply_add(device, Elem::F16, budget)?)
        }
        false => None,
    };
    show("launches");
    let launch = LAUNCHES
        .iter()
        .map(|n| launch_point(device, *n, budget))
        .collect::<Result<_>>()?;
    show("transfers");
    let (upload_gb_s, download_gb_s) = transfers(device, budget)?;
    show("readback");
    Ok(Ceilings {
        memory,
        f32_gflop_s,
        f16_gflop_s,
        launch,
        upload_gb_s,
        download_gb_s,
        readback: readback(device)?,
        cooperative: device.cooperative_shapes(),
    })
}

/// Rates at a working set of `bytes`.
fn memory_point(device: &Device, bytes: u64, budget: &Budget) -> Result<MemoryPoint> {
    let rate = |entry: &'static str| memory_rate(device, entry, bytes, budget);
    Ok(MemoryPoint {
        bytes,
        copy_gb_s: rate("copy_memory")?,
        read_gb_s: rate("read_memory")?,
        write_gb_s: rate("write_memory")?,
    })
}

/// Seconds of a copy of this working set.
///
/// Errors: as [`measure`].
pub fn copy_secs(device: &Device, bytes: u64, budget: &Budget) -> Result<f64> {
    Ok(bytes as f64 / 1e9 / memory_rate(device, "copy_memory", bytes, budget)?)
}

/// The best of the kernels that move memory so.
fn memory_rate(device: &Device, entry: &'static str, bytes: u64, budget: &Budget) -> Result<f64> {
    let rates = MEMORY_QUADS.map(|quads| memory_rate_by(device, entry, quads, bytes, budget));
    rates
        .into_iter()
        .try_fold(0.0, |best: f64, rate| Ok(best.max(rate?)))
}

fn memory_rate_by(
    device: &Device,
    entry: &'static str,
    quads: u32,
    bytes: u64,
    budget: &Budget,
) -> Result<f64> {
    let block = LINE * u64::from(quads);
    // Half of a copy's working set is read, half is written; the other kernels have one buffer and one block.
    let (read, written) = match entry {
        "copy_memory" => (bytes / 2, bytes / 2),
        "read_memory" => (bytes, block),
        _ => (block, bytes),
    };
    let passes = MOVED.div_ceil(bytes);
    let blocks = read.max(written) / block;
    let ones = vec![1.0f32; (read / 4) as usize];
    let x = Tensor::from_slice(device, &ones, [ones.len()])?;
    let value = match entry {
        // What the sum of an invocation is.
        "read_memory" => quads as f32,
        _ => 0.25,
    };
    let params = MemoryParams {
        blocks: blocks as u32,
        n_workgroups: (blocks * passes) as u32,
        value,
        padding: 0,
    };
    let zeros = vec![0.0f32; (written / 4) as usize];
    let y = Tensor::from_slice(device, &zeros, [zeros.len()])?;
    let pipeline = device.pipeline(&kernel(entry, quads, Elem::F32))?;
    let call = || dispatch_compiled(device, &pipeline, &[&x], &[&y], &params, blocks * passes);
    call()?;
    let expected = match entry {
        "copy_memory" => 1.0,
        "read_memory" => 0.0,
        _ => 0.25,
    };
    believe(device, entry, &y.to_vec::<f32>()?, expected)?;
    let timing = Clock::of(device).time(device, budget, 1, call)?;
    Ok((bytes * passes) as f64 / timing.median / 1e9)
}

/// The best of the kernels that multiply and add.
fn multiply_add(device: &Device, elem: Elem, budget: &Budget) -> Result<f64> {
    let rates = ARITHMETIC_QUADS.map(|quads| multiply_add_by(device, elem, quads, budget));
    rates
        .into_iter()
        .try_fold(0.0, |best: f64, rate| Ok(best.max(rate?)))
}

fn multiply_add_by(device: &Device, elem: Elem, quads: u32, budget: &Budget) -> Result<f64> {
    let n: u64 = match device.caps().class {
        DeviceClass::Cpu => 1 << 14,
        DeviceClass::Integrated => 1 << 18,
        DeviceClass::Discrete => 1 << 20,
    };
    let params = MultiplyAddParams {
        steps: 1024,
        n: n as u32,
        factor: 0.5,
        term: 0.5,
    };
    let y = Tensor::empty(device, DType::F32, Shape::of(&[n as usize]))?;
    let pipeline = device.pipeline(&kernel("multiply_add", quads, elem))?;
    let call = || dispatch_compiled(device, &pipeline, &[], &[&y], &params, n / WORKGROUP);
    call()?;
    believe(device, "multiply_add", &y.to_vec::<f32>()?, 32.0)?;
    let timing = Clock::of(device).time(device, budget, 1, call)?;
    // A multiplication and an addition for each element of a quad.
    let flops = n * u64::from(params.steps) * u64::from(quads) * 4 * 2;
    Ok(flops as f64 / timing.median / 1e9)
}

/// Errors: [`Error::KernelWrong`] unless every number is the expected one.
fn believe(device: &Device, what: &'static str, got: &[f32], expected: f32) -> Result<()> {
    match got.iter().position(|x| *x != expected) {
        None => Ok(()),
        Some(i) => Err(Error::KernelWrong {
            op: what,
            adapter: device.adapter().label(),
            detail: format!("element {i} is {}, expected {expected}", got[i]),
        }),
    }
}

/// Wall clock of recording, submitting and waiting, over the dispatches of one submission.
fn launch_point(device: &Device, n_dispatches: u32, budget: &Budget) -> Result<LaunchPoint> {
    let y = Tensor::empty(device, DType::F32, Shape::of(&[1]))?;
    let pipeline = device.pipeline(&kernel("nothing", 1, Elem::F32))?;
    let submission = || -> Result<()> {
        for _ in 0..n_dispatches {
            dispatch_compiled(device, &pipeline, &[], &[&y], &(), 1)?;
        }
        device.wait()
    };
    submission()?;
    device.stream().set_batch_size(n_dispatches.max(BATCH));
    let timed = sample(budget, || {
        let begin = Instant::now();
        submission()?;
        Ok(begin.elapsed().as_secs_f64())
    });
    device.stream().set_batch_size(BATCH);
    Ok(LaunchPoint {
        n_dispatches,
        secs: timed?.median / f64::from(n_dispatches),
    })
}

fn transfers(device: &Device, budget: &Budget) -> Result<(f64, f64)> {
    let data: Vec<f32> = (0..TRANSFER / 4).map(|i| i as f32).collect();
    let up = sample(budget, || {
        let begin = Instant::now();
        let x = Tensor::from_slice(device, &data, [data.len()])?;
        // What is uploaded goes to the device with the next submission.
        dispatch_compiled(
            device,
            &*device.pipeline(&kernel("nothing", 1, Elem::F32))?,
            &[],
            &[&x],
            &(),
            1,
        )?;
        device.wait()?;
        Ok(begin.elapsed().as_secs_f64())
    })?;
    let x = Tensor::from_slice(device, &data, [data.len()])?;
    if x.to_vec::<f32>()? != data {
        return Err(Error::KernelWrong {
            op: "upload",
            adapter: device.adapter().label(),
            detail: "what comes back differs from what was sent".to_string(),
        });
    }
    let down = sample(budget, || {
        let begin = Instant::now();
        x.to_vec::<f32>()?;
        Ok(begin.elapsed().as_secs_f64())
    })?;
    let rate = |timing: Timing| TRANSFER as f64 / timing.median / 1e9;
    Ok((rate(up), rate(down)))
}

fn readback(device: &Device) -> Result<Timing> {
    let x = Tensor::from_slice(device, &[1.0f32], [1])?;
    x.to_vec::<f32>()?;
    let mut samples = Samples::default();
    for _ in 0..READBACKS {
        let begin = Instant::now();
        x.to_vec::<f32>()?;
        samples.push(begin.elapsed().as_secs_f64());
    }
    Ok(samples.timing().unwrap_or_default())
}

impl Ceilings {
    /// Takes what another measurement of the same adapter found better.
    pub fn take_better(&mut self, other: &Ceilings) {
        for (own, other) in self.memory.iter_mut().zip(&other.memory) {
            own.copy_gb_s = own.copy_gb_s.max(other.copy_gb_s);
            own.read_gb_s = own.read_gb_s.max(other.read_gb_s);
            own.write_gb_s = own.write_gb_s.max(other.write_gb_s);
        }
        self.f32_gflop_s = self.f32_gflop_s.max(other.f32_gflop_s);
        let rates = [self.f16_gflop_s, other.f16_gflop_s];
        self.f16_gflop_s = rates.into_iter().flatten().reduce(f64::max);
        for (own, other) in self.launch.iter_mut().zip(&other.launch) {
            own.secs = own.secs.min(other.secs);
        }
        self.upload_gb_s = self.upload_gb_s.max(other.upload_gb_s);
        self.download_gb_s = self.download_gb_s.max(other.download_gb_s);
        if other.readback.median < self.readback.median {
            self.readback = other.readback;
        }
    }

    /// Bytes per second that a copy of this working set reaches: between the points of the curve in proportion to the
    /// logarithm of the size, beyond its ends as at them.
    pub fn copy_bytes_per_sec(&self, bytes: u64) -> Option<f64> {
        let place = |p: &MemoryPoint| (p.bytes as f64).ln();
        let at = (bytes.max(1) as f64).ln();
        let after = self.memory.iter().position(|p| place(p) >= at);
        let rate = match after {
            None => self.memory.last()?.copy_gb_s,
            Some(0) => self.memory[0].copy_gb_s,
            Some(i) => {
                let (a, b) = (&self.memory[i - 1], &self.memory[i]);
                let share = (at - place(a)) / (place(b) - place(a));
                a.copy_gb_s + share * (b.copy_gb_s - a.copy_gb_s)
            }
        };
        Some(rate * 1e9)
    }

    /// Seconds that a dispatch costs where many share a submission.
    pub fn launch_secs(&self) -> f64 {
        self.launch
            .iter()
            .map(|p| p.secs)
            .fold(f64::INFINITY, f64::min)
    }
}
