//! Steps of optimizers as operators: what training does to a parameter, in one kernel, and the norm of all gradients.
//!
//! Nothing is written in place: a step gives a fresh parameter and fresh moments, so whoever still reads the old ones can,
//! and a step that fails half-way has changed nothing. A gradient that is not finite is found by [`global_norm`], whose
//! result a step takes as `clip`: then it gives back what it was given.

pub mod adam_step;
pub mod global_norm;
pub mod sgd_step;

use crate::error::{Error, Result};
use crate::gpu::shader::Elem;
use crate::gpu::{Kernel, Source};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Case, Domain, Entry, Input, Meta, Op, Role, any_device,
};
use crate::tensor::{DType, Tensor};

pub use global_norm::global_norm;

pub(crate) static OPS: &[&dyn Op] = &[
    &adam_step::ADAM_STEP,
    &global_norm::GLOBAL_NORM,
    &sgd_step::SGD_STEP,
];

/// Optimizers compute in f32 whatever the model does.
const F32: &[DType] = &[DType::F32];

const fn input(name: &'static str) -> Input {
    Input::plain(name, F32)
}

const fn setting(name: &'static str, default: f64) -> AttrSpec {
    AttrSpec {
        name,
        default: AttrDefault::Float(default),
    }
}

/// Invocations of a workgroup, one element or one quad of them each.
const WORKGROUP: u64 = 64;

/// The entry points of an update from best to naive, the first only where every tensor can be read by quads. A load costs
/// per lane whatever its width on software drivers: [768, 768] on lavapipe, adam_step 1.75 ms by quads, and about twice that
/// by elements (a disturbed machine: 8.4 against 5.5 and 12 against 3.5).
fn ladder(
    quads: &'static str,
    naive: &'static str,
    tensors: &[&Tensor],
) -> Vec<(&'static str, u32)> {
    let even = |t: &&Tensor| t.numel().is_multiple_of(4) && t.layout().offset.is_multiple_of(4);
    match tensors.iter().all(even) {
        true => vec![(quads, 0), (naive, 0)],
        false => vec![(naive, 0)],
    }
}

/// Workgroups for `n` elements with the chosen entry point.
fn groups(entry: &str, n: usize) -> u64 {
    let invocations = match entry.ends_with("_vec4") {
        true => n / 4,
        false => n,
    };
    (invocations as u64).div_ceil(WORKGROUP)
}

/// Whether an entry point can serve a case of an update.
fn tries(entry: &Entry, case: &Case) -> bool {
    let n = case.inputs[0].as_ref().map_or(0, |spec| spec.shape.numel());
    !entry.name().ends_with("_vec4") || (n > 0 && n.is_multiple_of(4))
}

/// Both entry points of an update.
fn entries(kernels: [Kernel; 2]) -> Vec<Entry> {
    let rungs = ["naive", "vec4"];
    kernels
        .into_iter()
        .zip(rungs)
        .map(|(kernel, rung)| Entry {
            rung,
            ..entry(kernel)
        })
        .collect()
}

fn kernel(source: Source, entry: &'static str) -> Kernel {
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64)],
        elem: Elem::F32,
    }
}

/// A kernel without alternatives.
fn entry(kernel: Kernel) -> Entry {
    Entry {
        role: Role::Forward,
        rung: "naive",
        variant: 0,
        needs: any_device,
        kernel,
    }
}

/// All inputs have the shape of `x`, but `clip`, which is the result of [`global_norm`].
fn check(op: &'static str, x: Meta, alike: &[(&str, Meta)], clip: Option<Meta>) -> Result<()> {
    for (name, meta) in alike {
        if meta.shape != x.shape {
            return Err(Error::shape(
                op,
                format!(
                    "{name} has shape {:?}, expected {:?}, that of x",
                    meta.shape, x.shape
                ),
            ));
        }
    }
    match clip {
        Some(clip) if clip.shape[..] != [4] => Err(Error::shape(
            op,
            format!(
                "clip has shape {:?}, expected [4], what global_norm gives",
                clip.shape
            ),
        )),
        _ => Ok(()),
    }
}

/// Refuses a setting outside of `[low, high)`.
fn check_setting(op: &'static str, name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value >= low && value < high {
        return Ok(());
    }
    let range = if high.is_finite() {
        format!("from {low} to below {high}")
    } else {
        format!("a finite number from {low}")
    };
    Err(Error::attribute(
        op,
        format!("{name} is {value}, expected {range}"),
    ))
}

/// What twins read of `clip`: the factor of the gradient; `None` if nothing is to be done.
fn factor(clip: Option<&Array>) -> Option<f64> {
    match clip {
        None => Some(1.0),
        Some(clip) if clip.data[2] != 0.0 => None,
        Some(clip) => Some(clip.data[1]),
    }
}

/// The offset of an optional tensor, and something to bind in its place: kernels do not look at it then.
fn bound<'a>(given: Option<&'a Tensor>, stand_in: &'a Tensor) -> (&'a Tensor, u32) {
    let tensor = given.unwrap_or(stand_in);
    (tensor, tensor.layout().offset as u32)
}

/// `n` inputs of one shape, then `clip` with these numbers in every place, or absent.
fn case(label: &str, shape: &[usize], n: usize, clip: Option<f64>) -> Case {
    // Second moments are never negative; the rest may be what it likes.
    let signed = Domain::Uniform(-1.0, 1.0);
    let positive = Domain::Uniform(0.0, 1.0);
    let case = (0..n).fold(Case::new(label), |case, i| {
        case.f32(shape, if i == 3 { positive } else { signed })
    });
    match clip {
        None => case.absent(),
        Some(number) => case.f32(&[4], Domain::Constant(number)),
    }
    .no_gradient()
}
