//! y[i…, c] = 1 where index[i…] = c, else 0
//! vjp: none
//! source: torch.nn.functional.one_hot

use crate::error::{Error, Result};
use crate::ops::index::{Movement, given};
use crate::ops::op::{Array, AttrDefault, AttrSpec, Case, Domain, INDEX, Input, Meta, Signature};
use crate::tensor::{DType, Shape, Tensor};

impl Tensor {
    /// A row of `classes` numbers for each index: 1 at the index, 0 elsewhere, as `f32`.
    ///
    /// Shapes: `[..]` → `[.., classes]`. Index 2 of 4 classes gives 0 0 1 0. An index out of range, negative ones
    /// included, gives a row of zeros.
    /// Errors: [`Error::Dtype`] unless indices are integers; [`Error::Attribute`] if there are no classes;
    /// [`Error::Rank`] for more than five axes.
    pub fn one_hot(&self, classes: usize) -> Result<Tensor> {
        infer(Meta::of(self), classes as i64)?;
        let numbers = match self.dtype() {
            DType::I32 => {
                let numbers: Vec<i32> = (0..classes as i32).collect();
                Tensor::from_slice(self.device(), &numbers, [classes])?
            }
            _ => {
                let numbers: Vec<u32> = (0..classes as u32).collect();
                Tensor::from_slice(self.device(), &numbers, [classes])?
            }
        };
        self.unsqueeze(-1)?.eq(&numbers)?.cast(DType::F32)
    }
}

fn infer(index: Meta, classes: i64) -> Result<Meta> {
    if !INDEX.contains(&index.dtype) {
        return Err(Error::dtype(
            "one_hot",
            format!("index is {}, expected i32 or u32", index.dtype),
        ));
    }
    if classes < 1 || classes > i64::from(i32::MAX) {
        return Err(Error::attribute(
            "one_hot",
            format!("classes is {classes}, expected at least 1"),
        ));
    }
    if index.shape.len() == crate::MAX_RANK {
        return Err(Error::rank(
            "one_hot",
            format!(
                "index has shape {:?}, which leaves no axis for the classes",
                index.shape
            ),
        ));
    }
    let mut dims = index.shape.to_vec();
    dims.push(classes as usize);
    Ok(Meta {
        shape: Shape::new(&dims)?,
        dtype: DType::F32,
    })
}

pub static ONE_HOT: Movement = Movement {
    signature: &Signature {
        name: "one_hot",
        formula: "y[i…, c] = 1 where index[i…] = c, else 0",
        source: "torch.nn.functional.one_hot",
        inputs: &[Input::plain("index", INDEX)],
        attrs: &[AttrSpec {
            name: "classes",
            default: AttrDefault::Int(1),
        }],
        outputs: &["y"],
    },
    infer: |inputs, attrs| infer(given(inputs, 0), attrs.int("classes")),
    run: |inputs, attrs| given(inputs, 0).one_hot(attrs.int("classes") as usize),
    twin: |inputs, attrs| {
        let index = given(inputs, 0);
        let mut dims = index.shape.to_vec();
        dims.push(attrs.int("classes") as usize);
        Array::from_fn(Shape::of(&dims), |at| {
            let (class, place) = at.split_last().expect("there is a class axis");
            f64::from(index.at(place) == *class as f64)
        })
    },
    cases: || {
        let case = |label: &str, shape: &[usize], dtype, domain, classes: i64| {
            Case::new(label)
                .input(shape, dtype, domain)
                .attr("classes", classes)
        };
        vec![
            case("labels", &[67], DType::I32, Domain::Index(7), 7),
            case("u32", &[3, 5], DType::U32, Domain::Index(7), 7),
            case(
                "out_of_range",
                &[65],
                DType::I32,
                Domain::Integers(-2, 8),
                7,
            ),
            case("rank_0", &[], DType::I32, Domain::Constant(2.0), 4),
            case("empty", &[0], DType::I32, Domain::Constant(2.0), 4),
        ]
    },
    refusals: || {
        let case = |dtype, classes: i64| {
            Case::new("refused")
                .input(&[2], dtype, Domain::Constant(0.0))
                .attr("classes", classes)
        };
        vec![
            ("no classes", case(DType::I32, 0)),
            ("an index of floats", case(DType::F32, 3)),
            (
                "six axes",
                Case::new("refused")
                    .input(&[1; 6], DType::I32, Domain::Constant(0.0))
                    .attr("classes", 2i64),
            ),
        ]
    },
    gradient_is_view: |_| false,
    entries: Vec::new,
};
