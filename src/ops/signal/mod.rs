//! Signals: Fourier transforms of any length, short-time spectra, windows, mel bands, decibels.
//!
//! A complex tensor is a real one whose last axis is 2 (re, im). Factors, windows and filters are made on the host in
//! f64 and rounded once.

mod codelet;
mod constants;
pub mod decibel;
pub mod fft;
mod framing;
mod fused;
pub mod irfft;
mod irfft_fused;
pub mod istft;
pub mod mel;
pub mod options;
mod pass;
pub mod power;
pub mod rfft;
pub mod stft;
mod stft_fused;
mod transform;
pub mod window;

use crate::error::{Error, Result};
use crate::gpu::{Caps, Kernel};
use crate::ops::index::pad::PadMode;
use crate::ops::op::{
    Array, Attr, AttrDefault, AttrSpec, Attrs, Case, Cost, Entry, Input, Meta, Op, Role, Signature,
    any_device,
};
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

pub use decibel::{Decibels, Reference};
pub use mel::{MelFilters, MelNorm, MelScale};
pub use options::{Continuation, Stft};
pub use window::Window;

pub(crate) static OPS: &[&dyn Op] = &[
    &decibel::AMPLITUDE_TO_DB,
    &decibel::LOG_CLAMPED,
    &decibel::POWER_TO_DB,
    &fft::FFT,
    &fft::IFFT,
    &irfft::IRFFT,
    &istft::ISTFT,
    &mel::MEL,
    &power::MAGNITUDE,
    &power::POWER,
    &rfft::RFFT,
    &stft::STFT,
];

/// What signal operators take.
const F32: &[DType] = &[DType::F32];
const X: &[Input] = &[Input::grad("x", F32)];

/// Which direction of a transform is divided by what, as in torch.fft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Norm {
    /// The inverse by n.
    #[default]
    Backward,
    /// Both by √n.
    Ortho,
    /// The forward one by n.
    Forward,
}

const NORMS: &[&str] = &["backward", "ortho", "forward"];

const NORM: AttrSpec = AttrSpec {
    name: "norm",
    default: AttrDefault::Choice(NORMS),
};

impl Norm {
    fn of(attrs: &Attrs) -> Norm {
        match attrs.word("norm") {
            "ortho" => Norm::Ortho,
            "forward" => Norm::Forward,
            _ => Norm::Backward,
        }
    }

    fn scale(self, n: usize, inverse: bool) -> f64 {
        let n = n as f64;
        match (self, inverse) {
            (Norm::Backward, false) | (Norm::Forward, true) => 1.0,
            (Norm::Ortho, _) => 1.0 / n.sqrt(),
            _ => 1.0 / n,
        }
    }
}

/// The input that must be there.
fn given<T: Copy>(inputs: &[Option<T>], i: usize) -> T {
    inputs[i].expect("check_inputs saw it")
}

/// A kernel that serves every case of its operator.
fn entry(kernel: Kernel, role: Role) -> Entry {
    Entry {
        role,
        rung: "naive",
        variant: 0,
        needs: any_device,
        kernel,
    }
}

/// The axis cut or filled up with zeros at its end.
fn resized(x: &Tensor, axis: usize, n: usize) -> Result<Tensor> {
    let held = x.dim(axis);
    if n <= held {
        return match n == held {
            true => Ok(x.clone()),
            false => x.narrow(axis as i64, 0, n),
        };
    }
    let mut pads = vec![(0, 0); x.shape().len()];
    pads[axis].1 = n - held;
    x.pad(&pads, PadMode::Constant(0.0))
}

/// The methods on tensors refuse other dtypes as the signatures do.
fn only_f32(op: &'static str, x: Meta) -> Result<()> {
    match x.dtype {
        DType::F32 => Ok(()),
        other => Err(Error::dtype(op, format!("x is {other}, expected f32"))),
    }
}

/// Refuses transforms of nothing.
fn some_length(op: &'static str, shape: &Shape, axis: usize, n: usize) -> Result<usize> {
    if n == 0 {
        return Err(Error::Empty {
            op,
            message: format!("axis {axis} of x {shape:?} has length 0"),
        });
    }
    Ok(n)
}

/// A length given as an attribute; 0 leaves it to the operator.
fn length(op: &'static str, attrs: &Attrs, name: &str) -> Result<Option<usize>> {
    let n = attrs.int(name);
    match usize::try_from(n) {
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some(n)),
        Err(_) => Err(Error::attribute(
            op,
            format!("{name} is {n}, expected a number from 0"),
        )),
    }
}

/// The length that the attribute `n` of a case asks for; 0 without it.
fn asked_length(case: &Case) -> i64 {
    match case.attrs.iter().find(|(name, _)| *name == "n") {
        Some((_, Attr::Int(n))) => *n,
        _ => 0,
    }
}

/// Numbers that a transform of length `n` of terms up to `magnitude` gives. Its error grows with the number of passes,
/// log₂ n, and is spread over all results, of which the root mean square is √n (Higham 2002, section 24.1).
fn transform_tolerance(n: usize, magnitude: f64, scale: f64) -> Tolerance {
    let growth = 8.0 + 4.0 * (n.max(1) as f64).log2();
    let ulps = Tolerance::ulps(growth, 2.0 * magnitude * (n.max(1) as f64).sqrt() * scale);
    Tolerance {
        reason: "a Fourier transform: (8 + 4 log n) u of √n terms",
        ..ulps
    }
}

/// Flops of a transform of `n` complex numbers, by the customary count.
fn transform_flops(n: usize) -> u64 {
    (5.0 * n as f64 * (n.max(1) as f64).log2()) as u64
}

/// An operator made of functions.
pub struct Plain {
    pub signature: &'static Signature,
    pub(crate) infer: fn(&[Option<Meta>], &Attrs) -> Result<Meta>,
    pub(crate) run: fn(&[Option<&Tensor>], &Attrs) -> Result<Tensor>,
    pub twin: fn(&[Option<&Array>], &Attrs) -> Array,
    pub tolerance: fn(&[Option<&Array>], &Attrs) -> Tolerance,
    /// Whether it is linear: its gradient is the adjoint, which computes as much and looks at nothing else. Where it is not,
    /// the gradient looks at the input.
    pub linear: bool,
    pub flops: fn(&[Option<Meta>], &Attrs) -> u64,
    pub cases: fn() -> Vec<Case>,
    pub refusals: fn() -> Vec<(&'static str, Case)>,
    pub entries: fn() -> Vec<Entry>,
    /// An entry point that `entries` does not list.
    pub(crate) further: fn(&str, u32) -> Option<Entry>,
    /// What an entry point is tried on; the first case if `None`.
    pub(crate) verify: fn(&Entry) -> Option<Case>,
    pub(crate) tries: fn(&Entry, &Case) -> bool,
    /// What runs for these shapes, and why.
    pub(crate) plan: fn(&[Option<Meta>], &Attrs, &Caps) -> Option<String>,
}

/// Of operators that have nothing to choose.
fn no_plan(_: &[Option<Meta>], _: &Attrs, _: &Caps) -> Option<String> {
    None
}

impl Op for Plain {
    fn signature(&self) -> &'static Signature {
        self.signature
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        Ok(vec![(self.infer)(inputs, attrs)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        Ok(vec![(self.run)(inputs, attrs)?])
    }

    fn entries(&self) -> Vec<Entry> {
        (self.entries)()
    }

    fn entry(&self, name: &str, variant: u32) -> Option<Entry> {
        let listed = (self.entries)();
        let same = |e: &Entry| e.name() == name && e.variant == variant;
        listed
            .into_iter()
            .find(same)
            .or_else(|| (self.further)(name, variant))
    }

    fn cases(&self) -> Vec<Case> {
        (self.cases)()
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        (self.verify)(entry).unwrap_or_else(|| (self.cases)().remove(0))
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        (self.tries)(entry, case)
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, caps: &Caps) -> Option<String> {
        (self.plan)(inputs, attrs, caps)
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        vec![(self.twin)(inputs, attrs)]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        (self.tolerance)(inputs, attrs)
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        Cost::streaming(inputs, outputs, (self.flops)(inputs, attrs))
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        let cost = Cost::vjp(self.signature, inputs, outputs);
        match self.linear {
            true => cost.computing((self.flops)(inputs, attrs)),
            false => cost.reading(&inputs[0]),
        }
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        (self.refusals)()
    }
}
