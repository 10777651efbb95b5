//! y = x; y[.., index[.., i, ..], ..] += src[.., i, ..] on one axis
//! vjp: dx = dy, dsrc = gather of dy
//! source: torch.scatter_add; ONNX ScatterElements with reduction add

use crate::error::{Error, Result};
use crate::fuse::cast;
use crate::gpu::Source;
use crate::ops::index::{self, WORKGROUP, by_axis, resolve, strides};
use crate::ops::launch::{self, MOST_STEPS};
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, INDEX, Input, Meta, Op,
    Signature, same_dtype,
};
use crate::tape;
use crate::tensor::{DType, Layout, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// Adds the elements of `src` to those of `x` that `index` names on each line along `axis`.
    ///
    /// Shapes: `index` of the rank of `x`, on the other axes at most as long; `src` of the shape of `index`; the
    /// result has the shape of `x`. What meets at one element is added in the order of `src`, so the result has the
    /// same bits every time; f16 is added in f32. Indices are as for [`gather`](Tensor::gather); one out of range adds
    /// nothing.
    /// Errors: [`Error::Shape`], [`Error::Dtype`], [`Error::Attribute`].
    pub fn scatter_add(&self, axis: i64, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        infer(Meta::of(self), axis, Meta::of(index), Meta::of(src))?;
        let axis = self.shape().axis("scatter_add", axis)?;
        let device = self.device();
        // Sums live in y, so f16 would round each of them.
        let wide = match self.dtype() {
            DType::F16 => DType::F32,
            other => other,
        };
        let widened = |t: &Tensor| -> Result<Tensor> {
            let t = if t.dtype() == wide {
                t.detach()
            } else {
                cast(t, wide)?
            };
            t.buffer()?;
            Ok(t)
        };
        let (x, s) = (widened(self)?, widened(src)?);
        let indices = index.detach();
        indices.buffer()?;
        let y = Tensor::empty(device, wide, *self.shape())?;
        let n_lines = y.numel().checked_div(self.dim(axis)).unwrap_or(0);
        let elem = wide.elem();
        launch::choose(&ScatterAdd, device, elem, &[("scatter_add", 0)])?;
        let at = self.shape().len() - 1 - axis;
        // Lines are counted over the other axes, so the axis itself has length 1 there.
        let params = Params {
            lengths: by_axis(&self.shape().with(axis, 1), 1),
            index_lengths: by_axis(index.shape(), 1),
            x_strides: strides(x.layout()),
            y_strides: strides(y.layout()),
            index_strides: strides(indices.layout()),
            src_strides: strides(s.layout()),
            n_lines: n_lines as u32,
            axis: at as u32,
            axis_length: self.dim(axis) as u32,
            n_indices: index.dim(axis) as u32,
            signed: u32::from(index.dtype() == DType::I32),
            x_offset: x.layout().offset as u32,
            index_offset: indices.layout().offset as u32,
            src_offset: s.layout().offset as u32,
            y_offset: y.layout().offset as u32,
            first_copied: 0,
            end_copied: 0,
            padding: 0,
        };
        // First x is copied, then what is to be added follows in its order; no dispatch takes more steps than one
        // invocation may.
        let (n, n_indices) = (self.dim(axis), index.dim(axis));
        let stride = |layout: &Layout| layout.strides()[axis] as u32;
        let mut copied = 0;
        let mut added = 0;
        loop {
            let copies = (n - copied).min(MOST_DONE);
            let adds = (n_indices - added).min(MOST_DONE - copies);
            let params = Params {
                n_indices: adds as u32,
                index_offset: params.index_offset + added as u32 * stride(indices.layout()),
                src_offset: params.src_offset + added as u32 * stride(s.layout()),
                first_copied: copied as u32,
                end_copied: (copied + copies) as u32,
                ..params
            };
            launch::dispatch(
                device,
                &index::kernel(source(), "scatter_add", elem),
                &[&x, &indices, &s],
                &[&y],
                &params,
                (n_lines as u64).div_ceil(WORKGROUP),
            )?;
            (copied, added) = (copied + copies, added + adds);
            if (copied, added) == (n, n_indices) {
                break;
            }
        }
        let y = if wide == self.dtype() {
            y
        } else {
            cast(&y, self.dtype())?
        };
        Ok(tape::record(
            "scatter_add",
            &[self, src],
            y,
            move |dy, sink| {
                sink.add(0, dy.clone())?;
                if sink.wants(1) {
                    sink.give(1, dy.gather(axis as i64, &indices)?)?;
                }
                Ok(())
            },
        ))
    }
}

/// Elements that one dispatch copies and adds per line. Six steps more go to finding the line.
const MOST_DONE: usize = MOST_STEPS - 6;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    lengths: [u32; 8],
    index_lengths: [u32; 8],
    x_strides: [u32; 8],
    y_strides: [u32; 8],
    index_strides: [u32; 8],
    src_strides: [u32; 8],
    n_lines: u32,
    axis: u32,
    axis_length: u32,
    n_indices: u32,
    signed: u32,
    x_offset: u32,
    index_offset: u32,
    src_offset: u32,
    y_offset: u32,
    first_copied: u32,
    end_copied: u32,
    padding: u32,
}

fn source() -> Source {
    Source::file(
        "index/scatter_add",
        include_str!("../../../shaders/index/scatter_add.wgsl"),
    )
}

fn infer(x: Meta, axis: i64, index: Meta, src: Meta) -> Result<Meta> {
    let op = "scatter_add";
    let axis = x.shape.axis(op, axis)?;
    if !INDEX.contains(&index.dtype) {
        return Err(Error::dtype(
            op,
            format!("index is {}, expected i32 or u32", index.dtype),
        ));
    }
    same_dtype(op, ("x", x.dtype), ("src", src.dtype))?;
    index::check(op, x, axis, index, "x")?;
    if src.shape != index.shape {
        return Err(Error::shape(
            op,
            format!(
                "src has shape {:?}, expected {:?}, that of index",
                src.shape, index.shape
            ),
        ));
    }
    Ok(x)
}

static SIGNATURE: Signature = Signature {
    name: "scatter_add",
    formula: "y = x; y[.., index[.., i, ..], ..] += src[.., i, ..]",
    source: "torch.scatter_add",
    inputs: &[
        Input::grad("x", ANY),
        Input::plain("index", INDEX),
        Input::grad("src", ANY),
    ],
    attrs: &[AttrSpec {
        name: "axis",
        default: AttrDefault::Int(0),
    }],
    outputs: &["y"],
};

pub struct ScatterAdd;

impl Op for ScatterAdd {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let [x, index, src] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        Ok(vec![infer(x, attrs.int("axis"), index, src)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [x, index, src] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        Ok(vec![x.scatter_add(attrs.int("axis"), index, src)?])
    }

    fn entries(&self) -> Vec<Entry> {
        vec![index::entry(source(), "scatter_add", "naive")]
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-1.0, 1.0);
        let case = |label: &str, x: &[usize], axis: i64, index: &[usize]| {
            let n = x[if axis < 0 { x.len() - 1 } else { axis as usize }];
            Case::new(label)
                .f32(x, domain)
                .input(index, DType::U32, Domain::Index(n))
                .f32(index, domain)
                .attr("axis", axis)
        };
        let mut f16 = case("f16_many_meet", &[3, 65], 0, &[300, 65]);
        for spec in f16.inputs.iter_mut().flatten() {
            if spec.dtype == DType::F32 {
                spec.dtype = DType::F16;
            }
        }
        vec![
            case("verify", &[13, 29, 5], 1, &[13, 37, 5]),
            case("one_element", &[1], 0, &[1]),
            case("all_meet", &[1, 65], 0, &[100, 65]),
            case("shorter_elsewhere", &[4, 5, 6], -1, &[2, 3, 7]),
            case("six_axes", &[2, 3, 2, 3, 2, 3], 3, &[2, 2, 2, 5, 1, 3]),
            // More elements, and more to add, than a software driver lets one invocation walk over.
            case("long_axis", &[70_001, 2], 0, &[3, 2]),
            // Of integers, whose sums are exact: one number added 70 001 times would round the same way each time.
            Case::new("long_all_meet")
                .f32(&[3, 2], Domain::Integers(-9, 9))
                .input(&[70_001, 2], DType::U32, Domain::Index(3))
                .f32(&[70_001, 2], Domain::Integers(-9, 9)),
            case("nothing_to_add", &[3, 4], 0, &[0, 4]),
            Case::new("negative_indices")
                .f32(&[7, 3], domain)
                .input(&[65, 3], DType::I32, Domain::Integers(-7, 6))
                .f32(&[65, 3], domain),
            Case::new("out_of_range")
                .f32(&[7, 3], domain)
                .input(&[65, 3], DType::I32, Domain::Integers(-9, 8))
                .f32(&[65, 3], domain)
                .no_gradient(),
            Case::new("i32")
                .input(&[7, 3], DType::I32, Domain::Integers(-99, 99))
                .input(&[5, 3], DType::U32, Domain::Index(7))
                .input(&[5, 3], DType::I32, Domain::Integers(-99, 99)),
            f16,
            case("rows", &[4096, 256], 0, &[4096, 256])
                .bench()
                .no_gradient(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let [x, index, src] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        let axis = x
            .shape
            .axis("scatter_add", attrs.int("axis"))
            .expect("infer checked it");
        let mut y = x.clone();
        Array::from_fn(index.shape, |at| {
            if let Some(i) = resolve(index.at(at), x.shape[axis]) {
                let mut place = at.to_vec();
                place[axis] = i;
                *y.at_mut(&place) += src.at(at);
            }
            0.0
        });
        vec![y]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let [x, index, src] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        let axis = x
            .shape
            .axis("scatter_add", attrs.int("axis"))
            .expect("infer checked it");
        Tolerance::sum(index.shape[axis] + 1, x.max_abs().max(src.max_abs()))
    }

    fn cost(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Cost {
        let outputs = self.infer(inputs, attrs).unwrap_or_default();
        let n = inputs
            .get(2)
            .copied()
            .flatten()
            .map_or(0, |m| m.shape.numel());
        Cost::streaming(inputs, &outputs, n as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], _: &Attrs) -> Cost {
        // The upstream gradient is handed on to x; src gathers it.
        let src = inputs[2].as_ref().map_or(0, Meta::bytes);
        Cost {
            read_bytes: src,
            written_bytes: src,
            flops: 0,
        }
        .reading(&inputs[1])
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let case = |index: &[usize], src: &[usize], dtype| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .input(index, DType::U32, Domain::Constant(0.0))
                .input(src, dtype, Domain::Constant(1.0))
        };
        vec![
            ("another rank", case(&[2], &[2], DType::F32)),
            ("longer on another axis", case(&[2, 4], &[2, 4], DType::F32)),
            ("src is not like index", case(&[2, 3], &[1, 3], DType::F32)),
            ("dtypes differ", case(&[2, 3], &[2, 3], DType::F16)),
            (
                "an axis that is not there",
                case(&[2, 3], &[2, 3], DType::F32).attr("axis", -3i64),
            ),
        ]
    }
}
