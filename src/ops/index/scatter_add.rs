//! y = x; y[.., index[.., i, ..], ..] += src[.., i, ..] on one axis
//! vjp: dx = dy, dsrc = gather of dy
//! source: torch.scatter_add; ONNX ScatterElements with reduction add

use std::ops::Range;

use crate::error::{Error, Result};
use crate::fuse::cast;
use crate::gpu::{DeviceClass, Source};
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
        let elem = wide.elem();
        let layouts = [x.layout(), indices.layout(), s.layout()];
        let rows = Rows::plan(layouts, axis, device.caps().class);
        let mut candidates = vec![("scatter_add", 0)];
        if rows.is_some() {
            candidates.insert(0, ("scatter_add_rows", 0));
        }
        let sizes = [
            self.numel() / self.dim(axis).max(1),
            self.dim(axis),
            index.dim(axis),
        ];
        let chosen = launch::choose_for(&ScatterAdd, device, elem, &sizes, &candidates)?;
        let (entry, _) = candidates[chosen];
        let kernel = index::kernel(source(entry), entry, elem);
        let signed = u32::from(index.dtype() == DType::I32);
        // First x is copied, then what is to be added follows in its order; no dispatch takes more steps than one
        // invocation may.
        let n_indices = index.dim(axis);
        match rows.filter(|_| entry == "scatter_add_rows") {
            Some(rows) => {
                let rows = Rows {
                    signed,
                    y_offset: (y.layout().offset / 4) as u32,
                    ..rows
                };
                for turn in turns(rows.part_length as usize, n_indices) {
                    let params = rows.turn(&turn);
                    let groups = u64::from(rows.n).div_ceil(WORKGROUP);
                    let inputs = [&x, &x, &indices, &s];
                    launch::dispatch(device, &kernel, &inputs, &[&y], &params, groups)?;
                }
            }
            None => {
                let n_lines = y.numel().checked_div(self.dim(axis)).unwrap_or(0);
                // Lines are counted over the other axes, so the axis itself has length 1 there.
                let params = Params {
                    lengths: by_axis(&self.shape().with(axis, 1), 1),
                    index_lengths: by_axis(index.shape(), 1),
                    x_strides: strides(x.layout()),
                    y_strides: strides(y.layout()),
                    index_strides: strides(indices.layout()),
                    src_strides: strides(s.layout()),
                    n_lines: n_lines as u32,
                    axis: (self.shape().len() - 1 - axis) as u32,
                    axis_length: self.dim(axis) as u32,
                    n_indices: 0,
                    signed,
                    x_offset: x.layout().offset as u32,
                    index_offset: indices.layout().offset as u32,
                    src_offset: s.layout().offset as u32,
                    y_offset: y.layout().offset as u32,
                    first_copied: 0,
                    end_copied: 0,
                    padding: 0,
                };
                for turn in turns(self.dim(axis), n_indices) {
                    let params = params.turn(&turn);
                    let groups = (n_lines as u64).div_ceil(WORKGROUP);
                    let inputs = [&x, &indices, &s];
                    launch::dispatch(device, &kernel, &inputs, &[&y], &params, groups)?;
                }
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

/// What one dispatch copies, and adds after that, along an axis.
struct Turn {
    copied: Range<usize>,
    added: Range<usize>,
}

/// The dispatches that copy `n` elements of a line and add `n_indices`.
fn turns(n: usize, n_indices: usize) -> Vec<Turn> {
    let mut out = Vec::new();
    let (mut copied, mut added) = (0, 0);
    loop {
        let copies = (n - copied).min(MOST_DONE);
        let adds = (n_indices - added).min(MOST_DONE - copies);
        out.push(Turn {
            copied: copied..copied + copies,
            added: added..added + adds,
        });
        (copied, added) = (copied + copies, added + adds);
        if (copied, added) == (n, n_indices) {
            return out;
        }
    }
}

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

impl Params {
    fn turn(self, turn: &Turn) -> Params {
        let at = self.axis as usize;
        let from = turn.added.start as u32;
        Params {
            n_indices: turn.added.len() as u32,
            index_offset: self.index_offset + from * self.index_strides[at],
            src_offset: self.src_offset + from * self.src_strides[at],
            first_copied: turn.copied.start as u32,
            end_copied: turn.copied.end as u32,
            ..self
        }
    }
}

/// The parameters by rows, with the axes taken as [outer, axis, inner].
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Rows {
    n: u32,
    quads: u32,
    parts: u32,
    part_length: u32,
    axis_length: u32,
    n_indices: u32,
    signed: u32,
    x_is_one: u32,
    x_offset: u32,
    x_outer: u32,
    x_axis: u32,
    index_offset: u32,
    index_outer: u32,
    index_axis: u32,
    src_offset: u32,
    src_outer: u32,
    src_axis: u32,
    y_offset: u32,
    first_copied: u32,
    end_copied: u32,
}

impl Rows {
    /// `None` where rows do not fit: the index must be stretched along inner; inner must be contiguous in x, unless that
    /// is one number everywhere, and in src, and every row of it must start at a multiple of four elements.
    ///
    /// An axis has so many parts that a software driver has work for its threads, and a GPU (not measured) for its
    /// lanes. As each part walks over all of the index, that may not cost a software driver more than copying does.
    /// lavapipe, ms: 8192 rows of 768 into 32000, 123 by lines, 64 by one part, 50 by two; 4096 of 256 into 4096, 4.2 by
    /// lines, 3.0 by one part, 2.4 by four, 5.9 by 16; 50000 of 4 into 50000, 3 by lines, 30 by 256 parts.
    fn plan([x, index, src]: [&Layout; 3], axis: usize, class: DeviceClass) -> Option<Rows> {
        let elsewhere = |a: &usize| *a != axis;
        let lengths = x.shape;
        let inner: usize = lengths[axis + 1..].iter().product();
        let lines = (0..lengths.len()).filter(elsewhere).map(|a| lengths[a]);
        let quads = lines.product::<usize>() / 4;
        let whole = (0..lengths.len())
            .filter(elsewhere)
            .all(|a| lengths[a] == src.shape[a]);
        if !whole || quads == 0 || lengths[axis] == 0 || !inner.is_multiple_of(4) {
            return None;
        }
        let rows_of = |layout: &Layout| -> Option<[usize; 3]> {
            let [outer, along, within] = index::around(layout, &lengths, axis)?;
            let numbers = [layout.offset, outer, along];
            let in_quads = numbers.iter().all(|n| n.is_multiple_of(4));
            (in_quads && within == 1).then(|| numbers.map(|n| n / 4))
        };
        let [index_outer, index_axis, 0] = index::around(index, &lengths, axis)? else {
            return None;
        };
        let x_is_one = index::merged(&lengths, x.strides()) == Some(0);
        let [x_offset, x_outer, x_axis] = match x_is_one {
            true => [x.offset, 0, 0],
            false => rows_of(x)?,
        };
        let [src_offset, src_outer, src_axis] = rows_of(src)?;
        let (wanted, most_parts) = match class {
            DeviceClass::Cpu => (256, lengths[axis] / index.shape[axis].max(1)),
            _ => (65_536, lengths[axis]),
        };
        let parts = usize::div_ceil(wanted, quads).clamp(1, most_parts.max(1));
        let part_length = lengths[axis].div_ceil(parts);
        let parts = lengths[axis].div_ceil(part_length);
        Some(Rows {
            n: u32::try_from(quads * parts).ok()?,
            quads: (inner / 4) as u32,
            parts: parts as u32,
            part_length: part_length as u32,
            axis_length: lengths[axis] as u32,
            n_indices: 0,
            signed: 0,
            x_is_one: u32::from(x_is_one),
            x_offset: x_offset as u32,
            x_outer: x_outer as u32,
            x_axis: x_axis as u32,
            index_offset: index.offset as u32,
            index_outer: index_outer as u32,
            index_axis: index_axis as u32,
            src_offset: src_offset as u32,
            src_outer: src_outer as u32,
            src_axis: src_axis as u32,
            y_offset: 0,
            first_copied: 0,
            end_copied: 0,
        })
    }

    fn turn(self, turn: &Turn) -> Rows {
        let from = turn.added.start as u32;
        Rows {
            n_indices: turn.added.len() as u32,
            index_offset: self.index_offset + from * self.index_axis,
            src_offset: self.src_offset + from * self.src_axis,
            first_copied: turn.copied.start as u32,
            end_copied: turn.copied.end as u32,
            ..self
        }
    }
}

fn source(entry: &str) -> Source {
    match entry {
        "scatter_add_rows" => Source::file(
            "index/scatter_add_rows",
            include_str!("../../../shaders/index/scatter_add_rows.wgsl"),
        ),
        _ => Source::file(
            "index/scatter_add",
            include_str!("../../../shaders/index/scatter_add.wgsl"),
        ),
    }
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
        vec![
            index::entry(source("scatter_add_rows"), "scatter_add_rows", "quads"),
            index::entry(source("scatter_add"), "scatter_add", "naive"),
        ]
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
        let rows = |label: &str, [outer, n, inner]: [usize; 3], n_indices: usize| {
            Case::new(label)
                .f32(&[outer, n, inner], domain)
                .input(&[outer, n_indices, inner], DType::U32, Domain::Index(n))
                .stretched()
                .f32(&[outer, n_indices, inner], domain)
                .attr("axis", 1i64)
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
            rows("rows_of_one_index", [3, 17, 68], 67),
            rows("narrow_rows", [1, 1024, 8], 1024),
            rows("rows_of_a_long_axis", [1, 70_001, 4], 3),
            // Of integers, whose sums are exact.
            Case::new("rows_that_all_meet")
                .f32(&[3, 8], Domain::Integers(-9, 9))
                .input(&[70_001, 8], DType::U32, Domain::Index(3))
                .stretched()
                .f32(&[70_001, 8], Domain::Integers(-9, 9)),
            Case::new("rows_out_of_range")
                .f32(&[7, 12], domain)
                .input(&[65, 12], DType::I32, Domain::Integers(-9, 8))
                .stretched()
                .f32(&[65, 12], domain)
                .no_gradient(),
            Case::new("rows_of_f16")
                .input(&[7, 12], DType::F16, domain)
                .input(&[65, 12], DType::U32, Domain::Index(7))
                .stretched()
                .input(&[65, 12], DType::F16, domain),
            Case::new("rows_of_i32")
                .input(&[7, 12], DType::I32, Domain::Integers(-99, 99))
                .input(&[65, 12], DType::I32, Domain::Integers(-7, 6))
                .stretched()
                .input(&[65, 12], DType::I32, Domain::Integers(-99, 99)),
            case("rows", &[4096, 256], 0, &[4096, 256])
                .bench()
                .no_gradient(),
        ]
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        match entry.name() {
            // Three parts of an axis, of which the last is shorter, and several workgroups of rows of 17 quads; negative
            // indices, and some out of range.
            "scatter_add_rows" => Case::new("verify_rows")
                .f32(&[3, 131, 68], Domain::Uniform(-1.0, 1.0))
                .input(&[3, 37, 68], DType::I32, Domain::Integers(-132, 131))
                .stretched()
                .f32(&[3, 37, 68], Domain::Uniform(-1.0, 1.0))
                .attr("axis", 1i64)
                .no_gradient(),
            _ => self.cases().remove(0),
        }
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let specs = [0, 1, 2].map(|i| case.inputs[i].as_ref().expect("cases give all"));
        let axis = match case.attrs.complete(&SIGNATURE) {
            Ok(attrs) => specs[0].shape.axis("scatter_add", attrs.int("axis")),
            Err(error) => Err(error),
        };
        let [x, index, src] = specs.map(|spec| spec.layout());
        let fits = |axis| Rows::plan([&x, &index, &src], axis, DeviceClass::Cpu).is_some();
        entry.name() == "scatter_add" || axis.is_ok_and(fits)
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

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        let n = inputs
            .get(2)
            .copied()
            .flatten()
            .map_or(0, |m| m.shape.numel());
        Cost::streaming(inputs, outputs, n as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
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
