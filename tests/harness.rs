//! Operators that are wrong on purpose, each of which conformance must reject, beside a right one that it must not.
//!
//! Also what happens when a kernel is wrong on an adapter: the next rung serves, or the operator says so, and the
//! verdict is remembered.

#[path = "harness/functions.rs"]
mod functions;
#[path = "harness/specimen.rs"]
mod specimen;
mod support;
#[path = "harness/trust.rs"]
mod trust;

use std::process::ExitCode;

use affekt::Device;
use affekt::check::Property::{self, *};
use affekt::check::{Outcome, trials_of};
use affekt::ops::op::Op;
use libtest_mimic::{Failed, Trial};
use specimen::Formula::{self, *};
use specimen::{Fault, Specimen};

/// A mutant: what is changed in the text of the right operator, and the property that catches it.
type Edit = (&'static str, Formula, &'static str, &'static str, Property);

const EDITS: &[Edit] = &[
    (
        "no_bounds_guard",
        Square,
        "if i >= params.n {",
        "if i >= params.n && params.n == 0u {",
        Value,
    ),
    (
        "writes_past_the_end",
        Square,
        "y[params.y_offset + i] =",
        "y[params.y_offset + params.n] = Elem(1);\n    y[params.y_offset + i] =",
        Value,
    ),
    (
        "writes_before_the_start",
        Square,
        "y[params.y_offset + i] =",
        "y[params.y_offset - 1u] = Elem(1);\n    y[params.y_offset + i] =",
        Value,
    ),
    (
        "last_never_written",
        Square,
        "    let v =",
        "    if i == params.n - 1u {\n        return;\n    }\n    let v =",
        Value,
    ),
    (
        "one_never_written",
        Square,
        "    let v =",
        "    if i == 65u {\n        return;\n    }\n    let v =",
        Value,
    ),
    (
        "nan_in_one_row",
        Square,
        "let bits =",
        "let bits = select(0u, 0x7fc00000u, i / 67u == 1u) |",
        Value,
    ),
    (
        "input_offset_ignored",
        Square,
        "x[params.x_offset + i]);\n    let bits",
        "x[i]);\n    let bits",
        Strided,
    ),
    (
        "output_offset_ignored",
        Square,
        "y[params.y_offset + i]",
        "y[i]",
        Value,
    ),
    (
        "remainder_one_short",
        RowSum,
        "c = whole; c < params.cols;",
        "c = whole; c + 1u < params.cols;",
        Value,
    ),
    (
        "remainder_rounded_up",
        RowSum,
        "params.cols / 8u * 8u",
        "(params.cols + 7u) / 8u * 8u",
        Value,
    ),
    (
        "remainder_left_out",
        RowSum,
        "c = whole; c < params.cols;",
        "c = whole; c < whole;",
        Value,
    ),
    (
        "row_stride_ignored",
        RowSum,
        "row * params.cols",
        "row * 0u",
        Value,
    ),
    (
        "sums_in_f16",
        RowSum,
        "total = total + partial;",
        "total = total + partial;\n        if params.half == 1u {\n            total = quantizeToF16(total);\n        }",
        Half,
    ),
    (
        "gradient_for_ones_only",
        Square,
        "slope * Acc(dy[params.b_offset + i])",
        "slope",
        Gradient,
    ),
    (
        "gradient_of_another_function",
        Square,
        "let slope = 2.0f",
        "let slope = 2.001f",
        Gradient,
    ),
    (
        "accumulate_overwrites",
        Square,
        "if ACCUMULATE {",
        "if ACCUMULATE && params.n == 0u {",
        Accumulate,
    ),
];

/// Mutants whose fault is in the Rust half.
const FAULTS: &[(&str, Formula, Fault, Property)] = &[
    ("batch_stride_ignored", Add, Fault::BatchStride, Value),
    ("transposed_strides", Add, Fault::Transposed, Value),
    ("strides_ignored", Add, Fault::Strides, Strided),
    ("stride_zero_ignored", Add, Fault::Stretched, Stretched),
    (
        "upstream_strides_ignored",
        Square,
        Fault::UpstreamStrides,
        StridedGradient,
    ),
    ("other_bits_each_time", Square, Fault::OtherBits, Repeat),
    (
        "other_gradient_bits_each_time",
        Square,
        Fault::OtherGradientBits,
        Repeat,
    ),
    ("no_gradient", Square, Fault::NoGradient, Gradient),
    ("shape_not_as_promised", Square, Fault::Promise, Value),
    (
        "accepts_what_it_must_refuse",
        Square,
        Fault::Accepts,
        Refuse,
    ),
    ("refuses_after_the_work", Square, Fault::RefusesLate, Refuse),
    (
        "refuses_anonymously",
        Square,
        Fault::RefusesAnonymously,
        Refuse,
    ),
    (
        "rung_that_nobody_offers",
        Square,
        Fault::UnreachedRung,
        Reached,
    ),
    ("dispatches_unverified", Square, Fault::Unchosen, Value),
];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut groups = Vec::new();
    for (profile, device) in support::profiles() {
        groups.push(format!("{profile}/"));
        let device = match device {
            Ok(device) => device,
            Err(reason) => {
                tests.push(support::absent(
                    &format!("{profile}/all"),
                    "adapter",
                    &reason,
                ));
                continue;
            }
        };
        for (name, formula) in [("square", Square), ("row_sum", RowSum), ("sum_of_two", Add)] {
            tests.push(passes(profile, Specimen::right(name, formula), &device));
        }
        for (name, formula, from, to, property) in EDITS {
            let mutant = Specimen::edited(name, *formula, &[(*from, *to)]);
            tests.push(is_caught(profile, mutant, *property, &device));
        }
        for (name, formula, fault, property) in FAULTS {
            let mutant = Specimen::faulty(name, *formula, *fault);
            tests.push(is_caught(profile, mutant, *property, &device));
        }
        tests.extend(functions::trials(profile, &device));
    }
    tests.extend(trust::trials(&mut groups));
    support::run(tests, &groups)
}

/// What conformance finds wrong: property, trial and detail.
fn findings(op: &'static dyn Op, device: &Device) -> Result<Vec<(Property, String)>, Failed> {
    let mut found = Vec::new();
    for trial in trials_of(op) {
        if let Outcome::Wrong(detail) = trial.run(device)? {
            found.push((trial.property, format!("{}: {detail}", trial.name())));
        }
    }
    Ok(found)
}

fn passes(profile: &str, op: &'static dyn Op, device: &Device) -> Trial {
    let device = device.clone();
    let name = op.signature().name;
    Trial::test(
        format!("{profile}/{name} is right"),
        move || match findings(op, &device)?.into_iter().next() {
            None => Ok(()),
            Some((_, finding)) => Err(Failed::from(finding)),
        },
    )
}

/// The mutant must be caught by this property at least; the trial says what others saw.
fn is_caught(profile: &str, op: &'static dyn Op, by: Property, device: &Device) -> Trial {
    let device = device.clone();
    let name = op.signature().name;
    let title = format!("{profile}/{name} is caught by {}", by.name());
    Trial::test(title, move || {
        let found = findings(op, &device)?;
        if found.iter().any(|(property, _)| *property == by) {
            return Ok(());
        }
        Err(Failed::from(match found.is_empty() {
            true => "nothing caught it".to_string(),
            false => {
                let lines: Vec<String> = found.into_iter().map(|(_, line)| line).collect();
                format!("only others caught it: {}", lines.join("; "))
            }
        }))
    })
}
