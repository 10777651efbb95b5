//! y[.., i, ..] = x[.., n − 1 − i, ..] on each axis named
//! vjp: dx = dy turned around
//! source: torch.flip

use crate::error::{Error, Result};
use crate::ops::index::{Movement, given};
use crate::ops::op::{ANY, Array, AttrDefault, AttrSpec, Case, Domain, Input, Signature};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// Turns axes around: 0 1 2 becomes 2 1 0.
    ///
    /// Errors: [`Error::Attribute`] for an axis that is not there or named twice.
    pub fn flip(&self, axes: &[i64]) -> Result<Tensor> {
        let axes = resolved(self.shape(), axes)?;
        let y = flipped(self, &axes)?;
        Ok(tape::record("flip", &[self], y, move |dy, sink| {
            sink.give(0, flipped(dy, &axes)?)
        }))
    }
}

fn resolved(shape: &Shape, axes: &[i64]) -> Result<Vec<usize>> {
    let mut out = axes
        .iter()
        .map(|a| shape.axis("flip", *a))
        .collect::<Result<Vec<_>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::attribute(
            "flip",
            format!("axes {axes:?} name one twice"),
        ));
    }
    Ok(out)
}

fn flipped(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let mut y = x.detach();
    for &axis in axes {
        let order: Vec<u32> = (0..y.dim(axis) as u32).rev().collect();
        let index = Tensor::from_slice(x.device(), &order, [order.len()])?;
        y = y.index_select(axis as i64, &index)?;
    }
    Ok(y)
}

pub static FLIP: Movement = Movement {
    signature: &Signature {
        name: "flip",
        formula: "y[.., i, ..] = x[.., n − 1 − i, ..]",
        source: "torch.flip",
        inputs: &[Input::grad("x", ANY)],
        attrs: &[AttrSpec {
            name: "axes",
            default: AttrDefault::Ints(&[]),
        }],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x = given(inputs, 0);
        resolved(&x.shape, attrs.ints("axes"))?;
        Ok(x)
    },
    run: |inputs, attrs| given(inputs, 0).flip(attrs.ints("axes")),
    twin: |inputs, attrs| {
        let x = given(inputs, 0);
        let axes = resolved(&x.shape, attrs.ints("axes")).expect("infer checked them");
        Array::from_fn(x.shape, |at| {
            let mut place = at.to_vec();
            for &axis in &axes {
                place[axis] = x.shape[axis] - 1 - at[axis];
            }
            x.at(&place)
        })
    },
    cases: || {
        let case = |label: &str, shape: &[usize], axes: &[i64]| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("axes", axes)
        };
        vec![
            case("one_axis", &[3, 65], &[1]),
            case("two_axes", &[2, 9, 5], &[0, -1]),
            case("nothing_named", &[7], &[]),
            case("empty", &[0, 2], &[1]).no_gradient(),
            Case::new("u32")
                .input(&[3, 7], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("axes", 1i64),
        ]
    },
    refusals: || {
        let case = |axes: &[i64]| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .attr("axes", axes)
        };
        vec![
            ("an axis that is not there", case(&[2])),
            ("an axis twice", case(&[1, -1])),
        ]
    },
    gradient_is_view: |_| false,
    entries: Vec::new,
};
