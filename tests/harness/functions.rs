//! Elementwise operators of an app's own, as scalar functions: a right one, and mutants of it.

use std::borrow::Cow;

use affekt::check::Property::{Gradient, Value};
use affekt::check::expressions;
use affekt::fuse::{Course, Function, Kind};
use affekt::gpu::Source;
use affekt::ops::elementwise::{self, Derivatives, Elementwise};
use affekt::ops::op::{Domain, Input, Signature};
use affekt::{DType, Device, Error};
use libtest_mimic::{Failed, Trial};

const CUBE: &str = "
fn NAME(x: T) -> T {
    return x * x * x;
}

fn NAME_d_x(x: T, y: T, dy: T) -> T {
    return dy * 3.0f * x * x;
}
";

/// x³, with `from` replaced by `to` in its text.
fn cube(name: &'static str, from: &str, to: &str) -> &'static Elementwise {
    assert!(CUBE.contains(from));
    let text = CUBE.replacen(from, to, 1).replace("NAME", name);
    Box::leak(Box::new(Elementwise {
        signature: Box::leak(Box::new(Signature {
            name,
            formula: "y = x³",
            source: "tests/harness",
            inputs: const { &[Input::grad("x", &[DType::F32, DType::F16])] },
            attrs: &[],
            outputs: &["y"],
        })),
        function: Box::leak(Box::new(Function {
            name,
            source: Source {
                name: Cow::Owned(format!("test/{name}")),
                text: Cow::Owned(text),
            },
            inputs: &[("x", Kind::Elem)],
            output: Kind::Elem,
            params: &[],
            differentiable: &[true],
            indexed: false,
            twin: |x, _| x[0] * x[0] * x[0],
            ulps: 3.0,
            relative: true,
            course: Course::Monotone,
        })),
        domains: &[Domain::Uniform(-2.0, 2.0)],
        extra_cases: Vec::new,
        flops: 2,
        derivatives: Derivatives::unread(),
    }))
}

/// |x|³ under the name of x³.
pub fn wrong(name: &'static str) -> &'static Elementwise {
    cube(name, "x * x * x", "abs(x) * x * x")
}

pub fn trials(profile: &'static str, device: &Device) -> Vec<Trial> {
    let by = |mutant, property| super::is_caught(profile, mutant, property, device);
    let right = cube("cube", "x", "x");
    let wrong = wrong("cube_of_the_magnitude");
    let quantised = cube(
        "cube_in_f16",
        "return x * x * x",
        "return quantizeToF16(x * x) * x",
    );
    let slope = cube("cube_with_a_wrong_slope", "dy * 3.0f", "3.0f");
    let digit = cube(
        "cube_of_another_digit",
        "return x * x * x",
        "return 1.001f * x * x * x",
    );
    // Right for all positive values: those that a derivative of y alone is tried on must not be positive only.
    let by_value = cube(
        "cube_with_a_slope_of_the_value",
        "3.0f * x * x",
        "3.0f * sign(y) * pow(abs(y), 0.6666667f)",
    );
    let (first, second, third) = (device.clone(), device.clone(), device.clone());
    let fourth = device.clone();
    vec![
        Trial::test(
            format!("{profile}/cube_with_a_slope_of_the_value is caught by verification"),
            move || match expressions::check_gradient(&fourth, by_value, DType::F32) {
                // A kernel of one function, which reads a stored value, has nothing to give way to.
                Err(Error::KernelWrong { .. }) => Ok(()),
                Ok(found) => Err(Failed::from(format!("only this is found wrong: {found:?}"))),
                Err(other) => Err(Failed::from(other)),
            },
        ),
        super::passes(profile, right, device),
        by(wrong, Value),
        by(quantised, Value),
        by(slope, Gradient),
        Trial::test(
            format!("{profile}/cube is right in expressions"),
            move || match in_expressions(&first, right)? {
                (_, found) if found.is_empty() => Ok(()),
                (_, mut found) => Err(Failed::from(found.remove(0))),
            },
        ),
        Trial::test(
            format!("{profile}/cube_of_the_magnitude is caught in expressions"),
            move || most(in_expressions(&second, wrong)?),
        ),
        Trial::test(
            format!("{profile}/cube_of_another_digit is caught in expressions"),
            move || most(in_expressions(&third, digit)?),
        ),
    ]
}

/// Random expressions of all functions, of which every third or so is `op`: how many there are with it, and what is
/// found wrong.
fn in_expressions(
    device: &Device,
    op: &'static Elementwise,
) -> Result<(usize, Vec<String>), Failed> {
    let mut functions: Vec<_> = elementwise::all().collect();
    functions.extend([op; 30]);
    let mut n = 0;
    let mut found = Vec::new();
    for seed in 0..16 {
        let report = expressions::check(device, &functions, seed)?;
        if !report.functions.contains(&op.signature.name) {
            continue;
        }
        n += 1;
        found.extend(report.wrong);
    }
    Ok((n, found))
}

/// Some expressions hide what is wrong in them: behind a comparison, or behind the rounding of f16.
fn most((n, mut found): (usize, Vec<String>)) -> Result<(), Failed> {
    // By its numbers, without the help of verification.
    found.retain(|f| f.starts_with("fused: element") || f.starts_with("one by one: element"));
    match 2 * found.len() > n && n > 8 {
        true => Ok(()),
        false => Err(Failed::from(format!(
            "{} of {n} expressions are found wrong",
            found.len()
        ))),
    }
}
