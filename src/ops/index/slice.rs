//! y[.., i, ..] = x[.., start + i · step, ..] on one axis
//! vjp: dx = dy at the elements that were taken, 0 elsewhere
//! source: Python’s slices; ONNX Slice

use crate::error::{Error, Result};
use crate::ops::index::{Movement, given, pad};
use crate::ops::op::Meta;
use crate::ops::op::{ANY, Array, AttrDefault, AttrSpec, Case, Domain, Input, Signature};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// Elements `start`, `start + step`, … before `end` of an axis. A view: nothing is copied.
    ///
    /// As in Python, negative bounds count from the end and bounds beyond it are moved onto it: of 0 to 9, from 2 to
    /// −1 by 3 are 2, 5 and 8. `i64::MAX` is the end.
    /// Errors: [`Error::Attribute`] for an axis that is not there or a step below 1; [`flip`](Self::flip) turns an
    /// axis around.
    pub fn slice(&self, axis: i64, start: i64, end: i64, step: i64) -> Result<Tensor> {
        let part = part(self.shape(), axis, start, end, step)?;
        let y = self.view(
            self.layout()
                .slice(part.axis, part.start, part.length, part.step),
        );
        let shape = *self.shape();
        Ok(tape::record("slice", &[self], y, move |dy, sink| {
            let mut before = [0; crate::tensor::MAX_RANK];
            before[part.axis] = part.start;
            sink.give(
                0,
                pad::place(dy, shape, &before[..shape.len()], (part.axis, part.step), 0)?,
            )
        }))
    }

    /// `length` elements of an axis from `start`. A view.
    ///
    /// Errors: [`Error::Attribute`] for an axis that is not there; [`Error::Shape`] if the axis is not that long.
    pub fn narrow(&self, axis: i64, start: usize, length: usize) -> Result<Tensor> {
        let n = self.dim(self.shape().axis("narrow", axis)?);
        if start.checked_add(length).is_none_or(|end| end > n) {
            return Err(Error::shape(
                "narrow",
                format!(
                    "{length} elements from {start} of axis {axis} of {:?}",
                    self.shape()
                ),
            ));
        }
        self.slice(axis, start as i64, (start + length) as i64, 1)
    }

    /// The parts of an axis with these lengths, one after the other. Views.
    ///
    /// Errors: [`Error::Attribute`] for an axis that is not there; [`Error::Shape`] if the lengths do not add up to it.
    pub fn split(&self, axis: i64, lengths: &[usize]) -> Result<Vec<Tensor>> {
        let n = self.dim(self.shape().axis("split", axis)?);
        if lengths
            .iter()
            .try_fold(0usize, |sum, l| sum.checked_add(*l))
            != Some(n)
        {
            return Err(Error::shape(
                "split",
                format!(
                    "lengths {lengths:?} do not add up to axis {axis} of {:?}",
                    self.shape()
                ),
            ));
        }
        let mut start = 0;
        lengths
            .iter()
            .map(|length| {
                start += length;
                self.narrow(axis, start - length, *length)
            })
            .collect()
    }

    /// The tensor with an axis of length 1 put before `axis`; −1 puts it last. A view.
    ///
    /// Errors: [`Error::Attribute`] for an axis beyond the end; [`Error::Rank`] for too many axes.
    pub fn unsqueeze(&self, axis: i64) -> Result<Tensor> {
        let rank = self.shape().len() as i64;
        let place = if axis < 0 { axis + rank + 1 } else { axis };
        if !(0..=rank).contains(&place) {
            return Err(Error::attribute(
                "unsqueeze",
                format!("axis {axis} of a tensor of rank {rank}, {:?}", self.shape()),
            ));
        }
        let mut dims = self.shape().to_vec();
        dims.insert(place as usize, 1);
        Shape::new(&dims)?;
        let y = self.view(self.layout().unsqueeze(place as usize));
        let back = *self.shape();
        Ok(tape::record("unsqueeze", &[self], y, move |dy, sink| {
            sink.add(0, dy.reshape(back)?)
        }))
    }

    /// The tensor without an axis, which must have length 1. A view.
    ///
    /// Errors: [`Error::Attribute`] for an axis that is not there; [`Error::Shape`] if it is longer.
    pub fn squeeze(&self, axis: i64) -> Result<Tensor> {
        let axis = self.shape().axis("squeeze", axis)?;
        if self.dim(axis) != 1 {
            return Err(Error::shape(
                "squeeze",
                format!(
                    "axis {axis} of {:?} has length {}, expected 1",
                    self.shape(),
                    self.dim(axis)
                ),
            ));
        }
        let mut dims = self.shape().to_vec();
        dims.remove(axis);
        self.reshape(dims)
    }

    /// The tensor with the axes from `first` to `last`, both included, merged into one.
    ///
    /// Errors: [`Error::Attribute`] for axes that are not there or in the wrong order.
    pub fn flatten(&self, first: i64, last: i64) -> Result<Tensor> {
        let (from, to) = (
            self.shape().axis("flatten", first)?,
            self.shape().axis("flatten", last)?,
        );
        if from > to {
            return Err(Error::attribute(
                "flatten",
                format!("axis {first} comes after axis {last} in {:?}", self.shape()),
            ));
        }
        let mut dims = self.shape()[..from].to_vec();
        dims.push(self.shape()[from..=to].iter().product());
        dims.extend(&self.shape()[to + 1..]);
        self.reshape(dims)
    }
}

/// A slice with its bounds resolved.
struct Part {
    axis: usize,
    start: usize,
    length: usize,
    step: usize,
}

fn part(shape: &Shape, axis: i64, start: i64, end: i64, step: i64) -> Result<Part> {
    let axis = shape.axis("slice", axis)?;
    if step < 1 {
        return Err(Error::attribute(
            "slice",
            format!("step is {step}, expected 1 or more"),
        ));
    }
    let n = shape[axis] as i64;
    let resolve = |bound: i64| {
        if bound < 0 {
            bound.saturating_add(n)
        } else {
            bound
        }
        .clamp(0, n)
    };
    let (start, end) = (resolve(start), resolve(end));
    let length = (end - start).max(0) as u64;
    Ok(Part {
        axis,
        start: start as usize,
        length: length.div_ceil(step as u64) as usize,
        step: step.min(n.max(1)) as usize,
    })
}

pub static SLICE: Movement = Movement {
    signature: &Signature {
        name: "slice",
        formula: "y[.., i, ..] = x[.., start + i · step, ..]",
        source: "ONNX Slice",
        inputs: &[Input::grad("x", ANY)],
        attrs: &[
            AttrSpec {
                name: "axis",
                default: AttrDefault::Int(0),
            },
            AttrSpec {
                name: "start",
                default: AttrDefault::Int(0),
            },
            AttrSpec {
                name: "end",
                default: AttrDefault::Int(i64::MAX),
            },
            AttrSpec {
                name: "step",
                default: AttrDefault::Int(1),
            },
        ],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x = given(inputs, 0);
        let part = part(
            &x.shape,
            attrs.int("axis"),
            attrs.int("start"),
            attrs.int("end"),
            attrs.int("step"),
        )?;
        Ok(Meta {
            shape: x.shape.with(part.axis, part.length),
            dtype: x.dtype,
        })
    },
    run: |inputs, attrs| {
        given(inputs, 0).slice(
            attrs.int("axis"),
            attrs.int("start"),
            attrs.int("end"),
            attrs.int("step"),
        )
    },
    twin: |inputs, attrs| {
        let x = given(inputs, 0);
        let part = part(
            &x.shape,
            attrs.int("axis"),
            attrs.int("start"),
            attrs.int("end"),
            attrs.int("step"),
        )
        .expect("infer checked it");
        Array::from_fn(x.shape.with(part.axis, part.length), |at| {
            let mut place = at.to_vec();
            place[part.axis] = part.start + at[part.axis] * part.step;
            x.at(&place)
        })
    },
    cases: || {
        let case = |label: &str, shape: &[usize], axis: i64, start: i64, end: i64, step: i64| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("axis", axis)
                .attr("start", start)
                .attr("end", end)
                .attr("step", step)
        };
        vec![
            case("inside", &[3, 65], 1, 2, 60, 1),
            case("every_third", &[5, 67, 3], 1, 1, i64::MAX, 3),
            case("negative_bounds", &[9, 4], 0, -7, -1, 2),
            case("beyond_the_end", &[9, 4], -2, 5, 100, 1),
            case("nothing", &[9, 4], 0, 5, 5, 1).no_gradient(),
            case("one_element", &[1], 0, 0, 1, 1),
            case("six_axes", &[2, 3, 2, 7, 2, 3], 3, 1, 6, 2),
            case("huge_step", &[7], 0, 2, i64::MAX, i64::MAX),
            Case::new("f16")
                .input(&[7, 9], DType::F16, Domain::Uniform(-1.0, 1.0))
                .attr("axis", 1i64)
                .attr("start", 1i64)
                .attr("step", 3i64),
            Case::new("u32")
                .input(&[7], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("start", 1i64),
        ]
    },
    refusals: || {
        let case = || Case::new("refused").f32(&[2, 3], Domain::Constant(1.0));
        vec![
            ("an axis that is not there", case().attr("axis", 2i64)),
            ("a step of 0", case().attr("step", 0i64)),
            ("a negative step", case().attr("step", -1i64)),
        ]
    },
    gradient_is_view: |_| false,
    entries: Vec::new,
};
