//! Host memory of every operator, case by case. Alone in its program: what other tests hold would count as its own.
//!
//! Some forms of kernels make a software driver take memory at every dispatch and keep it: on lavapipe sums by quads in three
//! nested loops and branches between long functions did, 130 KB each time.

mod support_runtime;

use std::process::ExitCode;

use affekt::ops::op::{Case, Op};
use affekt::ops::{self, probe};
use affekt::{DType, Device, Result, Tensor};
use support_runtime::{open, resident_kb};

fn main() -> ExitCode {
    support_runtime::main(&[(
        "no_operator_keeps_memory_of_the_host",
        no_operator_keeps_memory_of_the_host,
    )])
}

/// Calls before the first look, in which pools and caches fill, and those between the looks.
const CALLS: [usize; 2] = [20, 40];
/// Kilobytes per call beyond which memory is kept, and not merely asked for in pages now and then.
const KEPT_KB: f64 = 30.0;

fn no_operator_keeps_memory_of_the_host() -> Result<()> {
    let device = open();
    if resident_kb().is_none() {
        return Ok(()); // the system does not tell
    }
    let mut kept = Vec::new();
    let (mut n_cases, mut n_looked) = (0, 0);
    for op in ops::all() {
        for case in op.cases().iter().filter(|c| !c.bench) {
            let name = format!("{}/{}", op.signature().name, case.label);
            n_cases += 1;
            for (what, with_gradient) in [("forward", false), ("backward", true)] {
                // A case may be refused, or ask for what this device lacks: other tests look at that.
                if let Ok(kb) = kept_per_call(&device, op, case, with_gradient) {
                    n_looked += 1;
                    if kb > KEPT_KB {
                        kept.push(format!("{name} {what}: {kb:.0} kB per call"));
                    }
                }
            }
        }
    }
    assert!(kept.is_empty(), "{}", kept.join("; "));
    // All but a few go forward, and more than half of them backward.
    assert!(
        2 * n_looked > 3 * n_cases,
        "{n_looked} looks at {n_cases} cases"
    );
    Ok(())
}

fn kept_per_call(device: &Device, op: &'static dyn Op, case: &Case, gradient: bool) -> Result<f64> {
    let attrs = case.attrs.complete(op.signature())?;
    let mut inputs = Vec::new();
    for (at, array) in probe::inputs_of(case, 1).iter().enumerate() {
        inputs.push(match (&case.inputs[at], array) {
            (Some(spec), Some(array)) => {
                let tensor = probe::upload(device, array, spec.dtype)?;
                let flows = gradient && op.signature().inputs[at].differentiable;
                Some(match flows && spec.dtype.is_float() {
                    true => tensor.requires_grad()?,
                    false => tensor,
                })
            }
            _ => None,
        });
    }
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let call = || -> Result<()> {
        let outputs = ops::run(op, &inputs, &attrs)?;
        if gradient {
            outputs[0].cast(DType::F32)?.sum(&[], false)?.backward()?;
        } else {
            for output in &outputs {
                output.force()?;
            }
        }
        device.flush()
    };
    let mut looks = [0.0; 2];
    for (look, calls) in looks.iter_mut().zip(CALLS) {
        for _ in 0..calls {
            call()?;
        }
        device.wait()?;
        *look = resident_kb().unwrap_or_default();
    }
    Ok((looks[1] - looks[0]) / CALLS[1] as f64)
}
