//! y = 10 log₁₀ max(x, amin) − 10 log₁₀ max(ref, amin), not below the largest of its item less top_db
//! vjp: dx = dy · 10 / (x ln 10) where x > amin; what is lifted sends its gradient to the largest of the item
//! source: librosa.power_to_db, librosa.amplitude_to_db (twice as much); torchaudio.functional.amplitude_to_DB

use crate::error::{Error, Result};
use crate::ops::op::{Array, AttrDefault, AttrSpec, Attrs, Case, Domain, Meta, Signature};
use crate::ops::signal::{Plain, X, given, no_plan};
use crate::tensor::Tensor;
use crate::verdict::Tolerance;

/// What 0 dB is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reference {
    /// This number.
    Number(f64),
    /// The largest of each item; an item is what the last two axes hold.
    Largest,
}

/// How numbers become decibels. By default, as librosa's, against 1 and over a range of 80 dB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decibels {
    pub reference: Reference,
    /// Less than this counts as this; `None` is 1e-10 of power and 1e-5 of amplitude.
    pub amin: Option<f64>,
    /// The range below the largest of an item.
    pub top_db: Option<f64>,
}

impl Default for Decibels {
    fn default() -> Self {
        Decibels {
            reference: Reference::Number(1.0),
            amin: None,
            top_db: Some(80.0),
        }
    }
}

impl Tensor {
    /// ln max(x, eps): the logarithm that silence does not break. The gradient is that of ln x, and 0 below `eps`.
    ///
    /// Errors: [`Error::Attribute`] unless `eps` is positive, [`Error::Dtype`] unless f32.
    pub fn log_clamped(&self, eps: f64) -> Result<Tensor> {
        check_floor("log_clamped", Meta::of(self), "eps", eps)?;
        self.maximum(eps)?.log()
    }

    /// Decibels of power, 10 log₁₀. 0.01 is −20 dB.
    ///
    /// Shapes: any; an item for `top_db` is what the last two axes hold.
    /// Errors: [`Error::Attribute`] for an `amin` or a reference that is not positive or a negative `top_db`,
    /// [`Error::Dtype`] unless f32.
    pub fn power_to_db(&self, options: Decibels) -> Result<Tensor> {
        decibels("power_to_db", self, options, (10.0, 1e-10))
    }

    /// Decibels of amplitude, 20 log₁₀. 0.1 is −20 dB.
    ///
    /// Shapes and errors: as [`power_to_db`](Self::power_to_db).
    pub fn amplitude_to_db(&self, options: Decibels) -> Result<Tensor> {
        decibels("amplitude_to_db", self, options, (20.0, 1e-5))
    }
}

fn decibels(
    op: &'static str,
    x: &Tensor,
    options: Decibels,
    (factor, least): (f64, f64),
) -> Result<Tensor> {
    let amin = options.amin.unwrap_or(least);
    check(op, Meta::of(x), options, amin)?;
    if x.numel() == 0 {
        return Ok(x.clone());
    }
    let floored = x.maximum(amin)?;
    let level = floored.log10()?.mul(factor)?;
    let rank = x.shape().len() as i64;
    let item: Vec<i64> = ((rank - 2).max(0)..rank).collect();
    // Of rank 0 there is one item, and no axes stand for all.
    let level = match options.reference {
        Reference::Number(number) => level.sub(factor * number.max(amin).log10())?,
        Reference::Largest => level.sub(&level.max(&item, true)?)?,
    };
    match options.top_db {
        None => Ok(level),
        Some(top_db) => level.maximum(&level.max(&item, true)?.sub(top_db)?),
    }
}

fn check_floor(op: &'static str, x: Meta, name: &str, floor: f64) -> Result<()> {
    super::only_f32(op, x)?;
    // As f32, in which it must not be 0.
    if !(floor as f32 > 0.0 && (floor as f32).is_finite()) {
        return Err(Error::attribute(
            op,
            format!("{name} is {floor}, expected a positive number of f32"),
        ));
    }
    Ok(())
}

fn check(op: &'static str, x: Meta, options: Decibels, amin: f64) -> Result<()> {
    check_floor(op, x, "amin", amin)?;
    if let Reference::Number(number) = options.reference {
        check_floor(op, x, "reference", number)?;
    }
    match options.top_db {
        Some(top_db) if !(top_db >= 0.0) => Err(Error::attribute(
            op,
            format!("top_db is {top_db}, expected a number from 0"),
        )),
        _ => Ok(()),
    }
}

const ATTRS: &[AttrSpec] = &[
    // 0 stands for the largest of each item.
    AttrSpec {
        name: "reference",
        default: AttrDefault::Float(1.0),
    },
    // 0 stands for the operator's own.
    AttrSpec {
        name: "amin",
        default: AttrDefault::Float(0.0),
    },
    // 0 stands for no limit.
    AttrSpec {
        name: "top_db",
        default: AttrDefault::Float(80.0),
    },
];

fn options(attrs: &Attrs) -> Decibels {
    let some = |name: &str| Some(attrs.float(name)).filter(|x| *x != 0.0);
    Decibels {
        reference: some("reference").map_or(Reference::Largest, Reference::Number),
        amin: some("amin"),
        top_db: some("top_db"),
    }
}

fn infer(op: &'static str, x: Meta, attrs: &Attrs, least: f64) -> Result<Meta> {
    let options = options(attrs);
    check(op, x, options, options.amin.unwrap_or(least))?;
    Ok(x)
}

fn twin(x: &Array, attrs: &Attrs, (factor, least): (f64, f64)) -> Array {
    let options = options(attrs);
    // The kernel has it as f32.
    let amin = f64::from(options.amin.unwrap_or(least) as f32);
    let from = x.shape.len().saturating_sub(2);
    let size = x.shape[from..].iter().product::<usize>().max(1);
    let mut y = x.clone();
    for item in y.data.chunks_mut(size) {
        let largest = item
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
            .max(amin);
        let reference = match options.reference {
            Reference::Number(number) => number.max(amin),
            Reference::Largest => largest,
        };
        let db = |x: f64| factor * (x.max(amin).log10() - reference.log10());
        let floor = options
            .top_db
            .map_or(f64::NEG_INFINITY, |top| db(largest) - top);
        item.iter_mut().for_each(|x| *x = db(*x).max(floor));
    }
    y
}

fn cases() -> Vec<Case> {
    let case =
        |label: &str, shape: &[usize]| Case::new(label).f32(shape, Domain::Uniform(0.05, 2.0));
    vec![
        case("verify", &[3, 5, 9]),
        case("lifted", &[2, 4, 9]).attr("top_db", 6.0),
        case("against_largest", &[2, 4, 9])
            .attr("reference", 0.0)
            .attr("top_db", 4.0),
        case("no_limit", &[7])
            .attr("top_db", 0.0)
            .attr("reference", 20.0),
        case("16x201x501", &[16, 201, 501]).bench().no_gradient(),
        case("one_axis", &[65]).attr("top_db", 9.0),
        case("number", &[]),
        case("floored", &[3, 8])
            .attr("amin", 0.7)
            .attr("top_db", 0.0),
        Case::new("silent_signal")
            .f32(&[2, 3, 4], Domain::Constant(0.0))
            .no_gradient(),
        case("none", &[2, 0]).no_gradient(),
    ]
}

fn refusals() -> Vec<(&'static str, Case)> {
    let case = || Case::new("refused").f32(&[2, 3], Domain::Constant(1.0));
    vec![
        ("a negative amin", case().attr("amin", -1.0)),
        ("an amin below f32", case().attr("amin", 1e-60)),
        ("a negative reference", case().attr("reference", -2.0)),
        ("a negative range", case().attr("top_db", -80.0)),
    ]
}

/// Logarithms of a few ulps, of numbers whose decibels are as large as these.
fn tolerance(x: &Array, attrs: &Attrs, scale: (f64, f64)) -> Tolerance {
    let db = twin(x, &attrs.clone().with("top_db", 0.0), scale).max_abs();
    Tolerance::ulps(8.0, db.max(scale.0))
}

pub static POWER_TO_DB: Plain = Plain {
    signature: &Signature {
        name: "power_to_db",
        formula: "y = 10 log₁₀ (max(x, amin) / max(ref, amin)), at least max y − top_db",
        source: "librosa.power_to_db",
        inputs: X,
        attrs: ATTRS,
        outputs: &["y"],
    },
    infer: |inputs, attrs| infer("power_to_db", given(inputs, 0), attrs, 1e-10),
    run: |inputs, attrs| given(inputs, 0).power_to_db(options(attrs)),
    twin: |inputs, attrs| twin(given(inputs, 0), attrs, (10.0, 1e-10)),
    tolerance: |inputs, attrs| tolerance(given(inputs, 0), attrs, (10.0, 1e-10)),
    linear: false,
    flops: |inputs, _| given(inputs, 0).shape.numel() as u64 * 20,
    cases,
    refusals,
    // Its kernels are fused ones and that of max.
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: no_plan,
};

pub static AMPLITUDE_TO_DB: Plain = Plain {
    signature: &Signature {
        name: "amplitude_to_db",
        formula: "y = 20 log₁₀ (max(x, amin) / max(ref, amin)), at least max y − top_db",
        source: "librosa.amplitude_to_db",
        inputs: X,
        attrs: ATTRS,
        outputs: &["y"],
    },
    infer: |inputs, attrs| infer("amplitude_to_db", given(inputs, 0), attrs, 1e-5),
    run: |inputs, attrs| given(inputs, 0).amplitude_to_db(options(attrs)),
    twin: |inputs, attrs| twin(given(inputs, 0), attrs, (20.0, 1e-5)),
    tolerance: |inputs, attrs| tolerance(given(inputs, 0), attrs, (20.0, 1e-5)),
    linear: false,
    flops: |inputs, _| given(inputs, 0).shape.numel() as u64 * 20,
    cases,
    refusals,
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: no_plan,
};

pub static LOG_CLAMPED: Plain = Plain {
    signature: &Signature {
        name: "log_clamped",
        formula: "y = ln max(x, eps)",
        source: "torch.log of torch.clamp",
        inputs: X,
        attrs: &[AttrSpec {
            name: "eps",
            default: AttrDefault::Float(1e-5),
        }],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x = given(inputs, 0);
        check_floor("log_clamped", x, "eps", attrs.float("eps"))?;
        Ok(x)
    },
    run: |inputs, attrs| given(inputs, 0).log_clamped(attrs.float("eps")),
    twin: |inputs, attrs| {
        let eps = f64::from(attrs.float("eps") as f32);
        let mut y: Array = given(inputs, 0).clone();
        y.data.iter_mut().for_each(|x| *x = x.max(eps).ln());
        y
    },
    tolerance: |_, _| Tolerance::ulps(4.0, 1.0),
    linear: false,
    flops: |inputs, _| given(inputs, 0).shape.numel() as u64 * 12,
    cases: || {
        vec![
            Case::new("verify").f32(&[3, 43], Domain::Uniform(0.01, 3.0)),
            Case::new("some_below")
                .f32(&[5, 13], Domain::Uniform(0.0, 1.0))
                .attr("eps", 0.4),
            Case::new("16x64x501")
                .f32(&[16, 64, 501], Domain::Uniform(0.0, 1.0))
                .bench()
                .no_gradient(),
            Case::new("silent_signal")
                .f32(&[9], Domain::Constant(0.0))
                .no_gradient(),
        ]
    },
    refusals: || {
        let case = || Case::new("refused").f32(&[2], Domain::Constant(1.0));
        vec![
            ("an eps of 0", case().attr("eps", 0.0)),
            ("a negative eps", case().attr("eps", -1e-3)),
        ]
    },
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: no_plan,
};
