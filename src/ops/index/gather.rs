//! y[.., i, ..] = x[.., index[.., i, ..], ..] on one axis
//! vjp: dx = scatter_add of dy into zeros
//! source: torch.gather; ONNX GatherElements

use crate::error::Result;
use crate::fuse::cast;
use crate::gpu::{DeviceClass, Source};
use crate::ops::index::{self, WORKGROUP, by_axis, resolve, strides};
use crate::ops::launch;
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, INDEX, Input, Meta, Op,
    Signature,
};
use crate::tape;
use crate::tensor::{DType, Layout, Tensor};
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
        let by_quads = Quads::plan(
            x.layout(),
            indices.layout(),
            y.layout(),
            axis,
            device.caps().class,
        );
        let mut candidates = vec![("gather", 0)];
        if let Some((entry, _)) = by_quads {
            candidates.insert(0, (entry, 0));
        }
        let length = index.dim(axis);
        let sizes = [n.checked_div(length).unwrap_or(0), length, x.dim(axis)];
        let chosen = launch::choose_for(&Gather, device, elem, &sizes, &candidates)?;
        let signed = u32::from(index.dtype() == DType::I32);
        let invalid = if x.dtype().is_float() { f32::NAN } else { 0.0 };
        let (entry, _) = candidates[chosen];
        let kernel = index::kernel(source(entry), entry, elem);
        match by_quads.filter(|(by_quads, _)| entry == *by_quads) {
            Some((_, quads)) => launch::dispatch(
                device,
                &kernel,
                &[&x, &indices],
                &[&y],
                &Quads {
                    signed,
                    invalid,
                    ..quads
                },
                u64::from(quads.n).div_ceil(WORKGROUP),
            )?,
            None => launch::dispatch(
                device,
                &kernel,
                &[&x, &indices],
                &[&y],
                &Params {
                    lengths: by_axis(index.shape(), 1),
                    strides: strides(x.layout()),
                    index_strides: strides(indices.layout()),
                    n: n as u32,
                    rank: x.shape().len() as u32,
                    axis: (x.shape().len() - 1 - axis) as u32,
                    axis_length: x.dim(axis) as u32,
                    signed,
                    invalid,
                    x_offset: x.layout().offset as u32,
                    index_offset: indices.layout().offset as u32,
                    y_offset: y.layout().offset as u32,
                    padding: [0; 3],
                },
                (n as u64).div_ceil(WORKGROUP),
            )?,
        }
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
    rank: u32,
    axis: u32,
    axis_length: u32,
    signed: u32,
    invalid: f32,
    x_offset: u32,
    index_offset: u32,
    y_offset: u32,
    padding: [u32; 3],
}

/// The parameters by quads, with the axes taken as [outer, axis, inner].
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Quads {
    n: u32,
    lanes: u32,
    quads: u32,
    n_indices: u32,
    x_offset: u32,
    x_outer: u32,
    x_axis: u32,
    y_offset: u32,
    index_offset: u32,
    index_outer: u32,
    index_axis: u32,
    axis_length: u32,
    signed: u32,
    invalid: f32,
    padding: [u32; 2],
}

impl Quads {
    /// The entry point and its parameters; `None` where quads do not fit: inner must be contiguous in `x`, every row of it must start at a multiple of
    /// four elements, and along inner the index must be contiguous, with rows that start so too, or stretched.
    ///
    /// [4096, 256] on lavapipe: 11.4 ms by elements, 2.1 by quads; 10.5 and 0.66 where a row has one index.
    /// Unmeasured on GPUs, where it saves the divisions all the same.
    fn plan(
        x: &Layout,
        index: &Layout,
        y: &Layout,
        axis: usize,
        class: DeviceClass,
    ) -> Option<(&'static str, Quads)> {
        let shape = y.shape;
        let inner: usize = shape[axis + 1..].iter().product();
        let (n_indices, axis_length) = (shape[axis], x.shape[axis]);
        let rows = shape.numel().checked_div(inner)?;
        if rows == 0 || axis_length == 0 || !inner.is_multiple_of(4) {
            return None;
        }
        let [x_outer, x_axis, x_inner] = index::around(x, &shape, axis)?;
        let [index_outer, index_axis, index_inner] = index::around(index, &shape, axis)?;
        let shared = index_inner == 0;
        let contiguous = x_inner == 1 && (shared || index_inner == 1);
        let in_quads = |numbers: &[usize]| numbers.iter().all(|n| n.is_multiple_of(4));
        if !contiguous
            || !in_quads(&[x.offset, x_outer, x_axis, y.offset])
            || !(shared || in_quads(&[index.offset, index_outer, index_axis]))
        {
            return None;
        }
        let quads = inner / 4;
        let lanes = index::lanes(class, quads);
        let unit = if shared { 1 } else { 4 };
        let quads = Quads {
            n: (rows * lanes) as u32,
            lanes: lanes as u32,
            quads: quads as u32,
            n_indices: n_indices as u32,
            x_offset: (x.offset / 4) as u32,
            x_outer: (x_outer / 4) as u32,
            x_axis: (x_axis / 4) as u32,
            y_offset: (y.offset / 4) as u32,
            index_offset: (index.offset / unit) as u32,
            index_outer: (index_outer / unit) as u32,
            index_axis: (index_axis / unit) as u32,
            axis_length: axis_length as u32,
            signed: 0,
            invalid: 0.0,
            padding: [0; 2],
        };
        Some((
            if shared {
                "gather_rows"
            } else {
                "gather_quads"
            },
            quads,
        ))
    }
}

fn source(entry: &str) -> Source {
    match entry {
        "gather_quads" | "gather_rows" => Source::file(
            "index/gather_quads",
            include_str!("../../../shaders/index/gather_quads.wgsl"),
        ),
        _ => Source::file(
            "index/gather",
            include_str!("../../../shaders/index/gather.wgsl"),
        ),
    }
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
        vec![
            index::entry(source("gather"), "gather", "naive"),
            index::entry(source("gather_quads"), "gather_quads", "quads"),
            index::entry(source("gather_rows"), "gather_rows", "quads"),
        ]
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
            case("quads", &[3, 7, 68], 1, &[3, 67, 68]),
            case("one_quad", &[5, 4], 0, &[129, 4]),
            case("quads_shorter_elsewhere", &[4, 6, 2, 8], 1, &[3, 5, 2, 4]),
            Case::new("quads_of_negative_indices")
                .f32(&[2, 7, 12], domain)
                .input(&[2, 65, 12], DType::I32, Domain::Integers(-7, 6))
                .attr("axis", 1i64),
            Case::new("quads_out_of_range")
                .f32(&[2, 7, 12], domain)
                .input(&[2, 65, 12], DType::I32, Domain::Integers(-9, 8))
                .attr("axis", 1i64)
                .no_gradient(),
            Case::new("quads_of_i32")
                .input(&[7, 8], DType::I32, Domain::Integers(-99, 99))
                .input(&[5, 8], DType::I32, Domain::Integers(-7, 6)),
            Case::new("quads_of_f16")
                .input(&[7, 12], DType::F16, domain)
                .input(&[65, 12], DType::U32, Domain::Index(7)),
            case("rows_of_one_index", &[3, 7, 68], 1, &[3, 67, 68]).stretched(),
            Case::new("rows_out_of_range")
                .f32(&[2, 7, 12], domain)
                .input(&[2, 65, 12], DType::I32, Domain::Integers(-9, 8))
                .stretched()
                .attr("axis", 1i64)
                .no_gradient(),
            Case::new("rows_of_f16")
                .input(&[7, 12], DType::F16, domain)
                .input(&[65, 12], DType::U32, Domain::Index(7))
                .stretched(),
            case("empty", &[3, 4], 0, &[0, 4]).no_gradient(),
            Case::new("quads_of_nothing")
                .f32(&[0, 4], domain)
                .input(&[3, 4], DType::U32, Domain::Constant(0.0))
                .no_gradient(),
            case("rows", &[4096, 256], 0, &[4096, 256])
                .bench()
                .no_gradient(),
        ]
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        match entry.name() {
            // Rows of 67 quads: several turns of each lane and a rest; negative indices, and some out of range.
            "gather_quads" => Case::new("verify_quads")
                .f32(&[3, 17, 268], Domain::Uniform(-1.0, 1.0))
                .input(&[3, 13, 268], DType::I32, Domain::Integers(-18, 17))
                .attr("axis", 1i64)
                .no_gradient(),
            "gather_rows" => Case::new("verify_rows")
                .f32(&[3, 17, 268], Domain::Uniform(-1.0, 1.0))
                .input(&[3, 13, 268], DType::I32, Domain::Integers(-18, 17))
                .stretched()
                .attr("axis", 1i64)
                .no_gradient(),
            _ => self.cases().remove(0),
        }
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let [x, index] = [0, 1].map(|i| case.inputs[i].as_ref().expect("cases give both"));
        let axis = match case.attrs.complete(&SIGNATURE) {
            Ok(attrs) => x.shape.axis("gather", attrs.int("axis")),
            Err(error) => Err(error),
        };
        let fits = |axis| {
            let y = Layout::contiguous(index.shape, 0);
            let plan = Quads::plan(&x.layout(), &index.layout(), &y, axis, DeviceClass::Cpu);
            plan.is_some_and(|(by_quads, _)| by_quads == entry.name())
        };
        entry.name() == "gather" || axis.is_ok_and(fits)
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

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        // As many elements of x are read as are written.
        let index = inputs.get(1).copied().flatten().map_or(0, |m| m.bytes());
        let moved: u64 = outputs.iter().map(Meta::bytes).sum();
        Cost {
            read_bytes: index + moved,
            written_bytes: moved,
            flops: 0,
        }
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs).reading(&inputs[1])
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
