//! y[.., i, ..] = x[.., index[i], ..] on one axis
//! vjp: dx = the sum of dy at each index, in the order of the index
//! source: torch.index_select

use crate::error::{Error, Result};
use crate::ops::index::{Movement, given, resolve};
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Case, Domain, INDEX, Input, Meta, Signature,
};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// The slices of an axis that `index` names, one after the other.
    ///
    /// Shapes: `index [n]`, the axis becomes `n` long. Indices are as for [`gather`](Tensor::gather): negative ones
    /// count from the end, and one out of range gives NaN (0 from integers). A composition of `gather` and `expand`,
    /// so the gradient has the same bits every time.
    /// Errors: [`Error::Shape`] unless `index` has one axis, [`Error::Dtype`], [`Error::Attribute`].
    pub fn index_select(&self, axis: i64, index: &Tensor) -> Result<Tensor> {
        let meta = infer("index_select", Meta::of(self), axis, Meta::of(index))?;
        let place = self.shape().axis("index_select", axis)?;
        let mut dims = vec![1; self.shape().len()];
        dims[place] = index.numel();
        self.gather(axis, &index.detach().reshape(dims)?.expand(meta.shape)?)
    }
}

pub(super) fn infer(op: &'static str, x: Meta, axis: i64, index: Meta) -> Result<Meta> {
    let axis = x.shape.axis(op, axis)?;
    if !INDEX.contains(&index.dtype) {
        return Err(Error::dtype(
            op,
            format!("index is {}, expected i32 or u32", index.dtype),
        ));
    }
    if index.shape.len() != 1 {
        return Err(Error::shape(
            op,
            format!("index has shape {:?}, expected one axis", index.shape),
        ));
    }
    Ok(Meta {
        shape: x.shape.with(axis, index.shape[0]),
        dtype: x.dtype,
    })
}

pub static INDEX_SELECT: Movement = Movement {
    signature: &Signature {
        name: "index_select",
        formula: "y[.., i, ..] = x[.., index[i], ..]",
        source: "torch.index_select",
        inputs: &[Input::grad("x", ANY), Input::plain("index", INDEX)],
        attrs: &[AttrSpec {
            name: "axis",
            default: AttrDefault::Int(0),
        }],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        infer(
            "index_select",
            given(inputs, 0),
            attrs.int("axis"),
            given(inputs, 1),
        )
    },
    run: |inputs, attrs| given(inputs, 0).index_select(attrs.int("axis"), given(inputs, 1)),
    twin: |inputs, attrs| {
        let (x, index) = (given(inputs, 0), given(inputs, 1));
        let axis = x
            .shape
            .axis("index_select", attrs.int("axis"))
            .expect("infer checked it");
        Array::from_fn(x.shape.with(axis, index.shape[0]), |at| {
            let mut place = at.to_vec();
            match resolve(index.at(&[at[axis]]), x.shape[axis]) {
                Some(i) => {
                    place[axis] = i;
                    x.at(&place)
                }
                None => f64::NAN,
            }
        })
    },
    cases: || {
        let domain = Domain::Uniform(-1.0, 1.0);
        let case = |label: &str, x: &[usize], axis: usize, n: usize| {
            Case::new(label)
                .f32(x, domain)
                .input(&[n], DType::U32, Domain::Index(x[axis]))
                .attr("axis", axis as i64)
        };
        vec![
            case("first_axis", &[7, 65], 0, 5),
            case("repeated", &[3, 5, 7], 1, 67),
            case("quads", &[3, 7, 68], 1, 67),
            Case::new("quads_out_of_range")
                .f32(&[2, 7, 12], domain)
                .input(&[65], DType::I32, Domain::Integers(-9, 8))
                .attr("axis", 1i64)
                .no_gradient(),
            Case::new("quads_of_f16")
                .input(&[7, 12], DType::F16, domain)
                .input(&[65], DType::U32, Domain::Index(7)),
            case("4096_of_4096x256", &[4096, 256], 0, 4096)
                .bench()
                .no_gradient(),
            case("one_element", &[1], 0, 1),
            case("nothing", &[3, 4], 0, 0).no_gradient(),
            Case::new("negative_indices").f32(&[7, 3], domain).input(
                &[65],
                DType::I32,
                Domain::Integers(-7, 6),
            ),
            Case::new("out_of_range")
                .f32(&[7, 3], domain)
                .input(&[65], DType::I32, Domain::Integers(-9, 8))
                .no_gradient(),
            Case::new("f16").input(&[7, 3], DType::F16, domain).input(
                &[5],
                DType::U32,
                Domain::Index(7),
            ),
        ]
    },
    refusals: || {
        let case = |index: &[usize], dtype| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .input(index, dtype, Domain::Constant(0.0))
        };
        vec![
            ("an index of two axes", case(&[2, 2], DType::U32)),
            ("an index of floats", case(&[2], DType::F32)),
            (
                "an axis that is not there",
                case(&[2], DType::U32).attr("axis", 2i64),
            ),
        ]
    },
    gradient_is_view: |_| false,
    entries: Vec::new,
};
