//! y[.., i, ..] = x[.., index[.., i, ..], ..] on one axis
//! vjp: dx = scatter_add of dy into zeros
//! source: torch.gather; ONNX GatherElements

use crate::error::Result;
use crate::fuse::cast;
use crate::gpu::Source;
use crate::ops::index::{self, WORKGROUP, by_axis, resolve, strides};
use crate::ops::launch;
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, INDEX, Input, Meta, Op,
    Signature,
};
use crate::tape;
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// Takes from each line along `axis` the elements that `index` names.
    ///
    /// Shapes: `index` of the rank of `x`, on the other axes at most as long; the result has the shape of `index`.
    /// Indices are `i32` (negative ones count from the end) or `u32`; one out of range gives NaN, or 0 from integers.
    /// Errors: [`Error::Shape`](crate::Error::Shape), [`Error::Dtype`](crate::Error::Dtype),
    /// [`Error::Attribute`](crate::Error::Attribute).
    pub fn gather(&self, axis: i64, index: &Tensor) -> Result<Tensor> {
        infer(Meta::of(self), axis, Meta::of(index))?;
        let axis = self.shape().axis("gather", axis)?;
        let device = self.device();
        let x = launch::storage(device, self)?;
        x.buffer()?;
        let indices = index.detach();
        indices.buffer()?;
        let y = Tensor::empty(device, x.dtype(), *index.shape())?;
        let n = y.numel();
        let elem = x.dtype().elem();
        launch::choose(&Gather, device, elem, &[("gather", 0)])?;
        let params = Params {
            lengths: by_axis(index.shape(), 1),
            strides: strides(x.layout()),
            index_strides: strides(indices.layout()),
            n: n as u32,
            axis: (x.shape().len() - 1 - axis) as u32,
            axis_length: x.dim(axis) as u32,
            signed: u32::from(index.dtype() == DType::I32),
            invalid: if x.dtype().is_float() { f32::NAN } else { 0.0 },
            x_offset: x.layout().offset as u32,
            index_offset: indices.layout().offset as u32,
            y_offset: y.layout().offset as u32,
        };
        launch::dispatch(
            device,
            &index::kernel(source(), "gather", elem),
            &[&x, &indices],
            &[&y],
            &params,
            (n as u64).div_ceil(WORKGROUP),
        )?;
        let y = if y.dtype() == self.dtype() {
            y
        } else {
            cast(&y, self.dtype())?
        };
        let shape = *self.shape();
        Ok(tape::record("gather", &[self], y, move |dy, sink| {
            let zeros = Tensor::full(dy.device(), 0.0f32, shape)?.cast(dy.dtype())?;
            sink.give(0, zeros.scatter_add(axis as i64, &indices, dy)?)
        }))
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    lengths: [u32; 8],
    strides: [u32; 8],
    index_strides: [u32; 8],
    n: u32,
    axis: u32,
    axis_length: u32,
    signed: u32,
    invalid: f32,
    x_offset: u32,
    index_offset: u32,
    y_offset: u32,
}

fn source() -> Source {
    Source::file(
        "index/gather",
        include_str!("../../../shaders/index/gather.wgsl"),
    )
}

fn infer(x: Meta, axis: i64, index: Meta) -> Result<Meta> {
    let axis = x.shape.axis("gather", axis)?;
    if !INDEX.contains(&index.dtype) {
        return Err(crate::Error::dtype(
            "gather",
            format!("index is {}, expected i32 or u32", index.dtype),
        ));
    }
    index::check("gather", x, axis, index, "x")?;
    Ok(Meta {
        shape: index.shape,
        dtype: x.dtype,
    })
}

static SIGNATURE: Signature = Signature {
    name: "gather",
    formula: "y[.., i, ..] = x[.., index[.., i, ..], ..]",
    source: "torch.gather",
    inputs: &[Input::grad("x", ANY), Input::plain("index", INDEX)],
    attrs: &[AttrSpec {
        name: "axis",
        default: AttrDefault::Int(0),
    }],
    outputs: &["y"],
};

pub struct Gather;

impl Op for Gather {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let [x, index] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        Ok(vec![infer(x, attrs.int("axis"), index)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [x, index] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        Ok(vec![x.gather(attrs.int("axis"), index)?])
    }

    fn entries(&self) -> Vec<Entry> {
        vec![index::entry(source(), "gather")]
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-1.0, 1.0);
        let case = |label: &str, x: &[usize], axis: i64, index: &[usize]| {
            let n = x[if axis < 0 { x.len() - 1 } else { axis as usize }];
            Case::new(label)
                .f32(x, domain)
                .input(index, DType::U32, Domain::Index(n))
                .attr("axis", axis)
        };
        vec![
            case("verify", &[5, 37, 3], 1, &[5, 29, 3]),
            case("one_element", &[1], 0, &[1]),
            case("longer_than_x", &[3, 4], 0, &[67, 4]),
            case("shorter_elsewhere", &[4, 5, 6], -1, &[2, 3, 7]),
            case("six_axes", &[2, 3, 2, 3, 2, 3], 3, &[2, 2, 2, 5, 1, 3]),
            Case::new("negative_indices").f32(&[7, 3], domain).input(
                &[65, 3],
                DType::I32,
                Domain::Integers(-7, 6),
            ),
            Case::new("out_of_range")
                .f32(&[7, 3], domain)
                .input(&[65, 3], DType::I32, Domain::Integers(-9, 8))
                .no_gradient(),
            Case::new("i32")
                .input(&[7, 3], DType::I32, Domain::Integers(-99, 99))
                .input(&[5, 3], DType::U32, Domain::Index(7)),
            Case::new("f16").input(&[7, 3], DType::F16, domain).input(
                &[65, 3],
                DType::U32,
                Domain::Index(7),
            ),
            case("empty", &[3, 4], 0, &[0, 4]).no_gradient(),
            case("rows", &[4096, 256], 0, &[4096, 256])
                .bench()
                .no_gradient(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let [x, index] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let axis = x
            .shape
            .axis("gather", attrs.int("axis"))
            .expect("infer checked it");
        vec![Array::from_fn(index.shape, |at| {
            let mut place = at.to_vec();
            match resolve(index.at(at), x.shape[axis]) {
                Some(i) => {
                    place[axis] = i;
                    x.at(&place)
                }
                None => f64::NAN,
            }
        })]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn cost(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Cost {
        let outputs = self.infer(inputs, attrs).unwrap_or_default();
        // As many elements of x are read as are written.
        let index = inputs.get(1).copied().flatten().map_or(0, |m| m.bytes());
        let moved: u64 = outputs.iter().map(Meta::bytes).sum();
        Cost {
            bytes: index + 2 * moved,
            flops: 0,
        }
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let case = |index: &[usize], dtype| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .input(index, dtype, Domain::Constant(0.0))
        };
        vec![
            ("another rank", case(&[2], DType::U32)),
            ("longer on another axis", case(&[2, 4], DType::U32)),
            ("an index of floats", case(&[2, 3], DType::F32)),
            (
                "an axis that is not there",
                case(&[2, 3], DType::U32).attr("axis", 2i64),
            ),
        ]
    }
}
