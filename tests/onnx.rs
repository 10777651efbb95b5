//! The ONNX project's operator vectors below `$AFFEKT_DATA/reference-onnx`, found by listing the folder.
//!
//! Every vector is a trial of its own; one that is not run is ignored with the reason in its name. What ONNX calls an
//! operator is one row of [`mappings`].

mod support;

#[path = "onnx/mappings.rs"]
mod mappings;
#[path = "onnx/vectors.rs"]
mod vectors;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use affekt::Device;
use affekt::gpu::Limits;
use affekt::ops::probe::download;
use affekt::verdict::compare;
use libtest_mimic::{Failed, Trial};
use vectors::{Suite, Vector};

/// Relative and absolute; ONNX's own runner allows 1e-3 and 1e-7.
const TOLERANCE: (f64, f64) = (1e-5, 1e-6);
/// Where the vector is stored in f16, whose unit roundoff is 4.9e-4.
const TOLERANCE_F16: (f64, f64) = (1e-3, 1e-6);

fn main() -> ExitCode {
    let tests = match support::data("reference-onnx") {
        Err(reason) => vec![support::absent("onnx/all", "data", &reason)],
        Ok(folder) => match Suite::all(&folder) {
            Ok(suites) => trials(suites),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        },
    };
    support::run(tests, &["onnx/".to_string()])
}

fn trials(suites: Vec<Suite>) -> Vec<Trial> {
    let device = support::open(Limits::Full);
    if let Ok(device) = &device {
        eprintln!("onnx/ on {}", device.adapter().label());
    }
    let mut tests = Vec::new();
    for suite in suites {
        let file: Arc<Path> = suite.tensors.into();
        for vector in suite.vectors {
            let name = format!("onnx/{}/{}", suite.name, vector.test);
            let name = match &vector.not_compared()[..] {
                [] => name,
                others => format!("{name} without {}", others.join(", ")),
            };
            let reason = mappings::left_out(&vector).or_else(|| vector.beyond_f32(&file));
            tests.push(match (reason, &device) {
                (Some(reason), _) => support::left_out(&name, &reason),
                (None, Err(reason)) => support::absent(&name, "adapter", reason),
                (None, Ok(device)) => {
                    let (device, file) = (device.clone(), file.clone());
                    Trial::test(name, move || run(&vector, &file, &device))
                }
            });
        }
    }
    tests
}

fn run(vector: &Vector, file: &Path, device: &Device) -> Result<(), Failed> {
    let values = vector.load(file)?;
    let got = mappings::evaluate(vector, &values, device)?;
    if got.is_empty() {
        return Err(Failed::from("nothing was computed"));
    }
    for (name, tensor) in got {
        let expected = vector.expected(&values, &name)?;
        let got = download(&tensor)?;
        if got.shape[..] != expected.shape[..] {
            return Err(Failed::from(format!(
                "{name} has shape {:?}, expected {:?}",
                got.shape, expected.shape
            )));
        }
        let (relative, absolute) = match expected.dtype.as_str() {
            "float16" => TOLERANCE_F16,
            "float32" | "float64" => TOLERANCE,
            _ => (0.0, 0.0),
        };
        let bound = |i: usize| absolute + relative * expected.data[i].abs();
        compare(&got.data, &expected.data, bound).map_err(|m| format!("{name}: {m}"))?;
    }
    Ok(())
}
