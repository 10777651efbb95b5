//! y[.., i, ..] = x[.., (i − shift) mod n, ..] on each axis named
//! vjp: dx = dy rolled back
//! source: torch.roll; numpy.roll

use crate::error::{Error, Result};
use crate::ops::index::{Movement, given};
use crate::ops::op::{ANY, Array, AttrDefault, AttrSpec, Case, Domain, Input, Signature};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// Moves the elements of each axis of `axes` by its number in `shifts`; what leaves at one end enters at the other.
    ///
    /// 0 1 2 3 rolled by 1 is 3 0 1 2.
    /// Errors: [`Error::Attribute`] for an axis that is not there, or unless there is one shift per axis.
    pub fn roll(&self, shifts: &[i64], axes: &[i64]) -> Result<Tensor> {
        let moves = moves(self.shape(), shifts, axes)?;
        let y = rolled(self, &moves)?;
        Ok(tape::record("roll", &[self], y, move |dy, sink| {
            let back: Vec<(usize, usize)> = moves
                .iter()
                .map(|&(axis, shift)| (axis, (dy.dim(axis) - shift) % dy.dim(axis).max(1)))
                .collect();
            sink.add(0, rolled(dy, &back)?)
        }))
    }
}

/// Each shift as a number from 0 to below the length of its axis.
fn moves(shape: &Shape, shifts: &[i64], axes: &[i64]) -> Result<Vec<(usize, usize)>> {
    if shifts.len() != axes.len() {
        return Err(Error::attribute(
            "roll",
            format!("shifts {shifts:?} for axes {axes:?}, expected one each"),
        ));
    }
    axes.iter()
        .zip(shifts)
        .map(|(axis, shift)| {
            let axis = shape.axis("roll", *axis)?;
            let n = shape[axis].max(1) as i64;
            Ok((axis, shift.rem_euclid(n) as usize))
        })
        .collect()
}

/// Each axis in two parts that change places.
fn rolled(x: &Tensor, moves: &[(usize, usize)]) -> Result<Tensor> {
    let mut y = x.detach();
    for &(axis, shift) in moves.iter().filter(|m| m.1 > 0) {
        let n = y.dim(axis);
        let part = |start, length| y.view(y.layout().slice(axis, start, length, 1));
        y.buffer()?;
        y = Tensor::concat(&[&part(n - shift, shift), &part(0, n - shift)], axis as i64)?;
    }
    Ok(y)
}

pub static ROLL: Movement = Movement {
    signature: &Signature {
        name: "roll",
        formula: "y[.., i, ..] = x[.., (i − shift) mod n, ..]",
        source: "torch.roll",
        inputs: &[Input::grad("x", ANY)],
        attrs: &[
            AttrSpec {
                name: "shifts",
                default: AttrDefault::Ints(&[]),
            },
            AttrSpec {
                name: "axes",
                default: AttrDefault::Ints(&[]),
            },
        ],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x = given(inputs, 0);
        moves(&x.shape, attrs.ints("shifts"), attrs.ints("axes"))?;
        Ok(x)
    },
    run: |inputs, attrs| given(inputs, 0).roll(attrs.ints("shifts"), attrs.ints("axes")),
    twin: |inputs, attrs| {
        let x = given(inputs, 0);
        let moves =
            moves(&x.shape, attrs.ints("shifts"), attrs.ints("axes")).expect("infer checked them");
        Array::from_fn(x.shape, |at| {
            let mut place = at.to_vec();
            for &(axis, shift) in &moves {
                let n = x.shape[axis];
                place[axis] = (place[axis] + n - shift) % n;
            }
            x.at(&place)
        })
    },
    cases: || {
        let case = |label: &str, shape: &[usize], shifts: &[i64], axes: &[i64]| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("shifts", shifts)
                .attr("axes", axes)
        };
        vec![
            case("one_axis", &[3, 65], &[7], &[1]),
            case("two_axes", &[2, 9, 5], &[4, -2], &[1, 2]),
            case("one_axis_twice", &[7], &[3, 2], &[0, 0]),
            case("16x8x64x32", &[16, 8, 64, 32], &[4], &[2])
                .bench()
                .no_gradient(),
            case("whole_turns", &[7, 2], &[-14], &[0]),
            case("more_than_a_turn", &[7, 2], &[-16], &[0]),
            case("nothing_named", &[7], &[], &[]),
            case("empty", &[0, 2], &[1], &[0]).no_gradient(),
            Case::new("u32")
                .input(&[3, 7], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("shifts", 2i64)
                .attr("axes", 1i64),
        ]
    },
    refusals: || {
        let case = |shifts: &[i64], axes: &[i64]| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .attr("shifts", shifts)
                .attr("axes", axes)
        };
        vec![
            ("an axis that is not there", case(&[1], &[2])),
            ("an axis without a shift", case(&[1], &[0, 1])),
        ]
    },
    gradient_is_view: |_| false,
    entries: Vec::new,
};
