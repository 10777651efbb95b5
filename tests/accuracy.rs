//! The errors that the headers of `shaders/shared/` state, over dense sweeps: in units in the last place of the exact
//! result, or of 1 where a header says so. A driver that evaluates our polynomials worse fails here.

use std::process::ExitCode;

use affekt::ops::op::{Array, Attrs};
use affekt::ops::probe::upload;
use affekt::tensor::IntoShape as _;
use affekt::{DType, Device, Error, Result, ops};
use libtest_mimic::{Arguments, Failed, Trial};

/// Points of a sweep.
const N: usize = 200_000;

#[derive(Clone, Copy)]
enum Unit {
    /// The distance of f32 at the exact result.
    LastPlace,
    /// That at 1.
    One,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let device = match Device::open_default() {
        Ok(device) => device,
        Err(Error::NoAdapter { hint }) => {
            let required = std::env::var("AFFEKT_REQUIRE").is_ok_and(|r| r.contains("adapter"));
            let ignored = Trial::test(format!("no adapter: {hint}"), || {
                Err(Failed::from("an adapter is required"))
            })
            .with_ignored_flag(!required);
            return libtest_mimic::run(&arguments, vec![ignored]).exit_code();
        }
        Err(error) => panic!("{error}"),
    };
    use Unit::{LastPlace, One};
    let sweeps: &[(&str, f64, f64, Unit, f64)] = &[
        ("exp", -87.0, 88.7, LastPlace, 2.0),
        ("expm1", -20.0, 20.0, LastPlace, 3.0),
        ("expm1", -0.5, 0.5, LastPlace, 3.0),
        ("log", 1e-3, 1e3, LastPlace, 3.0),
        ("log", 0.9, 1.1, LastPlace, 3.0),
        ("log1p", -0.5, 0.5, LastPlace, 3.0),
        ("log2", 0.9, 1.1, LastPlace, 3.0),
        ("log2", 1e-3, 1e3, LastPlace, 3.0),
        ("log10", 1e-3, 1e3, LastPlace, 3.0),
        ("sin", -12_867.0, 12_867.0, One, 1.0),
        ("cos", -12_867.0, 12_867.0, One, 1.0),
        ("sin", -3.0, 3.0, LastPlace, 4.0),
        ("tan", -1.5, 1.5, LastPlace, 4.0),
        ("asin", -1.0, 1.0, LastPlace, 4.0),
        ("acos", -1.0, 0.999, LastPlace, 4.0),
        ("atan", -10.0, 10.0, LastPlace, 4.0),
        ("tanh", -10.0, 10.0, LastPlace, 4.0),
        ("sigmoid", -80.0, 80.0, LastPlace, 4.0),
        ("erf", -4.0, 4.0, LastPlace, 4.0),
    ];
    let mut tests: Vec<Trial> = sweeps
        .iter()
        .map(|&(name, low, high, unit, bound)| {
            let device = device.clone();
            Trial::test(format!("{name}/{low}..{high}"), move || {
                let points = (0..N).map(|i| low + (high - low) * i as f64 / N as f64);
                judge(&device, name, &[points.collect()], unit, bound)
            })
        })
        .collect();
    tests.push(Trial::test("pow", move || {
        // Bases from e⁻³ to e³ with exponents that keep the result inside of f32.
        let bases: Vec<f64> = (0..N)
            .map(|i| (6.0 * i as f64 / N as f64 - 3.0).exp())
            .collect();
        let exponents = (0..N).map(|i| ((i * 7919) % 2001) as f64 / 1000.0 * 28.0 - 28.0);
        judge(
            &device,
            "pow",
            &[bases, exponents.collect()],
            LastPlace,
            3.0,
        )
    }));
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn judge(
    device: &Device,
    name: &str,
    inputs: &[Vec<f64>],
    unit: Unit,
    bound: f64,
) -> std::result::Result<(), Failed> {
    let (worst, at) = sweep(device, name, inputs, unit).map_err(|e| e.to_string())?;
    eprintln!("{name}: {worst:.2} units at {at:?}");
    if worst <= bound {
        return Ok(());
    }
    Err(format!("{worst:.2} units at {at:?}, stated are {bound}").into())
}

/// The largest error and where it is.
fn sweep(device: &Device, name: &str, inputs: &[Vec<f64>], unit: Unit) -> Result<(f64, Vec<f64>)> {
    let op = ops::find(name)?;
    let arrays = inputs
        .iter()
        .map(|x| {
            let rounded = x.iter().map(|x| f64::from(*x as f32)).collect();
            Ok(Array::new([x.len()].into_shape()?, rounded))
        })
        .collect::<Result<Vec<_>>>()?;
    let tensors = arrays
        .iter()
        .map(|a| upload(device, a, DType::F32))
        .collect::<Result<Vec<_>>>()?;
    let references: Vec<_> = tensors.iter().map(Some).collect();
    let got: Vec<f32> = ops::run(op, &references, &Attrs::new())?[0].to_vec()?;
    let views: Vec<_> = arrays.iter().map(Some).collect();
    let expected = &op.twin(&views, &Attrs::new())[0];
    let mut worst = (0.0, Vec::new());
    for (i, (got, expected)) in got.iter().zip(&expected.data).enumerate() {
        let size = match unit {
            Unit::LastPlace => expected.abs().max(f64::from(f32::MIN_POSITIVE)),
            Unit::One => 1.0,
        };
        let error = (f64::from(*got) - expected).abs() / (size.log2().floor() - 23.0).exp2();
        if !(error <= worst.0) {
            worst = (error, arrays.iter().map(|a| a.data[i]).collect());
        }
    }
    Ok(worst)
}
