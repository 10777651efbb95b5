//! Elementwise operators of an app's own, as scalar functions: a right one, and mutants of it.

use std::borrow::Cow;

use affekt::DType;
use affekt::Device;
use affekt::check::Property::{Gradient, Value};
use affekt::check::expressions;
use affekt::fuse::{Function, Kind};
use affekt::gpu::Source;
use affekt::ops::elementwise::{self, Derivatives, Elementwise};
use affekt::ops::op::{Domain, Input, Signature};
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
    let fused = move |device: &Device, op: &'static Elementwise| {
        let mut functions: Vec<_> = elementwise::all()
            .filter(|op| ["add", "gelu", "mul", "where"].contains(&op.signature.name))
            .collect();
        functions.push(op);
        // Each seed draws other functions; some expressions do without this one.
        (0..12).find_map(|seed| match expressions::check(device, &functions, seed) {
            Ok(report) => report.wrong,
            Err(error) => Some(error.to_string()),
        })
    };
    let (first, second) = (device.clone(), device.clone());
    vec![
        super::passes(profile, right, device),
        by(wrong, Value),
        by(quantised, Value),
        by(slope, Gradient),
        Trial::test(
            format!("{profile}/cube is right in expressions"),
            move || fused(&first, right).map_or(Ok(()), |found| Err(Failed::from(found))),
        ),
        Trial::test(
            format!("{profile}/cube_of_the_magnitude is caught in expressions"),
            move || {
                fused(&second, wrong)
                    .map(drop)
                    .ok_or_else(|| Failed::from("nothing caught it"))
            },
        ),
    ]
}
