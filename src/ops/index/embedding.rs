//! y[i…, :] = weight[index[i…], :]
//! vjp: dweight = the sum of dy at each index, in the order of the index
//! source: torch.nn.functional.embedding

use crate::error::{Error, Result};
use crate::ops::index::{Movement, given, resolve};
use crate::ops::op::{Array, Case, Domain, FLOATS, INDEX, Input, Meta, Signature};
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// The rows of this table that `index` names.
    ///
    /// Shapes: `self [n, d]`, `index [..]` → `[.., d]`. Indices are as for [`gather`](Tensor::gather). Gradients of
    /// rows that are named several times are added in the order of the index, so they have the same bits every time.
    /// Errors: [`Error::Rank`] unless the table has two axes, or for too many in `index`; [`Error::Dtype`].
    pub fn embedding(&self, index: &Tensor) -> Result<Tensor> {
        let meta = infer(Meta::of(self), Meta::of(index))?;
        self.index_select(0, &index.detach().reshape([index.numel()])?)?
            .reshape(meta.shape)
    }
}

fn infer(weight: Meta, index: Meta) -> Result<Meta> {
    if weight.shape.len() != 2 {
        return Err(Error::rank(
            "embedding",
            format!("weight has shape {:?}, expected two axes", weight.shape),
        ));
    }
    if !INDEX.contains(&index.dtype) {
        return Err(Error::dtype(
            "embedding",
            format!("index is {}, expected i32 or u32", index.dtype),
        ));
    }
    let mut dims = index.shape.to_vec();
    dims.push(weight.shape[1]);
    if dims.len() > crate::MAX_RANK {
        return Err(Error::rank(
            "embedding",
            format!(
                "index has shape {:?}, which leaves no axis for a row",
                index.shape
            ),
        ));
    }
    Ok(Meta {
        shape: Shape::new(&dims)?,
        dtype: weight.dtype,
    })
}

pub static EMBEDDING: Movement = Movement {
    signature: &Signature::simple(
        "embedding",
        "y[i…, :] = weight[index[i…], :]",
        "torch.nn.functional.embedding",
        &[Input::grad("weight", FLOATS), Input::plain("index", INDEX)],
    ),
    infer: |inputs, _| infer(given(inputs, 0), given(inputs, 1)),
    run: |inputs, _| given(inputs, 0).embedding(given(inputs, 1)),
    twin: |inputs, _| {
        let (weight, index) = (given(inputs, 0), given(inputs, 1));
        let mut dims = index.shape.to_vec();
        dims.push(weight.shape[1]);
        Array::from_fn(Shape::of(&dims), |at| {
            let (column, place) = at.split_last().expect("there is a row axis");
            match resolve(index.at(place), weight.shape[0]) {
                Some(row) => weight.at(&[row, *column]),
                None => f64::NAN,
            }
        })
    },
    cases: || {
        let case = |label: &str, weight: &[usize], index: &[usize]| {
            Case::new(label)
                .f32(weight, Domain::Uniform(-1.0, 1.0))
                .input(index, DType::U32, Domain::Index(weight[0]))
        };
        vec![
            case("sentence", &[11, 33], &[2, 7]),
            case("sentence_of_quads", &[11, 36], &[2, 7]),
            case("many_meet", &[3, 5], &[67]),
            case("64x128_of_32000x768", &[32_000, 768], &[64, 128])
                .bench()
                .no_gradient(),
            case("one_index", &[3, 5], &[]),
            case("nothing", &[3, 5], &[0]).no_gradient(),
            case("five_axes", &[4, 3], &[2, 1, 3, 2, 1]),
        ]
    },
    refusals: || {
        let case = |weight: &[usize], index: &[usize], dtype| {
            Case::new("refused")
                .f32(weight, Domain::Constant(1.0))
                .input(index, dtype, Domain::Constant(0.0))
        };
        vec![
            ("a table of one axis", case(&[3], &[2], DType::U32)),
            ("an index of floats", case(&[3, 2], &[2], DType::F32)),
            ("an index of six axes", case(&[3, 2], &[1; 6], DType::U32)),
        ]
    },
    gradient_is_view: |_| false,
    entries: Vec::new,
};
