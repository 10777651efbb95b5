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

/// Invocations of a workgroup: on a software driver a quarter as many move a tenth less.
const WORKGROUP: u64 = 256;
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
const ARITHMETIC_QUADS: [u32; 2] = [2, 8];
/// Samples that choose among kernels which move memory; the best one alone is measured in earnest.
const FEW: usize = 3;
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
    part: u32,
    passes_per_workgroup: f32,
    padding: [u32; 3],
}

/// A way to move memory that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// So many parts are read and one is written: a copy, or a sum.
    Sum(u32),
    Read,
    Write,
}

impl Stream {
    const ALL: [Stream; 5] = [
        Stream::Sum(1),
        Stream::Sum(2),
        Stream::Sum(3),
        Stream::Read,
        Stream::Write,
    ];

    fn entry(self) -> &'static str {
        match self {
            Stream::Sum(_) => "sum_memory",
            Stream::Read => "read_memory",
            Stream::Write => "write_memory",
        }
    }

    /// Parts of a working set that are read and that are written.
    fn parts(self) -> (u64, u64) {
        match self {
            Stream::Sum(reads) => (u64::from(reads), 1),
            Stream::Read => (1, 0),
            Stream::Write => (0, 1),
        }
    }

    /// Quads per invocation that are tried; the best is the ceiling. What only reads is tried with many as well, one after
    /// the other: it adds what it has read and looks at the sum, which on a software driver costs more than a load.
    fn quads(self) -> [u32; 3] {
        match self {
            Stream::Read => [1, 4, 16],
            _ => [1, 2, 4],
        }
    }

    fn kernel(self, quads: u32) -> Kernel {
        let mut kernel = kernel(self.entry(), quads, Elem::F32);
        if let Stream::Sum(reads) = self {
            kernel.constants.push(("READS", f64::from(reads)));
        }
        kernel
    }
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
    let memory = Stream::ALL.into_iter().flat_map(|stream| {
        let all = stream.quads().into_iter();
        all.map(move |quads| stream.kernel(quads))
    });
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
    let rate = |stream| memory_rate(device, stream, bytes, budget);
    Ok(MemoryPoint {
        bytes,
        copy_gb_s: rate(Stream::Sum(1))?,
        sum_of_two_gb_s: rate(Stream::Sum(2))?,
        sum_of_three_gb_s: rate(Stream::Sum(3))?,
        read_gb_s: rate(Stream::Read)?,
        write_gb_s: rate(Stream::Write)?,
    })
}

/// Seconds of a copy of this working set.
///
/// Errors: as [`measure`].
pub fn copy_secs(device: &Device, bytes: u64, budget: &Budget) -> Result<f64> {
    Ok(bytes as f64 / 1e9 / memory_rate(device, Stream::Sum(1), bytes, budget)?)
}

/// The best that any of the kernels which move memory so was seen to do. On a machine that others use, the same kernel is
/// three times as slow at one moment as at the next: a ceiling is what can be reached.
fn memory_rate(device: &Device, stream: Stream, bytes: u64, budget: &Budget) -> Result<f64> {
    let few = Budget {
        min_samples: FEW,
        max_samples: FEW,
        min_secs: 0.0,
        ..*budget
    };
    let mut best = (0.0, 0);
    for quads in stream.quads() {
        let rate = memory_rate_by(device, stream, quads, bytes, &few)?;
        if rate > best.0 {
            best = (rate, quads);
        }
    }
    let thorough = memory_rate_by(device, stream, best.1, bytes, budget)?;
    Ok(best.0.max(thorough))
}

fn memory_rate_by(
    device: &Device,
    stream: Stream,
    quads: u32,
    bytes: u64,
    budget: &Budget,
) -> Result<f64> {
    let block = LINE * u64::from(quads);
    let (reads, writes) = stream.parts();
    let part = bytes / (reads + writes) / block * block;
    // What is only read or only written has one block of the other.
    let (read, written) = (block.max(reads * part), block.max(writes * part));
    let moved = (reads + writes) * part;
    let passes = MOVED.div_ceil(moved);
    let blocks = part / block;
    let ones = vec![1.0f32; (read / 4) as usize];
    let x = Tensor::from_slice(device, &ones, [ones.len()])?;
    let expected = match stream {
        Stream::Sum(reads) => reads as f32,
        Stream::Read => 0.0,
        Stream::Write => 0.25,
    };
    let params = MemoryParams {
        blocks: blocks as u32,
        n_workgroups: (blocks * passes) as u32,
        value: match stream {
            // What the sum of an invocation is: it is not written then.
            Stream::Read => quads as f32,
            _ => 0.25,
        },
        part: (part / 16) as u32,
        passes_per_workgroup: match passes {
            1 => 0.0,
            _ => 1.0 / blocks as f32,
        },
        padding: [0; 3],
    };
    let zeros = vec![0.0f32; (written / 4) as usize];
    let y = Tensor::from_slice(device, &zeros, [zeros.len()])?;
    let pipeline = device.pipeline(&stream.kernel(quads))?;
    let call = || dispatch_compiled(device, &pipeline, &[&x], &[&y], &params, blocks * passes);
    call()?;
    believe(device, stream.entry(), &y.to_vec::<f32>()?, expected)?;
    let timing = Clock::of(device).time(device, budget, 1, call)?;
    Ok((moved * passes) as f64 / timing.median / 1e9)
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
            own.take_better(other);
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
    /// By the kernels that read more and less for each byte they write, in proportion. What is read beyond three bytes for
    /// each that is written is read alone. Where a kernel is slower than one that writes more, it is no witness: whatever
    /// is read takes no longer than if some of it were written. `None` without a curve.
    pub fn memory_secs(&self, read: u64, written: u64) -> Option<f64> {
        let set = read + written;
        let copy = self.bytes_per_sec(set, |p| p.copy_gb_s)?;
        let writing = self.bytes_per_sec(set, |p| p.write_gb_s)?.max(copy);
        let two = self.bytes_per_sec(set, |p| p.sum_of_two_gb_s)?.max(copy);
        let three = self.bytes_per_sec(set, |p| p.sum_of_three_gb_s)?.max(two);
        let reading = self.bytes_per_sec(set, |p| p.read_gb_s)?.max(three);
        // Seconds per byte written, where as many times as many are read.
        let mixed = [1.0 / writing, 2.0 / copy, 3.0 / two, 4.0 / three];
        let most = mixed.len() as u64 - 1;
        let alone = read.saturating_sub(most * written);
        let times = ((read - alone) / written.max(1)).min(most - 1);
        let of_more = (read - alone) - times * written;
        let of_fewer = written - of_more;
        let at = times as usize;
        Some(of_fewer as f64 * mixed[at] + of_more as f64 * mixed[at + 1] + alone as f64 / reading)
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
            ..MemoryPoint::default()
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
        assert!((secs(5 * n, n) - (4.0 / 10.0 + 2.0 / 20.0)).abs() < 1e-12);
        // A kernel that only writes and is slower than a copy is no witness.
        assert_eq!(secs(0, n), 1.0 / 10.0);
    }

    #[test]
    fn what_is_read_beside_writing_is_rated_by_sums() {
        let point = MemoryPoint {
            bytes: 1 << 20,
            copy_gb_s: 10.0,
            sum_of_two_gb_s: 15.0,
            sum_of_three_gb_s: 16.0,
            read_gb_s: 8.0,
            write_gb_s: 20.0,
        };
        let ceilings = Ceilings {
            memory: vec![point],
            ..Ceilings::default()
        };
        let n = 1 << 20;
        let near = |read, written, per_mib: f64| {
            let secs = 1e9 * ceilings.memory_secs(read, written).unwrap() / n as f64;
            assert!((secs - per_mib).abs() < 1e-9, "{read}, {written}: {secs}");
        };
        near(0, n, 1.0 / 20.0);
        near(n, n, 2.0 / 10.0);
        near(2 * n, n, 3.0 / 15.0);
        near(3 * n, n, 4.0 / 16.0);
        // Half of what is written goes with two of three, half with three of four.
        near(5 * n, 2 * n, 3.0 / 15.0 + 4.0 / 16.0);
        // The rest of what is read is as fast as what is read beside writing at least.
        near(5 * n, n, 4.0 / 16.0 + 2.0 / 16.0);
        near(n, 0, 1.0 / 16.0);
    }
}
