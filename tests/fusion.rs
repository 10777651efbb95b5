//! Fusion: the same numbers as one operator at a time, storage written once, the number of kernels, a steady state.

mod support_runtime;

use std::process::ExitCode;

use affekt::gpu::{Limits, Mode};
use affekt::tensor::TensorReadback;
use affekt::{DType, Device, DeviceOptions, Result, Tensor};
use support_runtime::{Numbers, Test, bits, open, options};

fn main() -> ExitCode {
    let tests: &[Test] = &[
        ("interleavings_equal_eager_and_host", interleavings),
        (
            "interleavings_equal_eager_at_default_limits",
            default_interleavings,
        ),
        ("repetition_gives_the_same_bits", repetition),
        ("pending_values_outlive_updates", pending_across_updates),
        ("a_tape_outlives_updates", tape_across_updates),
        ("flush_and_trim_compute_nothing", flush_computes_nothing),
        ("long_chains_end_at_the_cap", cap),
        ("many_operands_end_at_the_binding_limit", many_operands),
        ("stretched_values_are_computed_once", stretched_once),
        ("waiting_views_do_not_pile_up", waiting_views),
        (
            "gradients_that_need_each_other_are_computed_once",
            shared_gradients,
        ),
        ("kernels_used_unverified_are_verified_later", verified_later),
        ("casts_between_integers_keep_the_bits", integer_casts),
        ("a_thousand_steps_allocate_nothing", steady_state),
    ];
    support_runtime::main(tests)
}

fn eager(device: &Device) -> Device {
    device.with_mode(Mode {
        fuse: false,
        ..device.mode()
    })
}

fn dispatches<R>(device: &Device, work: impl FnOnce() -> Result<R>) -> Result<(u64, R)> {
    let before = device.stream_stats().n_dispatches;
    let out = work()?;
    Ok((device.stream_stats().n_dispatches - before, out))
}

// --- Random interleavings ---

/// One dense array on the host, in wrapping integers: what every device must agree with.
#[derive(Clone, Debug, PartialEq)]
struct Host {
    shape: Vec<usize>,
    data: Vec<i32>,
}

impl Host {
    fn at(&self, place: &[usize]) -> i32 {
        let skip = place.len() - self.shape.len();
        let flat = place[skip..]
            .iter()
            .zip(&self.shape)
            .fold(0, |flat, (i, n)| flat * n + if *n == 1 { 0 } else { *i });
        self.data[flat]
    }

    fn from_fn(shape: &[usize], f: impl Fn(&[usize]) -> i32) -> Host {
        let n: usize = shape.iter().product();
        let data = (0..n)
            .map(|flat| {
                let mut place = vec![0; shape.len()];
                let mut rest = flat;
                for axis in (0..shape.len()).rev() {
                    place[axis] = rest % shape[axis];
                    rest /= shape[axis];
                }
                f(&place)
            })
            .collect();
        Host {
            shape: shape.to_vec(),
            data,
        }
    }

    fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
        let rank = a.len().max(b.len());
        let from_right = |s: &[usize], i: usize| if i < s.len() { s[s.len() - 1 - i] } else { 1 };
        let mut out: Vec<usize> = (0..rank)
            .map(|i| match (from_right(a, i), from_right(b, i)) {
                (x, y) if x == y => Some(x),
                (1, y) => Some(y),
                (x, 1) => Some(x),
                _ => None,
            })
            .collect::<Option<_>>()?;
        out.reverse();
        Some(out)
    }
}

/// One value, held by a fusing handle, by an eager one, and on the host where that computes the same.
#[derive(Clone)]
struct Held {
    fused: Tensor,
    eager: Tensor,
    host: Option<Host>,
}

struct Program<'a> {
    fused: &'a Device,
    eager: &'a Device,
    numbers: Numbers,
    integers: bool,
    held: Vec<Held>,
    late: Vec<(TensorReadback<i32>, Held)>,
    late_floats: Vec<(TensorReadback<f32>, Held)>,
}

const SHAPES: [&[usize]; 6] = [&[4, 6], &[6], &[4, 1], &[1], &[2, 4, 6], &[]];

impl Program<'_> {
    fn upload(&mut self) -> Result<Held> {
        let shape = SHAPES[self.numbers.below(SHAPES.len())];
        let n = shape.iter().product();
        if self.integers {
            let data: Vec<i32> = (0..n).map(|_| self.numbers.next() as i32).collect();
            Ok(Held {
                fused: Tensor::from_slice(self.fused, &data, shape)?,
                eager: Tensor::from_slice(self.eager, &data, shape)?,
                host: Some(Host {
                    shape: shape.to_vec(),
                    data,
                }),
            })
        } else {
            let data = self.numbers.units(n);
            Ok(Held {
                fused: Tensor::from_slice(self.fused, &data, shape)?,
                eager: Tensor::from_slice(self.eager, &data, shape)?,
                host: None,
            })
        }
    }

    fn pick(&mut self) -> Held {
        let at = self.numbers.below(self.held.len());
        self.held[at].clone()
    }

    fn map(
        x: &Held,
        on_device: impl Fn(&Tensor) -> Result<Tensor>,
        on_host: impl Fn(&Host) -> Host,
    ) -> Result<Held> {
        Ok(Held {
            fused: on_device(&x.fused)?,
            eager: on_device(&x.eager)?,
            host: x.host.as_ref().map(on_host),
        })
    }

    /// Adds or multiplies.
    fn combine(a: &Held, b: &Held, add: bool) -> Result<Option<Held>> {
        let Some(shape) = Host::broadcast(a.fused.shape(), b.fused.shape()) else {
            return Ok(None);
        };
        let on_device = |a: &Tensor, b: &Tensor| if add { a.add(b) } else { a.mul(b) };
        let host = a.host.as_ref().zip(b.host.as_ref()).map(|(a, b)| {
            Host::from_fn(&shape, |at| match add {
                true => a.at(at).wrapping_add(b.at(at)),
                false => a.at(at).wrapping_mul(b.at(at)),
            })
        });
        Ok(Some(Held {
            fused: on_device(&a.fused, &b.fused)?,
            eager: on_device(&a.eager, &b.eager)?,
            host,
        }))
    }

    fn reduce(&mut self, x: &Held) -> Result<Held> {
        let rank = x.fused.shape().len();
        if rank == 0 {
            return Ok(x.clone());
        }
        let axis = self.numbers.below(rank);
        let largest = self.numbers.below(2) == 0;
        Self::map(
            x,
            |t| match largest {
                true => t.max(&[axis as i64], true),
                false => t.sum(&[axis as i64], true),
            },
            |h| {
                let mut shape = h.shape.clone();
                let n = std::mem::replace(&mut shape[axis], 1);
                Host::from_fn(&shape, |at| {
                    let mut at = at.to_vec();
                    let line = (0..n).map(|i| {
                        at[axis] = i;
                        h.at(&at)
                    });
                    match largest {
                        true => line.max().expect("no axis is empty"),
                        false => line.fold(0, i32::wrapping_add),
                    }
                })
            },
        )
    }

    fn view(&mut self, x: &Held) -> Result<Held> {
        let rank = x.fused.shape().len();
        match self.numbers.below(3) {
            0 => {
                let back: Vec<i64> = (0..rank as i64).rev().collect();
                Self::map(
                    x,
                    |t| t.permute(&back),
                    |h| {
                        let shape: Vec<usize> = h.shape.iter().rev().copied().collect();
                        Host::from_fn(&shape, |at| {
                            let at: Vec<usize> = at.iter().rev().copied().collect();
                            h.at(&at)
                        })
                    },
                )
            }
            1 => {
                let n = x.fused.numel();
                let shape = if n % 4 == 0 { vec![4, n / 4] } else { vec![n] };
                Self::map(
                    x,
                    |t| t.reshape(shape.as_slice()),
                    |h| Host {
                        shape: shape.clone(),
                        data: h.data.clone(),
                    },
                )
            }
            _ if rank < 3 && x.fused.numel() <= 24 => {
                let mut shape = vec![2];
                shape.extend_from_slice(x.fused.shape());
                Self::map(
                    x,
                    |t| t.expand(shape.as_slice()),
                    |h| Host::from_fn(&shape, |at| h.at(at)),
                )
            }
            _ => Ok(x.clone()),
        }
    }

    fn check(&self, x: &Held) -> Result<()> {
        if self.integers {
            Self::same(x.fused.to_vec()?, x)
        } else {
            Self::same_floats(x.fused.to_vec()?, x)
        }
    }

    fn same(got: Vec<i32>, x: &Held) -> Result<()> {
        let host = x.host.as_ref().expect("integers have a host");
        assert_eq!(x.eager.to_vec::<i32>()?, host.data, "eager");
        assert_eq!(got, host.data, "fused");
        Ok(())
    }

    fn same_floats(got: Vec<f32>, x: &Held) -> Result<()> {
        assert_eq!(bits(&got), bits(&x.eager.to_vec::<f32>()?));
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let x = self.pick();
        match self.numbers.below(20) {
            0..=6 => {
                let y = self.pick();
                let add = self.numbers.below(2) == 0;
                if let Some(z) = Self::combine(&x, &y, add)? {
                    self.held.push(z);
                }
            }
            // An update: the handle is swapped, what was made of the old value is not.
            7 | 8 => {
                let at = self.numbers.below(self.held.len());
                if let Some(z) = Self::combine(&self.held[at], &x, true)? {
                    if z.fused.shape() == self.held[at].fused.shape() {
                        self.held[at] = z;
                    }
                }
            }
            9 => {
                let number = self.numbers.below(5) as i32 - 2;
                let z = Self::map(
                    &x,
                    |t| t.mul(number),
                    |h| Host::from_fn(&h.shape, |at| h.at(at).wrapping_mul(number)),
                )?;
                self.held.push(z);
            }
            10 => {
                let z = self.reduce(&x)?;
                self.held.push(z);
            }
            11 | 12 => {
                let z = self.view(&x)?;
                self.held.push(z);
            }
            13 => {
                let z = self.upload()?;
                self.held.push(z);
            }
            14 | 15 => {
                let at = self.numbers.below(self.held.len());
                if self.held.len() > 2 {
                    self.held.swap_remove(at);
                }
            }
            16 => self.check(&x)?,
            17 if self.integers => self.late.push((x.fused.to_vec_async()?, x)),
            17 => self.late_floats.push((x.fused.to_vec_async()?, x)),
            18 => {
                if !self.late.is_empty() {
                    let (readback, x) = self.late.swap_remove(0);
                    Self::same(readback.wait()?, &x)?;
                }
                if !self.late_floats.is_empty() {
                    let (readback, x) = self.late_floats.swap_remove(0);
                    Self::same_floats(readback.wait()?, &x)?;
                }
            }
            _ => {
                self.fused.flush()?;
                if self.numbers.below(3) == 0 {
                    self.fused.trim();
                }
            }
        }
        Ok(())
    }
}

fn run_programs(device: &Device, seeds: std::ops::Range<u64>) -> Result<()> {
    let eager = eager(device);
    for seed in seeds {
        let mut program = Program {
            fused: device,
            eager: &eager,
            numbers: Numbers(seed),
            // Integers have an oracle on the host, floats only the eager handle.
            integers: seed % 4 != 0,
            held: Vec::new(),
            late: Vec::new(),
            late_floats: Vec::new(),
        };
        for _ in 0..3 {
            let x = program.upload()?;
            program.held.push(x);
        }
        for _ in 0..25 {
            program.step()?;
        }
        for x in program.held.clone() {
            program.check(&x)?;
        }
        for (readback, x) in std::mem::take(&mut program.late) {
            Program::same(readback.wait()?, &x)?;
        }
        for (readback, x) in std::mem::take(&mut program.late_floats) {
            Program::same_floats(readback.wait()?, &x)?;
        }
    }
    Ok(())
}

fn interleavings() -> Result<()> {
    run_programs(&open(), 0..1000)
}

fn default_interleavings() -> Result<()> {
    let device = Device::open(DeviceOptions {
        limits: Limits::Default,
        ..options()
    })?;
    run_programs(&device, 1000..1100)
}

fn repetition() -> Result<()> {
    let run = |device: &Device| -> Result<Vec<u32>> {
        let mut numbers = Numbers(21);
        let x = Tensor::from_slice(device, &numbers.units(4099 * 2), [2, 4099])?;
        let w = Tensor::from_slice(device, &numbers.units(4099), [4099])?.requires_grad()?;
        let y = x.mul(&w)?.gelu()?.add(&w)?.softmax(-1)?;
        let loss = y.mul(&x)?.sum(&[], false)?;
        let gradients = loss.backward()?;
        let mut out = bits(&gradients.get(&w).expect("it is used").to_vec::<f32>()?);
        out.extend(bits(&loss.to_vec::<f32>()?));
        Ok(out)
    };
    let device = open();
    let first = run(&device)?;
    for _ in 0..3 {
        assert!(run(&device)? == first);
        device.trim();
    }
    assert!(run(&open())? == first, "another device");
    assert!(run(&eager(&device))? == first, "one operator at a time");
    Ok(())
}

// --- Storage is written once ---

fn pending_across_updates() -> Result<()> {
    let device = open();
    let mut w = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], [3])?;
    let mut waiting = Vec::new();
    for step in 0..50 {
        let pending = w.mul(10.0)?;
        let view = w.reshape([3, 1])?.expand([3, 2])?;
        waiting.push((pending, view, step as f32));
        w = w.add(1.0)?;
        if step % 3 == 0 {
            // The update is computed, and its buffer is a fresh one.
            w.softmax(0)?;
        }
        if step % 7 == 0 {
            device.trim();
        }
    }
    waiting.reverse();
    for (pending, view, step) in waiting {
        let w = [1.0 + step, 2.0 + step, 3.0 + step];
        assert_eq!(pending.to_vec::<f32>()?, w.map(|x| 10.0 * x));
        assert_eq!(view.to_vec::<f32>()?, [w[0], w[0], w[1], w[1], w[2], w[2]]);
    }
    assert_eq!(w.to_vec::<f32>()?, [51.0, 52.0, 53.0]);
    Ok(())
}

fn tape_across_updates() -> Result<()> {
    let device = open();
    let w = Tensor::from_slice(&device, &[1.0f32, -2.0, 0.5], [3])?.requires_grad()?;
    let x = Tensor::from_slice(&device, &[0.3f32, 0.7, -1.1], [3])?;
    let loss = |w: &Tensor| {
        w.mul(&x)?
            .gelu()?
            .mul(w)?
            .softmax(0)?
            .mul(w)?
            .sum(&[], false)
    };
    let expected = loss(&w)?.backward()?;
    let expected = bits(&expected.get(&w).expect("it is used").to_vec::<f32>()?);
    // The graph is recorded, then the parameter goes through updates that reuse every buffer they can, then the walk.
    let recorded = loss(&w)?;
    let mut updated = w.detach();
    for _ in 0..20 {
        updated = updated.mul(-0.5)?.add(&x)?;
        updated.softmax(0)?;
        Tensor::from_slice(&device, &[9.0f32; 3], [3])?;
        loss(&updated)?;
    }
    assert_ne!(updated.to_vec::<f32>()?, w.to_vec::<f32>()?);
    let gradients = recorded.backward()?;
    let got = bits(&gradients.get(&w).expect("it is used").to_vec::<f32>()?);
    assert_eq!(got, expected);
    Ok(())
}

fn flush_computes_nothing() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    let y = x.add(1.0)?.mul(3.0)?;
    let (n, ()) = dispatches(&device, || {
        device.flush()?;
        device.wait()?;
        device.trim();
        drop(y.clone());
        Ok(())
    })?;
    assert_eq!(n, 0);
    let (n, numbers) = dispatches(&device, || y.to_vec::<f32>())?;
    assert_eq!((n, numbers), (1, vec![6.0, 9.0]));
    let (n, _) = dispatches(&device, || y.to_vec::<f32>())?;
    assert_eq!(n, 0, "a value is computed once");
    Ok(())
}

// --- How many kernels ---

fn cap() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1i32, 2], [2])?;
    for (length, kernels) in [(1, 1), (32, 1), (33, 2), (100, 4)] {
        let (n, numbers) = dispatches(&device, || {
            let y = (0..length).try_fold(x.clone(), |y, _| y.add(1))?;
            y.to_vec::<i32>()
        })?;
        assert_eq!(numbers, [1 + length, 2 + length]);
        assert_eq!(n, kernels, "{length}");
    }
    // Squaring: every value is used twice, and a kernel still has one node for each.
    let (n, numbers) = dispatches(&device, || {
        let y = (0..20).try_fold(x.clone(), |y, _| y.add(&y))?;
        y.to_vec::<i32>()
    })?;
    assert_eq!((n, numbers), (1, vec![1 << 20, 2 << 20]));
    Ok(())
}

fn many_operands() -> Result<()> {
    for limits in [Limits::Full, Limits::Default] {
        let device = Device::open(DeviceOptions {
            limits,
            ..options()
        })?;
        let bindings = device.caps().max_storage_buffers.min(16) as u64;
        let terms = (0..60i32)
            .map(|i| Tensor::from_slice(&device, &[i, 2 * i], [2]))
            .collect::<Result<Vec<_>>>()?;
        let (n, numbers) = dispatches(&device, || {
            let first = terms[0].clone();
            terms[1..]
                .iter()
                .try_fold(first, |y, t| y.add(t))?
                .to_vec::<i32>()
        })?;
        assert_eq!(numbers, [1770, 3540]);
        // The first kernel takes all bindings but one for its output, the others one less for what they go on from.
        let expected = 1 + (60 - (bindings - 1)).div_ceil(bindings - 2);
        assert_eq!(n, expected, "{limits:?}");
    }
    Ok(())
}

fn stretched_once() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1i32, 2, 3], [3])?;
    let (n, numbers) = dispatches(&device, || {
        let row = x.add(1)?.mul(2)?;
        let wide = row.expand([2, 3])?;
        wide.add(&wide.mul(&row)?)?.to_vec::<i32>()
    })?;
    assert_eq!(numbers, [20, 42, 72, 20, 42, 72]);
    assert_eq!(n, 2, "the row, then all that is made of it");
    Ok(())
}

fn waiting_views() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1i32, 2], [1, 2])?;
    let n = 100_000;
    let build = || (0..n).try_fold(x.clone(), |y, _| y.add(1)?.permute(&[1, 0]));
    drop(build()?);
    assert_eq!(build()?.to_vec::<i32>()?, [1 + n, 2 + n]);
    // The same where stretching is what keeps values apart.
    let build = || {
        (0..n).try_fold(x.clone(), |y, _| {
            y.add(1)?.reshape([2]).and_then(|y| y.expand([1, 2]))
        })
    };
    drop(build()?);
    assert_eq!(build()?.to_vec::<i32>()?, [1 + n, 2 + n]);
    Ok(())
}

fn shared_gradients() -> Result<()> {
    let device = open();
    let data: Vec<f32> = (0..12).map(|i| i as f32 / 7.0 - 1.0).collect();
    let a = Tensor::from_slice(&device, &data, [12])?.requires_grad()?;
    let b = Tensor::from_slice(&device, &data, [12])?.requires_grad()?;
    // The gradient of a is a view of what the gradient of b is made of.
    let y = a.reshape([12])?.mul(3.0)?.mul(&b)?.gelu()?;
    let dy = Tensor::from_slice(&device, &[0.5f32; 12], [12])?;
    let (n, gradients) = dispatches(&device, || y.backward_from(&dy))?;
    assert_eq!(n, 1);
    let (n, _) = dispatches(&device, || {
        let read = [&a, &b].map(|t| gradients.get(t).expect("it is used").to_vec::<f32>());
        read.into_iter().collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(n, 0);
    Ok(())
}

// --- Verification ---

fn integer_casts() -> Result<()> {
    let device = open();
    // With verification, which must expect the same.
    let device = device.with_mode(Mode {
        verify: true,
        ..device.mode()
    });
    let x = Tensor::from_slice(&device, &[-3i32, 2, i32::MIN, i32::MAX], [4])?;
    let y = x.cast(DType::U32)?;
    assert_eq!(
        y.to_vec::<u32>()?,
        [4_294_967_293, 2, 2_147_483_648, 2_147_483_647]
    );
    let back = y.add(&y)?.cast(DType::I32)?;
    assert_eq!(back.to_vec::<i32>()?, [-6, 4, 0, -2]);
    Ok(())
}

fn verified_later() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    let (n, _) = dispatches(&device, || x.add(1.0)?.gelu()?.to_vec::<f32>())?;
    assert_eq!(n, 1);
    let verifying = device.with_mode(Mode {
        verify: true,
        ..device.mode()
    });
    let x = Tensor::from_slice(&verifying, &[1.0f32, 2.0], [2])?;
    let run = || x.add(1.0)?.gelu()?.to_vec::<f32>();
    let (n, _) = dispatches(&device, run)?;
    assert_eq!(n, 2, "a probe, then the value");
    let (n, _) = dispatches(&device, run)?;
    assert_eq!(n, 1);
    Ok(())
}

// --- Steady state ---

fn steady_state() -> Result<()> {
    let device = open();
    let mut numbers = Numbers(31);
    let mut w = Tensor::from_slice(&device, &numbers.units(24), [4, 6])?.requires_grad()?;
    let mut b = Tensor::from_slice(&device, &numbers.units(6), [6])?.requires_grad()?;
    let mut late: Vec<TensorReadback<f32>> = Vec::new();
    let mut settled = None;
    for step in 1..=1000 {
        let x = Tensor::from_slice(&device, &numbers.units(72), [3, 4, 6])?;
        let scale = w.sum(&[0], false)?;
        let h = x.mul(&w)?.add(&b)?.gelu()?.layer_norm(&scale, &b, 1e-5)?;
        let loss = h.softmax(-1)?.mul(&x)?.sum(&[], false)?;
        let gradients = loss.backward()?;
        let update = |p: &Tensor| -> Result<Tensor> {
            let g = gradients.get(p).expect("the loss depends on it").detach();
            p.detach().add(&g.mul(-0.01)?)?.requires_grad()
        };
        (w, b) = (update(&w)?, update(&b)?);
        // The loss is read three steps late, which is what a progress bar does.
        late.push(loss.to_vec_async()?);
        if late.len() > 3 {
            late.remove(0).wait()?;
        }
        if step == 100 || step == 1000 {
            late.drain(..).try_for_each(|r| r.wait().map(drop))?;
            let mut memory = device.memory();
            memory.high_water = 0;
            let now = (memory, device.n_pipelines());
            assert_eq!(*settled.get_or_insert(now), now, "step {step}");
        }
    }
    Ok(())
}
