//! Every operator with verification on, as an app first meets it: no right kernel may be refused.

use std::process::ExitCode;
use std::sync::Arc;

use affekt::ops::op::Op;
use affekt::ops::probe::{check_gradients, inputs_of, upload};
use affekt::{Device, Error, ops};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let device = match Device::open_default() {
        Ok(device) => Arc::new(device),
        Err(Error::NoAdapter { hint }) => {
            let reason = format!("no adapter: {hint}");
            let required = std::env::var("AFFEKT_REQUIRE").is_ok_and(|r| r.contains("adapter"));
            let ignored = Trial::test(reason, || Err(Failed::from("an adapter is required")))
                .with_ignored_flag(!required);
            return libtest_mimic::run(&arguments, vec![ignored]).exit_code();
        }
        Err(error) => panic!("{error}"),
    };
    let tests = ops::all()
        .map(|op| {
            let device = device.clone();
            Trial::test(op.signature().name, move || {
                run(op, &device).map_err(Failed::from)
            })
        })
        .collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Values and gradients of the operator's first case: kernels are verified on the way.
fn run(op: &'static dyn Op, device: &Device) -> Result<(), String> {
    let case = op.cases().remove(0);
    let attrs = case
        .attrs
        .complete(op.signature())
        .map_err(|e| e.to_string())?;
    let inputs = inputs_of(&case, 3);
    let tensors = case
        .inputs
        .iter()
        .zip(&inputs)
        .map(|(spec, array)| match (spec, array) {
            (Some(spec), Some(array)) => upload(device, array, spec.dtype).map(Some),
            _ => Ok(None),
        })
        .collect::<affekt::Result<Vec<_>>>()
        .map_err(|e| e.to_string())?;
    let references: Vec<_> = tensors.iter().map(Option::as_ref).collect();
    for output in ops::run(op, &references, &attrs).map_err(|e| e.to_string())? {
        output.export().map_err(|e| e.to_string())?;
    }
    if !case.smooth {
        return Ok(());
    }
    check_gradients(
        op,
        device,
        &inputs,
        &tensors,
        &attrs,
        3,
        &|device, dy, dtype| upload(device, dy, dtype),
    )
    .map_err(|e| e.to_string())?
}
