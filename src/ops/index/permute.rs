//! y[i…] = x with its axes in another order
//! vjp: dx = dy with the axes put back
//! source: torch.permute

use crate::error::{Error, Result};
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Input, Meta, Op, Signature,
};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The tensor with axis `axes[i]` as axis `i`. A view: nothing is copied.
    ///
    /// Errors: [`Error::Attribute`] unless `axes` names every axis once. `permute(&[1, 0])` transposes a matrix.
    pub fn permute(&self, axes: &[i64]) -> Result<Tensor> {
        let axes = order(self.shape(), axes)?;
        let y = self.view(self.layout().permute(&axes));
        Ok(tape::record("permute", &[self], y, move |dy, sink| {
            let mut back = vec![0; axes.len()];
            for (i, axis) in axes.iter().enumerate() {
                back[*axis] = i;
            }
            sink.add(0, dy.view(dy.layout().permute(&back)))
        }))
    }

    /// The matrices in the last two axes, transposed. A view.
    ///
    /// Errors: [`Error::Rank`] for rank below 2.
    pub fn transpose(&self) -> Result<Tensor> {
        let rank = self.shape().len() as i64;
        if rank < 2 {
            return Err(Error::rank(
                "transpose",
                format!("{:?} has {rank} axes, expected at least 2", self.shape()),
            ));
        }
        let mut axes: Vec<i64> = (0..rank).collect();
        axes.swap(rank as usize - 1, rank as usize - 2);
        self.permute(&axes)
    }
}

fn order(shape: &Shape, axes: &[i64]) -> Result<Vec<usize>> {
    let axes_given = axes;
    let axes = axes
        .iter()
        .map(|a| shape.axis("permute", *a))
        .collect::<Result<Vec<_>>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..shape.len()) {
        return Err(Error::attribute(
            "permute",
            format!("axes {axes_given:?} do not name each axis of {shape:?} once"),
        ));
    }
    Ok(axes)
}

static SIGNATURE: Signature = Signature {
    name: "permute",
    formula: "axis i of y = axis axes[i] of x",
    source: "torch.permute",
    inputs: &[Input::grad("x", ANY)],
    attrs: &[AttrSpec {
        name: "axes",
        default: AttrDefault::Ints(&[]),
    }],
    outputs: &["y"],
};

pub struct Permute;

impl Op for Permute {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = order(&x.shape, attrs.ints("axes"))?;
        let dims: Vec<usize> = axes.iter().map(|a| x.shape[*a]).collect();
        Ok(vec![Meta {
            shape: Shape::of(&dims),
            dtype: x.dtype,
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![x.permute(attrs.ints("axes"))?])
    }

    fn cases(&self) -> Vec<Case> {
        let case = |label: &str, shape: &[usize], axes: &[i64]| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("axes", axes)
        };
        vec![
            case("transpose", &[3, 65], &[1, 0]),
            case("identity", &[2, 3], &[0, 1]),
            case("rank_0", &[], &[]),
            case("negative", &[2, 3, 5], &[-1, 0, -2]),
            case("six_axes", &[2, 3, 1, 2, 3, 5], &[5, 3, 1, 0, 2, 4]),
            Case::new("f16")
                .input(&[3, 7], DType::F16, Domain::Uniform(-1.0, 1.0))
                .attr("axes", [1i64, 0].as_slice()),
            Case::new("u32")
                .input(&[3, 7], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("axes", [1i64, 0].as_slice()),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = order(&x.shape, attrs.ints("axes")).expect("infer checked them");
        let dims: Vec<usize> = axes.iter().map(|a| x.shape[*a]).collect();
        vec![Array::from_fn(Shape::of(&dims), |at| {
            let mut place = vec![0; at.len()];
            for (i, axis) in axes.iter().enumerate() {
                place[*axis] = at[i];
            }
            x.at(&place)
        })]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn cost(&self, _: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
        // A view moves nothing.
        Cost::default()
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let case = |axes: &[i64]| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .attr("axes", axes)
        };
        vec![
            ("too few axes", case(&[0])),
            ("an axis twice", case(&[0, 0])),
            ("an axis that is not there", case(&[0, 2])),
        ]
    }
}
