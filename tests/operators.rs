//! Methods of `Tensor` as callers write them: the numbers that the docs promise, scalars on either side, views, and
//! random numbers as values.

use std::process::ExitCode;

use affekt::ops::index::pad::PadMode;
use affekt::ops::random::{bernoulli, normal, uniform};
use affekt::{Ctx, DType, Device, Error, Result, Rng, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match Device::open_default() {
        Ok(_) => {}
        Err(Error::NoAdapter { hint }) => {
            let required = std::env::var("AFFEKT_REQUIRE").is_ok_and(|r| r.contains("adapter"));
            let ignored = Trial::test(format!("no adapter: {hint}"), || {
                Err(Failed::from("an adapter is required"))
            })
            .with_ignored_flag(!required);
            return libtest_mimic::run(&arguments, vec![ignored]).exit_code();
        }
        Err(error) => panic!("{error}"),
    }
    type Check = fn(&Device) -> Result<()>;
    let checks: &[(&str, Check)] = &[
        ("documented_numbers", documented_numbers),
        ("scalars_on_either_side", scalars_on_either_side),
        ("views_share_storage", views_share_storage),
        ("dropout_repeats_itself", dropout_repeats_itself),
        ("drop_path_drops_samples", drop_path_drops_samples),
        ("random_moments", random_moments),
        ("cross_entropy_of_two_zeros", cross_entropy_of_two_zeros),
        ("a_chain_is_one_dispatch", a_chain_is_one_dispatch),
    ];
    let tests = checks
        .iter()
        .map(|&(name, check)| {
            // A device each: some count dispatches.
            Trial::test(name, move || {
                Device::open_default()
                    .and_then(|device| check(&device))
                    .map_err(|e| Failed::from(e.to_string()))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn row(device: &Device, numbers: &[f32]) -> Result<Tensor> {
    Tensor::from_slice(device, numbers, [numbers.len()])
}

fn near(got: &Tensor, expected: &[f32]) -> Result<()> {
    let got: Vec<f32> = got.to_vec()?;
    let close = got.len() == expected.len()
        && got
            .iter()
            .zip(expected)
            .all(|(g, e)| (g - e).abs() <= 1e-6 * e.abs().max(1.0));
    assert!(close, "{got:?}, expected {expected:?}");
    Ok(())
}

fn documented_numbers(device: &Device) -> Result<()> {
    let one = row(device, &[1.0])?;
    let functions: &[(fn(&Tensor) -> Result<Tensor>, f32)] = &[
        (Tensor::exp, 2.718_282),
        (Tensor::sinh, 1.175_201),
        (Tensor::cosh, 1.543_081),
        (Tensor::tanh, 0.761_594),
        (Tensor::asinh, 0.881_374),
        (Tensor::atan, 0.785_398),
        (Tensor::erf, 0.842_701),
        (Tensor::sigmoid, 0.731_059),
        (Tensor::silu, 0.731_059),
        (Tensor::mish, 0.865_098),
        (Tensor::selu, 1.050_701),
        (Tensor::softsign, 0.5),
        (Tensor::hard_sigmoid, 0.666_667),
        (Tensor::hard_swish, 0.666_667),
    ];
    for (function, expected) in functions {
        near(&function(&one)?, &[*expected])?;
    }
    near(&row(device, &[8.0])?.log2()?, &[3.0])?;
    near(&row(device, &[1000.0])?.log10()?, &[3.0])?;
    near(&row(device, &[0.5])?.atanh()?, &[0.549_306])?;
    near(&row(device, &[0.5])?.asin()?, &[0.523_599])?;
    near(&row(device, &[0.5])?.acos()?, &[1.047_198])?;
    near(&one.atan2(-1.0)?, &[2.356_194])?;
    near(&row(device, &[0.0])?.softplus(1.0)?, &[0.693_147])?;
    near(&row(device, &[-1.0])?.elu(1.0)?, &[-0.632_121])?;
    near(&row(device, &[-1.0, 1.0])?.remainder(3.0)?, &[2.0, 1.0])?;
    near(&row(device, &[0.5, 1.5, -0.5])?.round()?, &[0.0, 2.0, 0.0])?;
    near(&row(device, &[-2.0])?.pow(3.0)?, &[-8.0])?;
    let x = row(device, &[1.0, 2.0, 6.0])?;
    near(&x.mean(&[], false)?, &[3.0])?;
    near(&x.var(&[], false, 1)?, &[7.0])?;
    near(&x.var(&[], false, 0)?, &[14.0 / 3.0])?;
    near(
        &row(device, &[0.0, 0.0])?.logsumexp(&[], false)?,
        &[0.693_147],
    )?;
    let x = row(device, &[3.0, 1.0, 3.0])?;
    assert_eq!(x.argmax(None, false)?.item::<u32>()?, 0);
    assert_eq!(x.argmin(None, false)?.item::<u32>()?, 1);
    let x = row(device, &[0.0, 1.0, 2.0])?;
    near(&x.roll(&[1], &[0])?, &[2.0, 0.0, 1.0])?;
    near(&x.flip(&[0])?, &[2.0, 1.0, 0.0])?;
    for (mode, expected) in [
        (PadMode::Constant(5.0), [5.0, 5.0, 0.0, 1.0, 2.0, 5.0]),
        (PadMode::Reflect, [2.0, 1.0, 0.0, 1.0, 2.0, 1.0]),
        (PadMode::Replicate, [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]),
    ] {
        near(&x.pad(&[(2, 1)], mode)?, &expected)?;
    }
    let hot = Tensor::from_slice(device, &[2i32], [1])?.one_hot(4)?;
    near(&hot, &[0.0, 0.0, 1.0, 0.0])
}

fn scalars_on_either_side(device: &Device) -> Result<()> {
    let x = row(device, &[1.0, 4.0])?;
    near(&(1.0 - &x)?, &[0.0, -3.0])?;
    near(&(&x - 1.0)?, &[0.0, 3.0])?;
    near(&(2.0 / &x)?, &[2.0, 0.5])?;
    near(&(&x / 2.0)?, &[0.5, 2.0])?;
    near(&(-&x)?, &[-1.0, -4.0])?;
    near(&(2.0 + &x)?, &[3.0, 6.0])?;
    near(&(2.0 * &x)?, &[2.0, 8.0])?;
    near(&(&x - &x)?, &[0.0, 0.0])?;
    near(&x.rpow(2.0)?, &[2.0, 16.0])?;
    near(&x.clamp(2.0, 3.0)?, &[2.0, 3.0])?;
    let flags = x.gt(2.0)?;
    assert_eq!(flags.dtype(), DType::U32);
    assert_eq!(flags.to_vec::<u32>()?, [0, 1]);
    assert_eq!(flags.logical_not()?.to_vec::<u32>()?, [1, 0]);
    Ok(())
}

fn views_share_storage(device: &Device) -> Result<()> {
    let x = Tensor::from_slice(
        device,
        &(0..12).map(|i| i as f32).collect::<Vec<_>>(),
        [3, 4],
    )?;
    let before = device.stream_stats().n_dispatches;
    let parts = x.split(1, &[1, 3])?;
    let column = parts[0].squeeze(1)?;
    let every_second = x.slice(1, 0, i64::MAX, 2)?;
    let flat = x.flatten(0, 1)?;
    let last = x.narrow(0, 2, 1)?.unsqueeze(0)?;
    assert_eq!(column.to_vec::<f32>()?, [0.0, 4.0, 8.0]);
    assert_eq!(
        every_second.to_vec::<f32>()?,
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    );
    assert_eq!(flat.shape()[..], [12]);
    assert_eq!(last.shape()[..], [1, 1, 4]);
    assert_eq!(device.stream_stats().n_dispatches, before);
    let stacked = Tensor::stack(&[&column, &column], -1)?;
    assert_eq!(stacked.to_vec::<f32>()?, [0.0, 0.0, 4.0, 4.0, 8.0, 8.0]);
    assert!(x.split(1, &[1, 2]).is_err() && x.squeeze(0).is_err() && x.narrow(0, 2, 2).is_err());
    Ok(())
}

fn dropout_repeats_itself(device: &Device) -> Result<()> {
    let mut ctx = Ctx::train(3);
    let rng = ctx.rng.draw();
    assert_ne!(rng, ctx.rng);
    let x = Tensor::full(device, 1.0f32, [1000])?.requires_grad()?;
    let y = x.checkpoint(move |x| x.dropout(0.25, rng)?.mul(3.0))?;
    let values: Vec<f32> = y.to_vec()?;
    let gradients = y.sum(&[], false)?.backward()?;
    let slopes: Vec<f32> = gradients.get(&x).expect("y depends on x").to_vec()?;
    assert_eq!(values, slopes);
    let kept = values.iter().filter(|v| **v == 4.0).count();
    assert_eq!(kept + values.iter().filter(|v| **v == 0.0).count(), 1000);
    // Six standard deviations of a binomial distribution.
    assert!((kept as f64 - 750.0).abs() < 6.0 * (1000.0f64 * 0.25 * 0.75).sqrt());
    let other = x.dropout(0.25, ctx.rng.draw())?.mul(3.0)?.to_vec::<f32>()?;
    assert_ne!(values, other);
    assert!(matches!(x.dropout(1.5, rng), Err(Error::Attribute { .. })));
    Ok(())
}

fn drop_path_drops_samples(device: &Device) -> Result<()> {
    let y = Tensor::full(device, 1.0f32, [64, 3, 2])?.drop_path(0.5, Rng::new(1))?;
    let values: Vec<f32> = y.to_vec()?;
    let mut dropped = 0;
    for sample in values.chunks(6) {
        assert!(sample.iter().all(|v| *v == sample[0]));
        assert!(sample[0] == 0.0 || sample[0] == 2.0);
        dropped += usize::from(sample[0] == 0.0);
    }
    assert!((8..=56).contains(&dropped), "{dropped}");
    Ok(())
}

fn random_moments(device: &Device) -> Result<()> {
    let n = 100_000;
    let moments = |x: &Tensor| -> Result<(f32, f32)> {
        Ok((x.mean(&[], false)?.item()?, x.std(&[], false, 0)?.item()?))
    };
    // Standard errors are 1 / √n; six of them.
    let bound = 6.0 / (n as f32).sqrt();
    let (mean, std) = moments(&uniform(device, [n], -1.0, 3.0, Rng::new(5))?)?;
    assert!((mean - 1.0).abs() < 1.16 * bound && (std - 1.1547).abs() < bound);
    let (mean, std) = moments(&normal(device, [n], 2.0, 0.5, Rng::new(6))?)?;
    assert!((mean - 2.0).abs() < bound && (std - 0.5).abs() < bound);
    let (mean, _) = moments(&bernoulli(device, [n], 0.3, Rng::new(7))?)?;
    assert!((mean - 0.3).abs() < bound);
    Ok(())
}

fn cross_entropy_of_two_zeros(device: &Device) -> Result<()> {
    let x = Tensor::from_slice(device, &[0.0f32, 0.0], [1, 2])?;
    let target = Tensor::from_slice(device, &[0i32], [1])?;
    near(&x.cross_entropy(&target)?.reshape([1])?, &[0.693_147])
}

fn a_chain_is_one_dispatch(device: &Device) -> Result<()> {
    let x = row(device, &[0.5, 1.5])?;
    let chain = |x: &Tensor| -> Result<Vec<f32>> {
        (1.0 - &x.sigmoid()?.mul(2.0)?.exp()?.log1p()?.sqrt()?)?
            .dropout(0.0, Rng::new(1))?
            .to_vec()
    };
    chain(&x)?;
    let before = device.stream_stats().n_dispatches;
    chain(&x)?;
    assert_eq!(device.stream_stats().n_dispatches - before, 1);
    Ok(())
}
