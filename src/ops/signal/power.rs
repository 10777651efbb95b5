//! y = re² + im² of complex numbers, or its square root
//! vjp: dx = 2 x dy of the power; dx = x dy / y of the magnitude, 0 where y is 0
//! source: torchaudio.transforms.Spectrogram with power 2 and 1; torch.abs of complex numbers

use crate::error::{Error, Result};
use crate::ops::op::{Array, Case, Domain, Meta, Signature};
use crate::ops::signal::{Plain, X, given, no_plan};
use crate::tape::{no_grad, record_elementwise};
use crate::tensor::{Shape, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// Squared magnitudes of complex numbers. Of 3 + 4i it is 25.
    ///
    /// Shapes: `[.., 2]` → `[..]`. Errors: [`Error::Shape`] if the last axis is not 2, [`Error::Dtype`] unless f32.
    pub fn power(&self) -> Result<Tensor> {
        checked("power", Meta::of(self))?;
        let y = no_grad(|| squares(self))?;
        let x = self.detach();
        Ok(record_elementwise("power", &[self], y, move |dy, sink| {
            sink.add(0, x.mul(&dy.mul(2.0)?.unsqueeze(-1)?)?)
        }))
    }

    /// Magnitudes of complex numbers; the gradient at 0 is 0. Of 3 + 4i it is 5.
    ///
    /// Squares are not scaled first: numbers beyond 1e19 overflow, those below 1e-19 vanish.
    /// Shapes: `[.., 2]` → `[..]`. Errors: [`Error::Shape`] if the last axis is not 2, [`Error::Dtype`] unless f32.
    pub fn magnitude(&self) -> Result<Tensor> {
        checked("magnitude", Meta::of(self))?;
        let y = no_grad(|| squares(self)?.sqrt())?;
        let (x, held) = (self.detach(), y.detach());
        Ok(record_elementwise(
            "magnitude",
            &[self],
            y,
            move |dy, sink| {
                let ratio = held.gt(0.0)?.where_(&dy.div(&held)?, 0.0)?;
                sink.add(0, x.mul(&ratio.unsqueeze(-1)?)?)
            },
        ))
    }
}

fn squares(x: &Tensor) -> Result<Tensor> {
    let part = |i| -> Result<Tensor> {
        let part = x.detach().narrow(-1, i, 1)?.squeeze(-1)?;
        part.mul(&part)
    };
    part(0)?.add(&part(1)?)
}

fn checked(op: &'static str, x: Meta) -> Result<Meta> {
    super::only_f32(op, x)?;
    match x.shape.split_last() {
        Some((2, lead)) => Ok(Meta {
            shape: Shape::of(lead),
            ..x
        }),
        _ => Err(Error::shape(
            op,
            format!(
                "x has shape {:?}, expected [.., 2], complex numbers",
                x.shape
            ),
        )),
    }
}

fn twin(x: &Array) -> Array {
    let squares = x.data.chunks(2).map(|z| z[0] * z[0] + z[1] * z[1]);
    Array::new(Shape::of(&x.shape[..x.shape.len() - 1]), squares.collect())
}

fn cases() -> Vec<Case> {
    let case =
        |label: &str, shape: &[usize]| Case::new(label).f32(shape, Domain::Uniform(0.2, 1.0));
    vec![
        case("verify", &[3, 43, 2]),
        case("one", &[2]),
        case("spectrum", &[2, 9, 5, 2]),
        Case::new("zeros")
            .f32(&[5, 2], Domain::Constant(0.0))
            .no_gradient(),
        Case::new("large")
            .f32(&[7, 2], Domain::Offset(1e15, 1e14))
            .no_gradient(),
        case("none", &[0, 2]).no_gradient(),
    ]
}

fn refusals() -> Vec<(&'static str, Case)> {
    let case = |shape: &[usize]| Case::new("refused").f32(shape, Domain::Constant(1.0));
    vec![
        ("a single number", case(&[])),
        ("real numbers", case(&[2, 3])),
    ]
}

pub static POWER: Plain = Plain {
    signature: &Signature::simple("power", "y = re² + im²", "torchaudio", X),
    infer: |inputs, _| checked("power", given(inputs, 0)),
    run: |inputs, _| given(inputs, 0).power(),
    twin: |inputs, _| twin(given(inputs, 0)),
    tolerance: |_, _| Tolerance::ulps(4.0, 0.0),
    linear: false,
    flops: |inputs, _| given(inputs, 0).shape.numel() as u64 * 3 / 2,
    cases: || {
        let bench = Case::new("16x201x501")
            .f32(&[16, 201, 501, 2], Domain::Uniform(-1.0, 1.0))
            .bench()
            .no_gradient();
        [cases(), vec![bench]].concat()
    },
    refusals,
    // Its kernels are fused ones.
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: no_plan,
};

pub static MAGNITUDE: Plain = Plain {
    signature: &Signature::simple("magnitude", "y = √(re² + im²)", "torch.abs", X),
    infer: |inputs, _| checked("magnitude", given(inputs, 0)),
    run: |inputs, _| given(inputs, 0).magnitude(),
    twin: |inputs, _| {
        let mut y = twin(given(inputs, 0));
        y.data.iter_mut().for_each(|y| *y = y.sqrt());
        y
    },
    tolerance: |_, _| Tolerance::ulps(6.0, 0.0),
    linear: false,
    flops: |inputs, _| given(inputs, 0).shape.numel() as u64 * 2,
    cases,
    refusals,
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: no_plan,
};
