//! The tape: gradients, refusals, checkpoints, memory, and how many dispatches a walk takes.

mod support_runtime;

use std::process::ExitCode;

use affekt::{DType, Device, Error, Gradients, Result, Tensor, no_grad};
use support_runtime::{Numbers, Test, bits, open};

fn main() -> ExitCode {
    let tests: &[Test] = &[
        ("gradient_reversal_turns_the_gradient", reversal),
        ("a_checkpoint_changes_no_bits", checkpoint_bits),
        ("a_checkpoint_keeps_no_intermediates", checkpoint_memory),
        (
            "a_checkpoint_of_constants_has_no_gradient",
            checkpoint_of_constants,
        ),
        ("no_grad_nests_and_survives_panics", pausing),
        ("a_second_walk_is_refused", second_walk),
        ("a_gradient_of_a_gradient_is_refused", second_derivative),
        ("detached_tensors_stop_the_gradient", detached),
        ("backward_checks_shape_and_dtype", upstream_shapes),
        (
            "a_tensor_used_many_times_sums_its_gradients",
            used_many_times,
        ),
        ("long_chains_drop_and_walk", long_chains),
        ("long_chains_of_views_drop_and_walk", long_chains_of_views),
        ("memory_returns_after_backward", memory_returns),
        ("the_tape_keeps_only_what_derivatives_read", kept_operands),
        ("ten_operators_are_one_dispatch", forward_dispatches),
        ("backward_is_one_dispatch_per_group", backward_dispatches),
        (
            "sums_of_broadcast_gradients_share_a_kernel",
            broadcast_gradients,
        ),
        ("handing_on_a_gradient_costs_nothing", handed_on),
        ("gradients_of_large_groups_are_right", large_groups),
        (
            "extremes_of_very_many_share_the_gradient",
            extremes_of_very_many,
        ),
    ];
    support_runtime::main(tests)
}

fn leaf(device: &Device, numbers: &mut Numbers, shape: &[usize]) -> Result<Tensor> {
    let n = shape.iter().product();
    Tensor::from_slice(device, &numbers.units(n), shape)?.requires_grad()
}

fn gradient(gradients: &Gradients, tensor: &Tensor) -> Result<Vec<f32>> {
    gradients
        .get(tensor)
        .expect("the loss depends on it")
        .to_vec()
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error @ Error::Gradient { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn dispatches<R>(device: &Device, work: impl FnOnce() -> Result<R>) -> Result<(u64, R)> {
    let before = device.stream_stats().n_dispatches;
    let out = work()?;
    Ok((device.stream_stats().n_dispatches - before, out))
}

fn reversal() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, -2.0, 3.0], [3])?.requires_grad()?;
    let dy = Tensor::from_slice(&device, &[3.0f32, 0.5, -1.0], [3])?;
    for (lambda, expected) in [
        (2.0, [-6.0, -1.0, 2.0]),
        (0.0, [0.0; 3]),
        (-1.0, [3.0, 0.5, -1.0]),
    ] {
        let (n, y) = dispatches(&device, || x.gradient_reversal(lambda))?;
        assert_eq!(n, 0);
        assert_eq!(y.to_vec::<f32>()?, [1.0, -2.0, 3.0]);
        let got = gradient(&y.backward_from(&dy)?, &x)?;
        assert_eq!(got, expected, "{lambda}");
    }
    // What lies before gets the opposite, what follows does not.
    let w = Tensor::from_slice(&device, &[2.0f32; 3], [3])?.requires_grad()?;
    let loss = x
        .mul(2.0)?
        .gradient_reversal(0.5)?
        .mul(&w)?
        .sum(&[], false)?;
    let gradients = loss.backward()?;
    assert_eq!(gradient(&gradients, &x)?, [-2.0; 3]);
    assert_eq!(gradient(&gradients, &w)?, [2.0, -4.0, 6.0]);
    assert!(matches!(
        x.gradient_reversal(f64::NAN),
        Err(Error::Attribute { .. })
    ));
    Ok(())
}

/// A model whose parameters are used inside and outside of its segments, and its input as well.
struct Model {
    w: Tensor,
    b: Tensor,
    inner: Tensor,
}

#[derive(Clone, Copy, PartialEq)]
enum Keep {
    All,
    Checkpoint,
    Nested,
}

impl Model {
    fn new(device: &Device) -> Result<Self> {
        let mut numbers = Numbers(7);
        Ok(Model {
            w: leaf(device, &mut numbers, &[6, 5])?,
            b: leaf(device, &mut numbers, &[5])?,
            inner: leaf(device, &mut numbers, &[5])?,
        })
    }

    fn part(&self, keep: bool) -> impl Fn(&Tensor) -> Result<Tensor> + Send + Clone + 'static {
        let (w, b, inner) = (self.w.clone(), self.b.clone(), self.inner.clone());
        move |x: &Tensor| {
            let segment = {
                let (w, b) = (w.clone(), b.clone());
                move |x: &Tensor| x.mul(&w)?.add(&b)?.gelu()?.add(x)
            };
            let y = if keep {
                segment(x)?
            } else {
                x.checkpoint(segment)?
            };
            let y = y.layer_norm(&inner, &b, 1e-5)?.mul(x)?;
            y.softmax(-1)?.mul(&w)
        }
    }

    /// Loss and gradients, as bits.
    fn run(&self, x: &Tensor, keep: Keep) -> Result<Vec<Vec<u32>>> {
        let h = x.mul(&self.w)?;
        let part = self.part(keep != Keep::Nested);
        let y = match keep {
            Keep::All => part(&h)?,
            _ => h.checkpoint(part)?,
        };
        // The segment's input and its parameters are used again after it.
        let loss = y.add(&h)?.mul(&self.w)?.add(&self.b)?.sum(&[], false)?;
        let gradients = loss.backward()?;
        let mut out = vec![bits(&loss.to_vec::<f32>()?)];
        for t in [x, &self.w, &self.b, &self.inner] {
            if t.has_grad() {
                out.push(bits(&gradient(&gradients, t)?));
            }
        }
        assert_eq!(gradients.len(), out.len() - 1);
        Ok(out)
    }
}

fn checkpoint_bits() -> Result<()> {
    let device = open();
    let model = Model::new(&device)?;
    let mut numbers = Numbers(8);
    for wanted in [true, false] {
        let x = leaf(&device, &mut numbers, &[3, 6, 5])?;
        let x = if wanted { x } else { x.detach() };
        let expected = model.run(&x, Keep::All)?;
        for keep in [Keep::Checkpoint, Keep::Nested] {
            assert!(model.run(&x, keep)? == expected, "input wants: {wanted}");
        }
    }
    Ok(())
}

fn checkpoint_memory() -> Result<()> {
    let device = open();
    let n = 1 << 14;
    let mut numbers = Numbers(9);
    let x = leaf(&device, &mut numbers, &[64, n / 64])?;
    let segment = |x: &Tensor| -> Result<Tensor> {
        let mut y = x.clone();
        for _ in 0..6 {
            y = y.softmax(-1)?;
        }
        Ok(y)
    };
    let held = |checkpoint: bool| -> Result<u64> {
        let before = device.memory().in_use;
        let y = if checkpoint {
            x.checkpoint(segment)?
        } else {
            segment(&x)?
        };
        Ok(device.memory().in_use - before).inspect(|_| drop(y))
    };
    assert_eq!(held(false)?, 6 * 4 * n as u64);
    assert_eq!(held(true)?, 4 * n as u64);
    Ok(())
}

fn checkpoint_of_constants() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
    let y = x.checkpoint(|x| x.mul(3.0))?;
    assert_eq!(y.to_vec::<f32>()?, [3.0, 6.0]);
    assert!(y.sum(&[], false)?.backward()?.is_empty());
    let w = Tensor::from_slice(&device, &[5.0f32, 7.0], [2])?.requires_grad()?;
    let inside = w.clone();
    let y = x.checkpoint(move |x| x.mul(&inside))?;
    let gradients = y.sum(&[], false)?.backward()?;
    assert_eq!(gradients.len(), 1);
    assert_eq!(gradient(&gradients, &w)?, [1.0, 2.0]);
    // The identity, and an error inside the second run.
    let y = w.checkpoint(|x| Ok(x.clone()))?;
    assert_eq!(gradient(&y.sum(&[], false)?.backward()?, &w)?, [1.0; 2]);
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let y =
        w.checkpoint(
            move |x| match runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => x.mul(2.0),
                _ => x.softmax(5),
            },
        )?;
    assert!(matches!(
        y.sum(&[], false)?.backward(),
        Err(Error::Attribute { .. })
    ));
    Ok(())
}

fn pausing() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32], [1])?.requires_grad()?;
    let records = || x.mul(2.0).is_ok_and(|y| y.has_grad());
    assert!(records());
    no_grad(|| {
        assert!(!records());
        no_grad(|| assert!(!records()));
        assert!(!records());
    });
    assert!(records());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        no_grad(|| no_grad(|| std::panic::resume_unwind(Box::new("on purpose"))))
    }));
    assert!(panicked.is_err());
    assert!(records());
    // Another thread is not paused.
    no_grad(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(records())).join().unwrap();
        });
    });
    // A checkpoint inside of no_grad records nothing, and leaves the pause as it was.
    no_grad(|| {
        let y = x.checkpoint(|x| x.mul(2.0)).unwrap();
        assert!(!y.has_grad() && !records());
    });
    Ok(())
}

fn second_walk() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?.requires_grad()?;
    let shared = x.gelu()?;
    let (a, b) = (shared.sum(&[], false)?, shared.mul(2.0)?.sum(&[], false)?);
    a.backward()?;
    for refused in [a.backward(), b.backward()] {
        let message = message(refused);
        assert!(message.contains("freed by an earlier walk"), "{message}");
    }
    // A fresh pass works.
    x.gelu()?.sum(&[], false)?.backward()?;
    Ok(())
}

fn second_derivative() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?.requires_grad()?;
    let gradients = x.mul(&x)?.sum(&[], false)?.backward()?;
    let g = gradients.get(&x).unwrap();
    let message = message(g.mul(&x)?.sum(&[], false)?.backward());
    assert!(message.contains("only first derivatives"), "{message}");
    // Detached it is a number like any other.
    let gradients = g.detach().mul(&x)?.sum(&[], false)?.backward()?;
    assert_eq!(gradient(&gradients, &x)?, [2.0, 4.0]);
    Ok(())
}

fn detached() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[3.0f32], [1])?.requires_grad()?;
    let y = x.mul(&x.detach())?;
    assert_eq!(gradient(&y.backward()?, &x)?, [3.0]);
    let refused = x.detach().mul(2.0)?.backward();
    assert!(message(refused).contains("depends on nothing"));
    let counts = Tensor::from_slice(&device, &[1i32], [1])?;
    assert!(matches!(
        counts.requires_grad(),
        Err(Error::Gradient { .. })
    ));
    // A tensor that nothing depends on has no gradient.
    let other = Tensor::from_slice(&device, &[3.0f32], [1])?.requires_grad()?;
    assert!(x.mul(2.0)?.backward()?.get(&other).is_none());
    Ok(())
}

fn upstream_shapes() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?.requires_grad()?;
    let y = x.mul(2.0)?;
    let wide = Tensor::from_slice(&device, &[1.0f32; 3], [3])?;
    let error = y.backward_from(&wide).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }));
    assert!(error.to_string().contains("[3]") && error.to_string().contains("[2]"));
    let half = Tensor::from_slice(&device, &[half::f16::ONE; 2], [2])?;
    assert!(matches!(y.backward_from(&half), Err(Error::Dtype { .. })));
    let refused = message(y.backward());
    assert!(refused.contains("[2]"), "{refused}");
    // None of the refusals has used the graph up.
    let dy = Tensor::from_slice(&device, &[1.0f32, 10.0], [2])?;
    assert_eq!(gradient(&y.backward_from(&dy)?, &x)?, [2.0, 20.0]);
    let h = x.cast(DType::F16)?.mul(2.0)?.sum(&[], false)?;
    assert_eq!(gradient(&h.backward()?, &x)?, [2.0, 2.0]);
    Ok(())
}

fn used_many_times() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[0.5f32, 1.0, -2.0], [3])?.requires_grad()?;
    let mut sum = x.mul(0.0)?;
    for i in 0..500 {
        // Elementwise uses and kernels' uses in turn.
        sum = match i % 5 {
            0 => sum.add(&x.sum(&[0], true)?)?,
            _ => sum.add(&x)?,
        };
    }
    let gradients = sum.sum(&[], false)?.backward()?;
    assert_eq!(gradient(&gradients, &x)?, [400.0 + 300.0; 3]);
    Ok(())
}

const LONG: usize = 100_000;

fn long_chains() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32], [1])?.requires_grad()?;
    let build = || (0..LONG).try_fold(x.clone(), |y, _| y.add(1.0));
    drop(build()?);
    let y = build()?;
    assert_eq!(gradient(&y.backward()?, &x)?, [1.0]);
    assert_eq!(y.item::<f32>()?, 1.0 + LONG as f32);
    // One whose derivatives are computed, and that ends in the loss from two sides.
    let y = (0..LONG / 10).try_fold(x.clone(), |y, i| match i % 2 {
        0 => y.mul(2.0),
        _ => y.mul(0.5),
    })?;
    assert_eq!(gradient(&y.add(&y)?.backward()?, &x)?, [2.0]);
    Ok(())
}

fn long_chains_of_views() -> Result<()> {
    let device = open();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0], [1, 2])?.requires_grad()?;
    let y = (0..LONG).try_fold(x.clone(), |y, _| y.permute(&[1, 0]))?;
    let dy = Tensor::from_slice(&device, &[3.0f32, 4.0], [1, 2])?;
    drop(y.clone());
    assert_eq!(gradient(&y.backward_from(&dy)?, &x)?, [3.0, 4.0]);
    drop(y);
    // Views between elementwise operators end every kernel; what waits must not pile up.
    let n = LONG / 20;
    let step = |y: Tensor, _| -> Result<Tensor> { y.add(1.0)?.permute(&[1, 0]) };
    let y = (0..n).try_fold(x.clone(), step)?;
    drop((0..n).try_fold(x.clone(), step)?);
    drop((0..n).try_fold(x.detach(), step)?);
    assert_eq!(gradient(&y.backward_from(&dy)?, &x)?, [3.0, 4.0]);
    assert_eq!(y.to_vec::<f32>()?, [1.0 + n as f32, 2.0 + n as f32]);
    Ok(())
}

fn memory_returns() -> Result<()> {
    let device = open();
    let model = Model::new(&device)?;
    let mut numbers = Numbers(10);
    let x = leaf(&device, &mut numbers, &[3, 6, 5])?;
    for keep in [Keep::All, Keep::Checkpoint, Keep::Nested] {
        let before = device.memory().in_use;
        model.run(&x, keep)?;
        assert_eq!(device.memory().in_use, before);
    }
    // While the loss and the gradients live, only these take memory.
    let before = device.memory().in_use;
    let y = model.part(true)(&x)?.softmax(-1)?;
    let loss = y.mul(&y)?.sum(&[], false)?;
    drop(y);
    let gradients = loss.backward()?;
    let small = 256;
    assert_eq!(gradients.len(), 4);
    let dx = 512;
    assert_eq!(
        device.memory().in_use - before,
        small + dx + 3 * small,
        "loss, dx, dw, db, dinner"
    );
    Ok(())
}

fn kept_operands() -> Result<()> {
    let device = open();
    let n = 1 << 12;
    let mut numbers = Numbers(11);
    let x = leaf(&device, &mut numbers, &[64, n / 64])?;
    let b = leaf(&device, &mut numbers, &[n / 64])?;
    let bytes = 4 * n as u64;
    // add reads neither operand backward, so the softmax under it is kept once, for its own gradient.
    let before = device.memory().in_use;
    let y = {
        let a = x.softmax(-1)?;
        let c = a.sum(&[1], true)?;
        c.add(&b)?.add(&a)?
    };
    y.export()?;
    let c = 256;
    let kept = device.memory().in_use - before;
    assert_eq!(
        kept,
        2 * bytes,
        "the softmax and y, and not the sum of {c} bytes"
    );
    y.backward_from(&y.detach())?;
    Ok(())
}

fn ten(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = x.mul(w)?.add(b)?.gelu()?.mul(2.0)?.add(x)?;
    y.gelu_tanh()?.mul(w)?.add(0.5)?.mul(x)?.add(b)
}

fn forward_dispatches() -> Result<()> {
    let device = open();
    let mut numbers = Numbers(12);
    let x = leaf(&device, &mut numbers, &[3, 4, 5])?;
    let w = leaf(&device, &mut numbers, &[4, 5])?;
    let b = leaf(&device, &mut numbers, &[5])?;
    let before = device.memory().in_use;
    let (none, y) = dispatches(&device, || ten(&x, &w, &b))?;
    assert_eq!(none, 0);
    assert_eq!(
        device.memory().in_use,
        before,
        "pending values take no memory"
    );
    let (one, _) = dispatches(&device, || y.to_vec::<f32>())?;
    assert_eq!(one, 1);
    Ok(())
}

fn backward_dispatches() -> Result<()> {
    for limits in [affekt::gpu::Limits::Full, affekt::gpu::Limits::Default] {
        let device = Device::open(affekt::DeviceOptions {
            limits,
            ..support_runtime::options()
        })?;
        let eager = device.with_mode(affekt::gpu::Mode {
            fuse: false,
            ..device.mode()
        });
        let run = |device: &Device| -> Result<(u64, Vec<Vec<f32>>)> {
            let mut numbers = Numbers(12);
            let x = leaf(device, &mut numbers, &[3, 4, 5])?;
            let w = leaf(device, &mut numbers, &[4, 5])?;
            let b = leaf(device, &mut numbers, &[5])?;
            let dy = Tensor::from_slice(device, &numbers.units(60), [3, 4, 5])?;
            let y = ten(&x, &w, &b)?;
            let (n, gradients) = dispatches(device, || y.backward_from(&dy))?;
            let read = [&x, &w, &b].map(|t| gradient(&gradients, t));
            Ok((n, read.into_iter().collect::<Result<_>>()?))
        };
        let (n, fused) = run(&device)?;
        let (_, expected) = run(&eager)?;
        // dx and what is summed for dw and db in one group, and the two sums.
        assert_eq!(n, 1 + 2, "{limits:?}");
        for (fused, expected) in fused.iter().zip(&expected) {
            for (a, b) in fused.iter().zip(expected) {
                assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} and {b}");
            }
        }
    }
    Ok(())
}

fn broadcast_gradients() -> Result<()> {
    let device = open();
    let mut numbers = Numbers(13);
    let x = leaf(&device, &mut numbers, &[8, 6])?;
    let scale = leaf(&device, &mut numbers, &[6])?;
    let shift = leaf(&device, &mut numbers, &[6])?;
    // Below a kernel: what is summed for scale and shift, and the gradient that the kernel asks for, are one group.
    let y = x.softmax(-1)?.mul(&scale)?.gelu()?.add(&shift)?.gelu()?;
    y.export()?;
    let dy = Tensor::from_slice(&device, &numbers.units(48), [8, 6])?;
    let (n, _) = dispatches(&device, || y.backward_from(&dy))?;
    assert_eq!(n, 1 + 2 + 1, "one group, two sums, the gradient of softmax");
    Ok(())
}

fn handed_on() -> Result<()> {
    let device = open();
    let mut numbers = Numbers(14);
    let x = leaf(&device, &mut numbers, &[8, 6])?;
    let bias = leaf(&device, &mut numbers, &[6])?;
    let y = x.add(&bias)?;
    let dy = Tensor::from_slice(&device, &numbers.units(48), [8, 6])?;
    let (n, gradients) = dispatches(&device, || y.backward_from(&dy))?;
    assert_eq!(n, 1, "the sum for the bias");
    assert_eq!(gradient(&gradients, &x)?, dy.to_vec::<f32>()?);
    Ok(())
}

fn large_groups() -> Result<()> {
    for limits in [affekt::gpu::Limits::Full, affekt::gpu::Limits::Default] {
        let device = Device::open(affekt::DeviceOptions {
            limits,
            ..support_runtime::options()
        })?;
        let mut numbers = Numbers(15);
        // Twenty factors: more outputs and leaves than any device binds at once.
        let factors = (0..20)
            .map(|_| {
                let data: Vec<f32> = numbers.units(12).iter().map(|x| 1.0 + 0.1 * x).collect();
                Tensor::from_slice(&device, &data, [3, 4])?.requires_grad()
            })
            .collect::<Result<Vec<_>>>()?;
        let first = factors[0].clone();
        let product = factors[1..].iter().try_fold(first, |y, f| y.mul(f))?;
        let gradients = product.sum(&[], false)?.backward()?;
        let values = factors
            .iter()
            .map(|f| f.to_vec::<f32>())
            .collect::<Result<Vec<_>>>()?;
        for (k, factor) in factors.iter().enumerate() {
            let got = gradient(&gradients, factor)?;
            for (i, got) in got.iter().enumerate() {
                let others = (0..20).filter(|j| *j != k);
                let expected: f64 = others.map(|j| f64::from(values[j][i])).product();
                let error = (f64::from(*got) - expected).abs();
                assert!(error < 1e-5 * expected.abs(), "{got} and {expected}");
            }
        }
    }
    Ok(())
}

/// More elements per result than a software driver lets one invocation walk over twice. Every seventh is the largest
/// of its row, so their number is known.
fn extremes_of_very_many() -> Result<()> {
    let device = open();
    let n = 70_000;
    let numbers: Vec<f32> = (0..2 * n).map(|i| (i % n % 7) as f32).collect();
    for dtype in [DType::F32, DType::F16] {
        for (largest, kind) in [(true, 6), (false, 0)] {
            let x = Tensor::from_slice(&device, &numbers, [2, n])?
                .cast(dtype)?
                .requires_grad()?;
            let y = if largest {
                x.max(&[1], false)?
            } else {
                x.min(&[1], false)?
            };
            let dy = Tensor::from_slice(&device, &[1e4f32, -1e4], [2])?.cast(dtype)?;
            let gradients = y.backward_from(&dy)?;
            let dx = gradients.get(&x).expect("x has a gradient");
            for (i, dx) in dx.cast(DType::F32)?.to_vec::<f32>()?.iter().enumerate() {
                let share = if i < n { 1.0 } else { -1.0 };
                let expected = if i % n % 7 == kind { share } else { 0.0 };
                assert!(
                    (dx - expected).abs() <= 1e-6,
                    "element {i} as {dtype}: {dx}"
                );
            }
        }
    }
    Ok(())
}
