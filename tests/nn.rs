//! Layers and optimizers against the numbers of their formulas, and what they do when something goes wrong.

mod support_runtime;

use std::process::ExitCode;

use affekt::nn::{Init, LayerNorm, Linear, Mlp, Module, PatchEmbed, PatchMerging, Visitor};
use affekt::optim::{Ema, Group, Optimizer, Schedule};
use affekt::tensor::file;
use affekt::{Device, Error, Result, Tensor};
use support_runtime::{Numbers, bits, open};

fn main() -> ExitCode {
    support_runtime::main(&[
        ("names_are_those_of_pytorch", names_are_those_of_pytorch),
        ("linear_is_the_product", linear_is_the_product),
        ("patches_are_a_convolution", patches_are_a_convolution),
        (
            "merging_takes_the_order_of_swin",
            merging_takes_the_order_of_swin,
        ),
        ("adamw_follows_the_formula", adamw_follows_the_formula),
        (
            "sgd_with_momentum_follows_the_formula",
            sgd_with_momentum_follows_the_formula,
        ),
        (
            "groups_have_their_own_settings",
            groups_have_their_own_settings,
        ),
        (
            "clipping_scales_all_gradients_alike",
            clipping_scales_all_gradients_alike,
        ),
        (
            "what_is_not_finite_is_named_and_changes_nothing",
            what_is_not_finite_is_named_and_changes_nothing,
        ),
        (
            "a_step_that_fails_changes_nothing",
            a_step_that_fails_changes_nothing,
        ),
        (
            "readers_of_a_parameter_keep_its_old_numbers",
            readers_of_a_parameter_keep_its_old_numbers,
        ),
        (
            "an_optimizer_goes_on_from_its_state",
            an_optimizer_goes_on_from_its_state,
        ),
        ("ema_is_the_average", ema_is_the_average),
        (
            "a_state_that_does_not_fit_is_listed",
            a_state_that_does_not_fit_is_listed,
        ),
        ("matching_weights_are_loaded", matching_weights_are_loaded),
        (
            "a_saved_model_comes_back_with_its_note",
            a_saved_model_comes_back_with_its_note,
        ),
    ])
}

/// Two layers, for names and steps.
struct Net {
    first: Linear,
    norm: LayerNorm,
    blocks: Vec<Mlp>,
}

impl Net {
    fn new(device: &Device, seed: u64) -> Result<Self> {
        let init = &mut Init::new(device, seed);
        Ok(Net {
            first: Linear::new(init, 3, 4)?,
            norm: LayerNorm::new(init, 4)?,
            blocks: vec![Mlp::new(init, 4, 8)?, Mlp::new(init, 4, 8)?],
        })
    }

    fn loss(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.norm.forward(&self.first.forward(x)?)?;
        for block in &self.blocks {
            y = y.add(&block.forward(&y)?)?;
        }
        y.square()?.mean(&[], false)
    }
}

impl Module for Net {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module("first", &self.first);
        visitor.module("norm", &self.norm);
        visitor.list("blocks", &self.blocks);
    }
}

fn input(device: &Device) -> Result<Tensor> {
    Tensor::from_slice(device, &Numbers(1).units(15), [5, 3])
}

/// All parameters as bits, in order.
fn snapshot(module: &dyn Module) -> Result<Vec<Vec<u32>>> {
    let state = module.state();
    state
        .iter()
        .map(|(_, t)| Ok(bits(&t.to_vec::<f32>()?)))
        .collect()
}

fn names_are_those_of_pytorch() -> Result<()> {
    let net = Net::new(&open(), 0)?;
    let names: Vec<String> = net.named_parameters().into_iter().map(|(n, _)| n).collect();
    assert_eq!(
        names,
        [
            "first.weight",
            "first.bias",
            "norm.weight",
            "norm.bias",
            "blocks.0.fc1.weight",
            "blocks.0.fc1.bias",
            "blocks.0.fc2.weight",
            "blocks.0.fc2.bias",
            "blocks.1.fc1.weight",
            "blocks.1.fc1.bias",
            "blocks.1.fc2.weight",
            "blocks.1.fc2.bias",
        ]
    );
    assert_eq!(net.n_parameters(), 16 + 8 + 2 * (40 + 36));
    Ok(())
}

fn linear_is_the_product() -> Result<()> {
    let device = open();
    let linear = Linear::new(&mut Init::new(&device, 3), 3, 2)?;
    linear
        .bias
        .as_ref()
        .expect("it has one")
        .set(&Tensor::from_slice(&device, &[0.5f32, -1.0], [2])?)?;
    let x = Numbers(2).units(2 * 5 * 3);
    let y = linear.forward(&Tensor::from_slice(&device, &x, [2, 5, 3])?)?;
    assert_eq!(y.shape()[..], [2, 5, 2]);
    let weight = linear.weight.tensor().to_vec::<f32>()?;
    for (row, got) in x.chunks(3).zip(y.to_vec::<f32>()?.chunks(2)) {
        for (o, (got, bias)) in got.iter().zip([0.5, -1.0]).enumerate() {
            let expected: f32 = (0..3).map(|i| row[i] * weight[3 * o + i]).sum::<f32>() + bias;
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }
    let refused = linear
        .forward(&Tensor::full(&device, 0.0f32, [2, 4])?)
        .map(drop);
    assert_eq!(
        refused.expect_err("4 is not 3").to_string(),
        "linear: x has shape [2, 4], expected [.., 3]"
    );
    Ok(())
}

fn patches_are_a_convolution() -> Result<()> {
    let device = open();
    let embed = PatchEmbed::new(&mut Init::new(&device, 3), 2, [2, 3], 4)?;
    // Without the normalisation's own work: scale 0 leaves the shift, so look at the projection through a scale of 1.
    let x = Numbers(5).units(2 * 4 * 6);
    let y = embed.forward(&Tensor::from_slice(&device, &x, [1, 2, 4, 6])?)?;
    assert_eq!(y.shape()[..], [1, 2, 2, 4]);
    let weight = embed.proj.weight.tensor().to_vec::<f32>()?;
    let got = y.to_vec::<f32>()?;
    for (token, got) in got.chunks(4).enumerate() {
        let (top, left) = (2 * (token / 2), 3 * (token % 2));
        let sums: Vec<f64> = (0..4)
            .map(|o| {
                let mut sum = 0.0;
                for c in 0..2 {
                    for p in 0..2 {
                        for q in 0..3 {
                            let pixel = x[(c * 4 + top + p) * 6 + left + q];
                            sum +=
                                f64::from(pixel) * f64::from(weight[((o * 2 + c) * 2 + p) * 3 + q]);
                        }
                    }
                }
                sum
            })
            .collect();
        let mean = sums.iter().sum::<f64>() / 4.0;
        let var = sums.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 4.0;
        for (got, sum) in got.iter().zip(&sums) {
            let expected = (sum - mean) / (var + 1e-5).sqrt();
            assert!(
                (f64::from(*got) - expected).abs() < 1e-4,
                "{got} is not {expected}"
            );
        }
    }
    Ok(())
}

fn merging_takes_the_order_of_swin() -> Result<()> {
    let device = open();
    let merging = PatchMerging::new(&mut Init::new(&device, 3), 1)?;
    // The first output is the first of the four, the second the second less the third.
    let pick = [1.0f32, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0];
    merging
        .reduction
        .weight
        .set(&Tensor::from_slice(&device, &pick, [2, 4])?)?;
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 4.0, 8.0], [1, 2, 2, 1])?;
    let y = merging.forward(&x)?.to_vec::<f32>()?;
    // In the order (0, 0), (1, 0), (0, 1), (1, 1): 1, 4, 2, 8, with mean 3.75 and variance 7.1875.
    let scale = 1.0 / 7.1875f32.sqrt();
    for (got, expected) in y.iter().zip([-2.75 * scale, 2.0 * scale]) {
        assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
    }
    let odd = Tensor::full(&device, 0.0f32, [1, 3, 2, 1])?;
    assert!(matches!(merging.forward(&odd), Err(Error::Shape { .. })));
    Ok(())
}

/// One parameter whose gradient is what the test says.
struct One(affekt::nn::Param);

impl Module for One {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.param("x", &self.0);
    }
}

impl One {
    fn new(device: &Device, numbers: &[f32]) -> Result<Self> {
        let x = Tensor::from_slice(device, numbers, [numbers.len()])?;
        Ok(One(affekt::nn::Param::new(&x)?))
    }

    fn step(&self, optimizer: &mut Optimizer, gradient: &[f32]) -> Result<f64> {
        let x = self.0.tensor();
        let dy = Tensor::from_slice(x.device(), gradient, [gradient.len()])?;
        let gradients = x.mul(1.0)?.backward_from(&dy)?;
        optimizer.step(self, &gradients)?.check()
    }

    fn numbers(&self) -> Result<Vec<f32>> {
        self.0.tensor().to_vec()
    }
}

fn close(got: &[f32], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let error = (f64::from(*got) - expected).abs();
        assert!(
            error <= 1e-6 * expected.abs().max(1.0),
            "{got} is not {expected}"
        );
    }
}

fn adamw_follows_the_formula() -> Result<()> {
    let device = open();
    let start = [0.5f32, -1.0, 2.0];
    let one = One::new(&device, &start)?;
    let schedule = Schedule::Step {
        every: 2,
        gamma: 0.5,
    };
    let mut optimizer = Optimizer::adamw(0.1)
        .weight_decay(0.2)
        .betas(0.8, 0.9)
        .schedule(schedule);
    let mut numbers = Numbers(9);
    let mut x: Vec<f64> = start.iter().map(|x| f64::from(*x)).collect();
    let (mut m, mut v) = (vec![0.0f64; 3], vec![0.0f64; 3]);
    for t in 1..=5 {
        let gradient = numbers.units(3);
        let lr = 0.1 * 0.5f64.powi((t - 1) / 2);
        assert!((optimizer.lr() - lr).abs() < 1e-15);
        one.step(&mut optimizer, &gradient)?;
        for i in 0..3 {
            let g = f64::from(gradient[i]);
            x[i] -= lr * 0.2 * x[i];
            m[i] = 0.8 * m[i] + 0.2 * g;
            v[i] = 0.9 * v[i] + 0.1 * g * g;
            let (mean, square) = (m[i] / (1.0 - 0.8f64.powi(t)), v[i] / (1.0 - 0.9f64.powi(t)));
            x[i] -= lr * mean / (square.sqrt() + 1e-8);
        }
        close(&one.numbers()?, &x);
    }
    assert_eq!(optimizer.n_steps(), 5);
    Ok(())
}

fn sgd_with_momentum_follows_the_formula() -> Result<()> {
    let device = open();
    for nesterov in [false, true] {
        let one = One::new(&device, &[1.0, -2.0])?;
        let optimizer = Optimizer::sgd(0.1).momentum(0.9).weight_decay(0.01);
        let mut optimizer = if nesterov {
            optimizer.nesterov()
        } else {
            optimizer
        };
        let (mut x, mut b) = (vec![1.0f64, -2.0], vec![0.0f64; 2]);
        for t in 0..4 {
            let gradient = Numbers(t).units(2);
            one.step(&mut optimizer, &gradient)?;
            for i in 0..2 {
                let g = f64::from(gradient[i]) + 0.01 * x[i];
                b[i] = if t == 0 { g } else { 0.9 * b[i] + g };
                x[i] -= 0.1 * if nesterov { g + 0.9 * b[i] } else { b[i] };
            }
            close(&one.numbers()?, &x);
        }
    }
    Ok(())
}

fn groups_have_their_own_settings() -> Result<()> {
    let device = open();
    let net = Net::new(&device, 1)?;
    let before = net.state();
    let mut optimizer = Optimizer::sgd(0.5)
        .group(Group::new(|name, _| name.starts_with("blocks.0")).lr_factor(0.0))
        .group(Group::new(|_, shape| shape.len() == 1).weight_decay(0.1));
    let x = input(&device)?;
    let gradients = net.loss(&x)?.backward()?;
    let of: Vec<Vec<f32>> = net
        .named_parameters()
        .iter()
        .map(|(_, p)| gradients.get(&p.tensor()).expect("all are used").to_vec())
        .collect::<Result<_>>()?;
    optimizer.step(&net, &gradients)?.check()?;
    for (((name, old), (_, new)), dx) in before.iter().zip(net.state()).zip(of) {
        let expected: Vec<f64> = old
            .to_vec::<f32>()?
            .iter()
            .zip(dx)
            .map(|(x, g)| {
                let (x, g) = (f64::from(*x), f64::from(g));
                match (name.starts_with("blocks.0"), old.shape().len()) {
                    (true, _) => x,
                    (false, 1) => x - 0.5 * (g + 0.1 * x),
                    (false, _) => x - 0.5 * g,
                }
            })
            .collect();
        close(&new.to_vec::<f32>()?, &expected);
    }
    Ok(())
}

fn clipping_scales_all_gradients_alike() -> Result<()> {
    let device = open();
    let one = One::new(&device, &[0.0, 0.0])?;
    let norm = one.step(&mut Optimizer::sgd(1.0).clip(1.0), &[3.0, 4.0])?;
    assert!((norm - 5.0).abs() < 1e-5);
    close(&one.numbers()?, &[-0.6, -0.8]);
    let free = One::new(&device, &[0.0, 0.0])?;
    free.step(&mut Optimizer::sgd(1.0).clip(10.0), &[3.0, 4.0])?;
    close(&free.numbers()?, &[-3.0, -4.0]);
    Ok(())
}

fn what_is_not_finite_is_named_and_changes_nothing() -> Result<()> {
    let device = open();
    let net = Net::new(&device, 1)?;
    let mut optimizer = Optimizer::adamw(1e-2).clip(1.0);
    let x = input(&device)?;
    optimizer.step(&net, &net.loss(&x)?.backward()?)?.check()?;
    let (before, moments) = (snapshot(&net)?, optimizer.state());
    // The gradient of the second block alone is infinite.
    let block = net.blocks[1]
        .fc2
        .bias
        .as_ref()
        .expect("it has one")
        .tensor();
    let huge = block.mul(1e30)?.mul(1e30)?.sum(&[], false)?;
    let loss = net.loss(&x)?.add(&huge)?;
    let step = optimizer.step(&net, &loss.backward()?)?;
    assert_eq!(
        step.check().expect_err("it is not finite"),
        Error::NotFinite {
            what: "the gradient of blocks.1.fc2.bias".to_string(),
            step: Some(2)
        }
    );
    assert_eq!(snapshot(&net)?, before);
    for ((name, old), (_, new)) in moments.iter().zip(optimizer.state()) {
        assert_eq!(bits(&old.to_vec()?), bits(&new.to_vec()?), "{name}");
    }
    // The next step works.
    optimizer.step(&net, &net.loss(&x)?.backward()?)?.check()?;
    assert_ne!(snapshot(&net)?, before);
    Ok(())
}

fn a_step_that_fails_changes_nothing() -> Result<()> {
    let device = open();
    let net = Net::new(&device, 1)?;
    let mut optimizer = Optimizer::adamw(1e-2);
    let x = input(&device)?;
    let train = |optimizer: &mut Optimizer| -> Result<f64> {
        optimizer.step(&net, &net.loss(&x)?.backward()?)?.check()
    };
    train(&mut optimizer)?;
    let before = device.n_allocations();
    train(&mut optimizer)?;
    let n = device.n_allocations() - before;
    assert!(n > 50, "{n} allocations in a step");
    for nth in 1..=n {
        let (held, n_steps) = (snapshot(&net)?, optimizer.n_steps());
        device.fail_allocation(Some(nth));
        let failed = train(&mut optimizer);
        device.fail_allocation(None);
        assert!(
            matches!(failed, Err(Error::OutOfMemory { .. })),
            "allocation {nth} of {n}: {failed:?}"
        );
        // The last one is for reading the norm, when the step has been made.
        if nth < n {
            assert_eq!(optimizer.n_steps(), n_steps, "allocation {nth} of {n}");
            assert_eq!(snapshot(&net)?, held, "allocation {nth} of {n}");
        }
        train(&mut optimizer)?;
    }
    Ok(())
}

fn readers_of_a_parameter_keep_its_old_numbers() -> Result<()> {
    let device = open();
    let net = Net::new(&device, 1)?;
    let mut optimizer = Optimizer::sgd(0.1);
    let x = input(&device)?;
    let expected = bits(&net.first.weight.tensor().mul(2.0)?.to_vec()?);
    let gradient = {
        let gradients = net.loss(&x)?.backward()?;
        gradients
            .get(&net.first.weight.tensor())
            .expect("it is used")
            .to_vec::<f32>()?
    };
    // A pending value and a tape, held across two steps.
    let pending = net.first.weight.tensor().mul(2.0)?;
    let weight = net.first.weight.tensor();
    let loss = net.loss(&x)?;
    for _ in 0..2 {
        optimizer.step(&net, &net.loss(&x)?.backward()?)?.check()?;
    }
    assert_eq!(bits(&pending.to_vec()?), expected);
    let late = loss.backward()?;
    let late = late.get(&weight).expect("it is used").to_vec::<f32>()?;
    assert_eq!(bits(&late), bits(&gradient));
    Ok(())
}

fn an_optimizer_goes_on_from_its_state() -> Result<()> {
    let device = open();
    let x = input(&device)?;
    for make in [
        || Optimizer::adamw(1e-2),
        || Optimizer::sgd(1e-2).momentum(0.9),
    ] {
        let net = Net::new(&device, 1)?;
        let mut optimizer = make();
        let steps = |net: &Net, optimizer: &mut Optimizer, n: usize| -> Result<()> {
            for _ in 0..n {
                optimizer.step(net, &net.loss(&x)?.backward()?)?.check()?;
            }
            Ok(())
        };
        steps(&net, &mut optimizer, 3)?;
        let again = Net::new(&device, 2)?;
        again.load_state(&net.state())?;
        let mut resumed = make();
        resumed.load_state(&again, &optimizer.state(), optimizer.n_steps())?;
        steps(&net, &mut optimizer, 3)?;
        steps(&again, &mut resumed, 3)?;
        assert_eq!(snapshot(&net)?, snapshot(&again)?);
        let mut foreign = optimizer.state();
        foreign[0].0 = "nobody.exp_avg".to_string();
        assert!(matches!(
            resumed.load_state(&again, &foreign, 3),
            Err(Error::State { .. })
        ));
    }
    Ok(())
}

fn ema_is_the_average() -> Result<()> {
    let device = open();
    let one = One::new(&device, &[1.0, 2.0])?;
    let mut ema = Ema::new(&one, 0.75)?;
    let mut expected = [1.0f64, 2.0];
    for t in 0..3 {
        one.0
            .set(&Tensor::from_slice(&device, &Numbers(t).units(2), [2])?)?;
        ema.update(&one)?;
        for (e, x) in expected.iter_mut().zip(one.numbers()?) {
            *e = 0.75 * *e + 0.25 * f64::from(x);
        }
        close(&ema.state()[0].1.to_vec()?, &expected);
    }
    assert!(Ema::new(&one, 1.0).is_err());
    Ok(())
}

fn a_state_that_does_not_fit_is_listed() -> Result<()> {
    let device = open();
    let net = Net::new(&device, 1)?;
    let before = snapshot(&net)?;
    let mut state = net.state();
    state[0].0 = "head.weight".to_string();
    state[3].1 = Tensor::full(&device, 0.0f32, [5])?;
    let error = net.load_state(&state).expect_err("it does not fit");
    assert_eq!(
        error.to_string(),
        "state: missing: first.weight; unexpected: head.weight; not fitting: norm.bias is [5], expected [4]"
    );
    assert_eq!(snapshot(&net)?, before);
    Ok(())
}

fn matching_weights_are_loaded() -> Result<()> {
    let device = open();
    let (net, other) = (Net::new(&device, 1)?, Net::new(&device, 2)?);
    let mut state = other.state();
    state[0].1 = Tensor::full(&device, 0.0f32, [4, 7])?;
    let loaded = net.load_matching(&state)?;
    assert_eq!((loaded.n_loaded, loaded.reshaped.len()), (11, 1));
    assert_eq!(snapshot(&net)?[1..], snapshot(&other)?[1..]);
    assert_ne!(snapshot(&net)?[0], snapshot(&other)?[0]);
    assert!(net.load_matching(&state[..0]).is_err());
    Ok(())
}

fn a_saved_model_comes_back_with_its_note() -> Result<()> {
    let device = open();
    let net = Net::new(&device, 1)?;
    let folder = std::env::temp_dir().join(format!("affekt-nn-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is a temporary folder");
    let path = folder.join("net.safetensors");
    let state = net.state();
    let named: Vec<(&str, &Tensor)> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
    file::save_with_note(&path, &named, "{\"epoch\": 3}")?;
    let bytes = std::fs::read(&path).expect("it was written");
    file::save_with_note(&path, &named, "{\"epoch\": 3}")?;
    assert_eq!(bytes, std::fs::read(&path).expect("it was written"));
    let again = Net::new(&device, 2)?;
    let (tensors, note) = file::load_with_note(&device, &path)?;
    again.load_state(&tensors)?;
    assert_eq!(snapshot(&again)?, snapshot(&net)?);
    assert_eq!(note.as_deref(), Some("{\"epoch\": 3}"));
    net.save(&path)?;
    assert_eq!(file::load_with_note(&device, &path)?.1, None);
    std::fs::remove_dir_all(&folder).expect("it is ours");
    Ok(())
}
