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
/// Working sets of the curve, in bytes: from the caches of one core to far beyond those of all. Closer together where the
/// last cache ends, since a row is rated by the two about its own.
const WORKING_SETS: [u64; 11] = [
    64 << 10,
    256 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
    8 << 20,
    16 << 20,
    32 << 20,
    64 << 20,
    128 << 20,
    256 << 20,
];
/// Bytes that a dispatch moves at least: a few milliseconds on lavapipe, and twenty microseconds on the fastest card.
const MOVED: u64 = 32 << 20;
/// Quads per invocation that are tried; the best is the ceiling. Many independent ones hide latency on a GPU; on a software
/// driver eight quads of accumulators do not fit the registers.
/// What only reads is tried with many as well, one after the other: it adds what it has read and looks at the sum, which on a
/// software driver costs more than a load.
const MEMORY_QUADS: [u32; 3] = [1, 2, 4];
const READ_QUADS: [u32; 3] = [1, 4, 16];
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
        .flat_map(|entry| {
            quads_of(entry)
                .iter()
                .map(move |quads| kernel(entry, *quads, Elem::F32))
        });
    let arithmetic = [Elem::F32, Elem::F16]
        .into_iter()
        .flat_map(|elem| ARITHMETIC_QUADS.map(|quads| kernel("multiply_add", quads, elem)));
    let launch = kernel("nothing", 1, Elem::F32);
    memory.chain(arithmetic).chain([launch]).collect()
}

/// Quads per invocation that a kernel which moves memory is tried with.
fn quads_of(entry: &str) -> &'static [u32] {
    match entry {
        "read_memory" => &READ_QUADS,
        _ => &MEMORY_QUADS,
    }
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
    let launch_on_device = match device.caps().timestamps {
        true => LAUNCHES
            .iter()
            .filter(|n| **n <= BATCH)
            .map(|n| launch_on_device(device, *n, budget))
            .collect::<Result<_>>()?,
        false => Vec::new(),
    };
    show("transfers");
    let (upload_gb_s, download_gb_s) = transfers(device, budget)?;
    show("readback");
    Ok(Ceilings {
        memory,
        f32_gflop_s,
        f16_gflop_s,
        launch,
        launch_on_device,
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
    let rates = quads_of(entry)
        .iter()
        .map(|quads| memory_rate_by(device, entry, *quads, bytes, budget));
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

/// Time on the device of so many dispatches of an empty kernel in one pass, as kernels are timed.
fn launch_on_device(device: &Device, n_dispatches: u32, budget: &Budget) -> Result<LaunchPoint> {
    let y = Tensor::empty(device, DType::F32, Shape::of(&[1]))?;
    let pipeline = device.pipeline(&kernel("nothing", 1, Elem::F32))?;
    let pass = || {
        (0..n_dispatches).try_for_each(|_| dispatch_compiled(device, &pipeline, &[], &[&y], &(), 1))
    };
    pass()?;
    let timing = Clock::Timestamps.time(device, budget, u64::from(n_dispatches), pass)?;
    Ok(LaunchPoint {
        n_dispatches,
        secs: timing.median / f64::from(n_dispatches),
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
        let launches = self.launch.iter_mut().zip(&other.launch);
        let on_device = self.launch_on_device.iter_mut();
        for (own, other) in launches.chain(on_device.zip(&other.launch_on_device)) {
            own.secs = own.secs.min(other.secs);
        }
        self.upload_gb_s = self.upload_gb_s.max(other.upload_gb_s);
        self.download_gb_s = self.download_gb_s.max(other.download_gb_s);
        if other.readback.median < self.readback.median {
            self.readback = other.readback;
        }
    }

    /// Seconds in which so many bytes can be read and so many written, by the curves at the working set of both.
    ///
    /// As much as is both read and written moves as a copy does. The rest is read or written alone, as fast as the kernels
    /// that only read or write, or as a copy where that is faster: what is read alone takes no longer than if half of it
    /// were written. `None` without a curve.
    pub fn memory_secs(&self, read: u64, written: u64) -> Option<f64> {
        let set = read + written;
        let copy = self.bytes_per_sec(set, |p| p.copy_gb_s)?;
        let reading = self.bytes_per_sec(set, |p| p.read_gb_s)?.max(copy);
        let writing = self.bytes_per_sec(set, |p| p.write_gb_s)?.max(copy);
        let both = read.min(written);
        let secs = |bytes: u64, rate: f64| bytes as f64 / rate;
        Some(secs(2 * both, copy) + secs(read - both, reading) + secs(written - both, writing))
    }

    /// A rate at this working set: between the points of the curve in proportion to the logarithm of the size, beyond its
    /// ends as at them.
    fn bytes_per_sec(&self, bytes: u64, of: fn(&MemoryPoint) -> f64) -> Option<f64> {
        let place = |p: &MemoryPoint| (p.bytes as f64).ln();
        let at = (bytes.max(1) as f64).ln();
        let after = self.memory.iter().position(|p| place(p) >= at);
        let rate = match after {
            None => of(self.memory.last()?),
            Some(0) => of(&self.memory[0]),
            Some(i) => {
                let (a, b) = (&self.memory[i - 1], &self.memory[i]);
                let share = (at - place(a)) / (place(b) - place(a));
                of(a) + share * (of(b) - of(a))
            }
        };
        Some(rate * 1e9)
    }

    /// Seconds that a dispatch costs at least where many go together: on the device, or by wall clock. 0 where that was not
    /// measured.
    pub fn launch_secs(&self, on_device: bool) -> f64 {
        let points = match on_device {
            true => &self.launch_on_device,
            false => &self.launch,
        };
        let least = points.iter().map(|p| p.secs).reduce(f64::min);
        least.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings() -> Ceilings {
        let point = |bytes, copy_gb_s, read_gb_s, write_gb_s| MemoryPoint {
            bytes,
            copy_gb_s,
            read_gb_s,
            write_gb_s,
        };
        Ceilings {
            memory: vec![
                point(1 << 10, 40.0, 80.0, 20.0),
                point(1 << 20, 10.0, 20.0, 5.0),
            ],
            ..Ceilings::default()
        }
    }

    #[test]
    fn the_curve_is_read_between_its_points_and_kept_beyond() {
        let rate = |bytes| ceilings().bytes_per_sec(bytes, |p| p.copy_gb_s).unwrap() / 1e9;
        assert_eq!([rate(1), rate(1 << 10), rate(1 << 30)], [40.0, 40.0, 10.0]);
        assert!((rate(1 << 15) - 25.0).abs() < 1e-9);
        assert_eq!(Ceilings::default().memory_secs(1, 1), None);
    }

    #[test]
    fn what_is_read_alone_is_rated_by_reading() {
        let n = 1 << 30;
        let secs = |read, written| 1e9 * ceilings().memory_secs(read, written).unwrap() / n as f64;
        assert_eq!(secs(n, n), 2.0 / 10.0);
        assert_eq!(secs(n, 0), 1.0 / 20.0);
        assert!((secs(3 * n, n) - (2.0 / 10.0 + 2.0 / 20.0)).abs() < 1e-12);
        // A kernel that only writes and is slower than a copy is no witness.
        assert_eq!(secs(0, n), 1.0 / 10.0);
    }
}
