//! y   = act(a · b + bias), matrices in the last two axes, batches broadcast
//! vjp: da = dy · bᵀ, db = aᵀ · dy, summed over broadcast batches; dbias = Σ dy over all but the last axis
//! source: torch.matmul; torch.addmm for the bias

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::fuse::cast;
use crate::gpu::pipeline::Pipeline;
use crate::gpu::shader::Elem;
use crate::gpu::{Caps, Device, Kernel, Source};
use crate::ops::launch;
use crate::ops::linalg::matmul_gen::{Quad, Rung};
use crate::ops::linalg::matmul_plan::{
    self as planner, BLOCKS, Choice, Forced, MatmulShape, Variant, WORKGROUP,
};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, FLOATS, Input, Meta, Op, Role,
    Signature, any_device, same_dtype,
};
use crate::ops::reduce::sum::sum_to;
use crate::tape::{self, Sink};
use crate::tensor::{DType, Layout, Shape, Tensor};
use crate::verdict::Tolerance;

/// What a product ends with, in the same kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activation {
    #[default]
    None,
    Relu,
    /// The exact form, by erf.
    Gelu,
    Silu,
}

/// The words of the attribute, in the order of [`Activation`] and of the numbers in `shared/matmul.wgsl`.
const ACTIVATIONS: &[&str] = &["none", "relu", "gelu", "silu"];

impl Activation {
    /// The number that `shared/matmul.wgsl` knows it by.
    fn code(self) -> u32 {
        match self {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Gelu => 2,
            Activation::Silu => 3,
        }
    }
}

impl Tensor {
    /// The product of matrices, or of stacks of them.
    ///
    /// Shapes: `[.., m, k] · [.., k, n] → [.., m, n]`, the axes in front broadcast; a vector on the left counts as one
    /// row, on the right as one column, and that axis is left out again. Any strides: transposed views cost nothing.
    /// Edges: an inner axis of length 0 gives zeros. f16 is summed in f32 and rounded once.
    /// Errors: [`Error::Shape`], [`Error::Dtype`], [`Error::Rank`] for rank 0.
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        self.matmul_with(other, None, Activation::None)
    }

    /// As [`matmul`](Self::matmul), then adds `bias [n]` and applies the activation, in the same kernel.
    ///
    /// While a gradient is recorded the activation runs as an elementwise operator of its own, because its derivative
    /// needs what went into it.
    pub fn matmul_with(
        &self,
        other: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        check(Meta::of(self), Meta::of(other), bias.map(Meta::of))?;
        if self.shape().len() == 1 {
            let row = self.reshape([1, self.dim(0)])?;
            let y = row.matmul_with(other, bias, activation)?;
            return squeeze(
                &y,
                y.shape().len() - if other.shape().len() == 1 { 1 } else { 2 },
            );
        }
        if other.shape().len() == 1 {
            let column = other.reshape([other.dim(0), 1])?;
            let y = self.matmul_with(&column, bias, activation)?;
            return squeeze(&y, y.shape().len() - 1);
        }
        let mut present = vec![self, other];
        present.extend(bias);
        let recorded = tape::records(&present);
        let fused = if recorded {
            Activation::None
        } else {
            activation
        };
        let y = product(self, other, bias, fused, None)?;
        if !recorded {
            return Ok(y);
        }
        let (a, b) = (self.detach(), other.detach());
        let bias_shape = bias.map(|t| *t.shape());
        let y = tape::record("matmul", &present, y, move |dy, sink| {
            if sink.wants(0) {
                give(sink, 0, dy, &b.transpose()?, *a.shape())?;
            }
            if sink.wants(1) {
                give(sink, 1, &a.transpose()?, dy, *b.shape())?;
            }
            match bias_shape {
                Some(shape) if sink.wants(2) => sink.add(2, sum_to(dy, shape)?),
                _ => Ok(()),
            }
        });
        match activation {
            Activation::None => Ok(y),
            Activation::Relu => y.relu(),
            Activation::Gelu => y.gelu(),
            Activation::Silu => y.silu(),
        }
    }
}

/// Leaves out an axis of length 1.
fn squeeze(y: &Tensor, axis: usize) -> Result<Tensor> {
    let mut dims = y.shape().to_vec();
    dims.remove(axis);
    y.reshape(dims)
}

/// Gives `a · b` as the gradient of an input of this shape: into the gradient that is there already if a kernel may
/// add to it, summed over the batches that were broadcast.
fn give(sink: &mut Sink, input: usize, a: &Tensor, b: &Tensor, shape: Shape) -> Result<()> {
    // A weight under a batch of inputs: the batch is part of the inner axis, and nothing is left to sum.
    let folded = fold_inner(a, b, shape)?;
    let (a, b) = folded.as_ref().map_or((a, b), |(a, b)| (a, b));
    if out_shape(a.shape(), b.shape()) != Some(shape) {
        let wide = product(a, b, None, Activation::None, None)?;
        return sink.add(input, sum_to(&wide, shape)?);
    }
    match sink.accumulator(input) {
        Some(held) if held.dtype() == a.dtype() && held.layout().is_contiguous() => {
            product(a, b, None, Activation::None, Some(&held)).map(drop)
        }
        _ => sink.give(input, product(a, b, None, Activation::None, None)?),
    }
}

/// `[.., k, m]ᵀ · [.., k, n]` summed over the batch is one product with inner axis batch · k, if `shape` has no batch and
/// both operands lie so that strides can say it.
fn fold_inner(a: &Tensor, b: &Tensor, shape: Shape) -> Result<Option<(Tensor, Tensor)>> {
    let rank = a.shape().len();
    if shape.len() != 2
        || rank < 3
        || b.shape().len() != rank
        || a.shape()[..rank - 2] != b.shape()[..rank - 2]
    {
        return Ok(None);
    }
    let (rows, cols) = (a.dim(rank - 2), b.dim(rank - 1));
    let long = a.shape()[..rank - 2].iter().product::<usize>() * a.dim(rank - 1);
    let at = a.transpose()?;
    match (
        at.layout().reshape(Shape::of(&[long, rows])),
        b.layout().reshape(Shape::of(&[long, cols])),
    ) {
        (Some(at), Some(bl)) => Ok(Some((a.view(at).transpose()?, b.view(bl)))),
        _ => Ok(None),
    }
}

/// Shape of the product of two tensors of rank 2 or more; `None` if their batches do not broadcast.
fn out_shape(a: &Shape, b: &Shape) -> Option<Shape> {
    let batch = batch_of(a).broadcast(&batch_of(b))?;
    let mut dims = batch.to_vec();
    dims.extend([a[a.len() - 2], b[b.len() - 1]]);
    Some(Shape::of(&dims))
}

fn batch_of(shape: &Shape) -> Shape {
    Shape::of(&shape[..shape.len() - 2])
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    splits: u32,
    a_offset: u32,
    b_offset: u32,
    bias_offset: u32,
    out_offset: u32,
    a_row: u32,
    a_col: u32,
    b_row: u32,
    b_col: u32,
    bias_stride: u32,
    batches: u32,
    chunk: u32,
    tiles: u32,
    batch_shape: [u32; 4],
    a_batch: [u32; 4],
    b_batch: [u32; 4],
}

/// The product of two tensors of rank 2 or more; added to `into` if that is given.
fn product(
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    into: Option<&Tensor>,
) -> Result<Tensor> {
    let device = a.device();
    let dtype = a.dtype();
    let shape = out_shape(a.shape(), b.shape()).expect("check saw that batches broadcast");
    let (a, b) = (launch::storage(device, a)?, launch::storage(device, b)?);
    let bias = bias.map(|t| launch::storage(device, t)).transpose()?;
    let out = match into {
        Some(held) if held.dtype() == a.dtype() => held.clone(),
        _ => Tensor::empty(device, a.dtype(), shape)?,
    };
    let accumulate = into.is_some();
    run(&a, &b, bias.as_ref(), activation, &out, accumulate)?;
    if out.dtype() == dtype {
        Ok(out)
    } else {
        cast(&out, dtype)
    }
}

fn run(
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    out: &Tensor,
    accumulate: bool,
) -> Result<()> {
    if out.numel() == 0 {
        return Ok(());
    }
    let device = a.device();
    let (shape, batch_shape) = shape_of(a.layout(), b.layout(), out.layout().offset)?;
    let word = |n: usize| launch::word("matmul", n);
    let elem = a.dtype().elem();
    let mut plan = planner::plan(&shape, device.caps(), forced(device, elem, &shape));
    let candidates = [candidate(plan.choice), ("matmul", 0)];
    if launch::choose(&Matmul, device, elem, &candidates)? == 1 {
        launch::check_steps(device, "products per sum of matmul", shape.inner as usize)?;
        plan = planner::naive(&shape);
    }
    let params = Params {
        rows: shape.rows,
        cols: shape.cols,
        inner: shape.inner,
        splits: plan.splits,
        a_offset: shape.a_offset,
        b_offset: shape.b_offset,
        bias_offset: bias.map_or(Ok(0), |t| word(t.layout().offset))?,
        out_offset: shape.out_offset,
        a_row: shape.a_row,
        a_col: shape.a_col,
        b_row: shape.b_row,
        b_col: shape.b_col,
        bias_stride: bias.map_or(Ok(0), |t| word(t.layout().strides()[0]))?,
        batches: shape.batches,
        chunk: plan.chunk,
        tiles: plan.tiles,
        batch_shape,
        a_batch: shape.a_batch,
        b_batch: shape.b_batch,
    };
    let epilogue = Epilogue {
        bias: bias.is_some(),
        activation,
        accumulate,
    };
    let bare = Epilogue::default();
    // A binding that a kernel does not look at still needs a buffer.
    let bias = bias.unwrap_or(a);
    let groups = u64::from(plan.tiles);
    if plan.splits == 1 {
        let pipeline = pipeline(device, &shape, plan.choice, elem, epilogue)?;
        return launch::dispatch_compiled(
            device,
            &pipeline,
            &[a, b, bias],
            &[out],
            &params,
            groups,
        );
    }
    let partials = Tensor::empty(
        device,
        DType::F32,
        Shape::of(&[plan.splits as usize, out.numel()]),
    )?;
    let first = Params {
        out_offset: word(partials.layout().offset)?,
        ..params
    };
    let partial = pipeline(device, &shape, plan.choice, elem, bare)?;
    launch::dispatch_compiled(
        device,
        &partial,
        &[a, b, bias],
        &[&partials],
        &first,
        groups,
    )?;
    let second = Params {
        a_offset: word(partials.layout().offset)?,
        ..params
    };
    let reduce = reduce_pipeline(device, elem, epilogue)?;
    launch::dispatch_compiled(
        device,
        &reduce,
        &[&partials, bias],
        &[out],
        &second,
        (out.numel() as u64).div_ceil(u64::from(WORKGROUP)),
    )
}

/// What the planner sees of a product, and the lengths of the batch's axes.
fn shape_of(a: &Layout, b: &Layout, out_offset: usize) -> Result<(MatmulShape, [u32; 4])> {
    let (a_layout, b_layout, batch) = matrices(a, b);
    let rank = batch.len();
    let word = |n: usize| launch::word("matmul", n);
    let batch_strides = |layout: &Layout| -> Result<[u32; 4]> {
        let mut strides = [0; 4];
        for axis in 0..rank {
            strides[4 - rank + axis] = word(layout.strides()[axis])?;
        }
        Ok(strides)
    };
    let mut batch_shape = [1; 4];
    for axis in 0..rank {
        batch_shape[4 - rank + axis] = word(batch[axis])?;
    }
    let shape = MatmulShape {
        batches: word(batch.numel())?,
        rows: word(a_layout.shape[rank])?,
        inner: word(a_layout.shape[rank + 1])?,
        cols: word(b_layout.shape[rank + 1])?,
        a_offset: word(a_layout.offset)?,
        b_offset: word(b_layout.offset)?,
        out_offset: word(out_offset)?,
        a_row: word(a_layout.strides()[rank])?,
        a_col: word(a_layout.strides()[rank + 1])?,
        b_row: word(b_layout.strides()[rank])?,
        b_col: word(b_layout.strides()[rank + 1])?,
        a_batch: batch_strides(&a_layout)?,
        b_batch: batch_strides(&b_layout)?,
    };
    Ok((shape, batch_shape))
}

/// Layouts of both operands over one batch shape of at most four axes. A stack of matrices times one matrix is one
/// long matrix times it, if the rows lie so.
fn matrices(a: &Layout, b: &Layout) -> (Layout, Layout, Shape) {
    let (a_shape, b_shape) = (&a.shape, &b.shape);
    let batch = batch_of(a_shape)
        .broadcast(&batch_of(b_shape))
        .expect("check saw that batches broadcast");
    let (rows, inner) = (a_shape[a_shape.len() - 2], a_shape[a_shape.len() - 1]);
    let cols = b_shape[b_shape.len() - 1];
    if batch_of(b_shape).numel() == 1 {
        let long = Shape::of(&[batch.numel() * rows, inner]);
        let folded = (a_shape.numel() == long.numel())
            .then(|| a.reshape(long))
            .flatten();
        let single = b.reshape(Shape::of(&[inner, cols]));
        if let (Some(a), Some(b)) = (folded, single) {
            return (a, b, Shape::SCALAR);
        }
    }
    let stretched = |layout: &Layout, m: usize, n: usize| {
        let mut dims = batch.to_vec();
        dims.extend([m, n]);
        layout.broadcast_to(Shape::of(&dims))
    };
    (stretched(a, rows, inner), stretched(b, inner, cols), batch)
}

/// What a handle with one allowed entry point, or the device's plan table, asks of the plan.
fn forced(device: &Device, elem: Elem, shape: &MatmulShape) -> Option<Forced> {
    let sizes = [shape.batches, shape.rows, shape.inner, shape.cols].map(|n| n as usize);
    let preferred = launch::preferred(&Matmul, device, elem, &sizes);
    let (name, code) = *preferred.first()?;
    // A table speaks of a class of sizes; where sums must be split, the plan knows how.
    if device.mode().only.is_none() && shape.inner > planner::TILED_MOST {
        return None;
    }
    Some(match name {
        "matmul" => Forced::Naive,
        "matmul_tiled" => Forced::Tiled { partial: false },
        "matmul_tiled_partial" => Forced::Tiled { partial: true },
        "matmul_vec4" | "matmul_subgroup" => {
            let variant = Variant::from_code(code);
            Forced::Block {
                block: variant.block,
                partial: variant.partial,
            }
        }
        _ => return None,
    })
}

fn candidate(choice: Choice) -> (&'static str, u32) {
    match choice {
        Choice::Naive => ("matmul", 0),
        Choice::Tiled { partial: false } => ("matmul_tiled", 0),
        Choice::Tiled { partial: true } => ("matmul_tiled_partial", 0),
        Choice::Block(variant) => (variant.constants().entry(), variant.code()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Epilogue {
    bias: bool,
    activation: Activation,
    accumulate: bool,
}

impl Epilogue {
    fn overrides(&self) -> [(&'static str, f64); 3] {
        [
            ("BIAS", f64::from(self.bias)),
            ("ACT", f64::from(self.activation.code())),
            ("ACCUMULATE", f64::from(self.accumulate)),
        ]
    }
}

/// Pipelines of this operator by what they depend on, so that a dispatch writes no source text.
#[derive(Default)]
struct Compiled {
    by_key: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
}

/// Choice (`None` is the second pass), epilogue, storage type, and what else decides the constants.
type PipelineKey = (Option<Choice>, Epilogue, Elem, [bool; 3]);

fn compiled(
    device: &Device,
    key: PipelineKey,
    kernel: impl FnOnce() -> Kernel,
) -> Result<Arc<Pipeline>> {
    let compiled = device.extension(Compiled::default);
    let known = compiled
        .by_key
        .lock()
        .expect("looking up does not panic")
        .get(&key)
        .cloned();
    if let Some(pipeline) = known {
        return Ok(pipeline);
    }
    let pipeline = device.pipeline(&kernel())?;
    compiled
        .by_key
        .lock()
        .expect("inserting does not panic")
        .insert(key, pipeline.clone());
    Ok(pipeline)
}

fn pipeline(
    device: &Device,
    shape: &MatmulShape,
    choice: Choice,
    elem: Elem,
    epilogue: Epilogue,
) -> Result<Arc<Pipeline>> {
    let along_rows = shape.a_row == 1 && shape.a_col != 1;
    let along_inner = shape.b_row == 1 && shape.b_col != 1;
    let batched = shape.batches != 1;
    // Only the tiled kernel walks by strides; the others must not multiply pipelines by them.
    let walk = match choice {
        Choice::Tiled { .. } => [along_rows, along_inner, batched],
        Choice::Naive => [false, false, batched],
        Choice::Block(_) => [false; 3],
    };
    compiled(device, (Some(choice), epilogue, elem, walk), || {
        let mut kernel = kernel(choice, elem);
        if !matches!(choice, Choice::Block(_)) {
            kernel.constants.extend([
                ("BATCHED", f64::from(walk[2])),
                ("A_ALONG_ROWS", f64::from(walk[0])),
                ("B_ALONG_INNER", f64::from(walk[1])),
            ]);
        }
        kernel.constants.extend(epilogue.overrides());
        kernel
    })
}

fn reduce_pipeline(device: &Device, elem: Elem, epilogue: Epilogue) -> Result<Arc<Pipeline>> {
    compiled(device, (None, epilogue, elem, [false; 3]), || {
        let mut kernel = reduce_kernel(elem);
        kernel.constants.extend(epilogue.overrides());
        kernel
    })
}

fn reduce_kernel(elem: Elem) -> Kernel {
    Kernel {
        source: Source::file(
            "linalg/matmul_reduce",
            include_str!("../../../shaders/linalg/matmul_reduce.wgsl"),
        ),
        entry: "matmul_reduce",
        constants: vec![("WG", f64::from(WORKGROUP))],
        elem,
    }
}

/// The kernel without its epilogue's constants.
fn kernel(choice: Choice, elem: Elem) -> Kernel {
    let (entry, _) = candidate(choice);
    match choice {
        Choice::Naive => Kernel {
            source: Source::file(
                "linalg/matmul",
                include_str!("../../../shaders/linalg/matmul.wgsl"),
            ),
            entry,
            constants: vec![("WG", f64::from(WORKGROUP))],
            elem,
        },
        Choice::Tiled { .. } => Kernel {
            source: Source::file(
                "linalg/matmul_tiled",
                include_str!("../../../shaders/linalg/matmul_tiled.wgsl"),
            ),
            entry,
            constants: Vec::new(),
            elem,
        },
        Choice::Block(variant) => Kernel {
            // Ragged and batched are constants and not part of the text.
            source: Source::generated(
                format!("linalg/{entry}_{:04x}", variant.code() & 0x3fff),
                variant.constants().wgsl(),
            ),
            entry,
            constants: variant.overrides(),
            elem,
        },
    }
}

fn entry_of(choice: Choice) -> Entry {
    let rung = match choice {
        Choice::Naive => "naive",
        Choice::Tiled { .. } => "tiled",
        Choice::Block(v) => match BLOCKS[v.block as usize].rung {
            Rung::Vec4 => "vec4",
            Rung::Subgroup { .. } => "subgroup",
        },
    };
    let needs = match choice {
        Choice::Block(v) => planner::needs(v.block),
        _ => any_device,
    };
    Entry {
        role: Role::Forward,
        rung,
        variant: candidate(choice).1,
        needs,
        kernel: kernel(choice, Elem::F32),
    }
}

fn check(a: Meta, b: Meta, bias: Option<Meta>) -> Result<Meta> {
    let op = "matmul";
    same_dtype(op, ("a", a.dtype), ("b", b.dtype))?;
    for (name, shape) in [("a", a.shape), ("b", b.shape)] {
        if shape.is_empty() {
            return Err(Error::rank(
                op,
                format!("{name} is a single number, expected a vector or matrices"),
            ));
        }
    }
    let vector = |shape: &Shape| shape.len() == 1;
    let a_full = if vector(&a.shape) {
        Shape::of(&[1, a.shape[0]])
    } else {
        a.shape
    };
    let b_full = if vector(&b.shape) {
        Shape::of(&[b.shape[0], 1])
    } else {
        b.shape
    };
    let (inner_a, inner_b) = (a_full[a_full.len() - 1], b_full[b_full.len() - 2]);
    if inner_a != inner_b {
        return Err(Error::shape(
            op,
            format!(
                "a {:?} has {inner_a} columns, b {:?} has {inner_b} rows",
                a.shape, b.shape
            ),
        ));
    }
    let Some(full) = out_shape(&a_full, &b_full) else {
        return Err(Error::shape(
            op,
            format!(
                "batches of a {:?} and b {:?} do not broadcast",
                a.shape, b.shape
            ),
        ));
    };
    if let Some(bias) = bias {
        same_dtype(op, ("a", a.dtype), ("bias", bias.dtype))?;
        let cols = full[full.len() - 1];
        if bias.shape[..] != [cols] {
            return Err(Error::shape(
                op,
                format!(
                    "bias has shape {:?}, expected [{cols}], the columns of b {:?}",
                    bias.shape, b.shape
                ),
            ));
        }
    }
    let mut dims = full.to_vec();
    if vector(&b.shape) {
        dims.pop();
    }
    if vector(&a.shape) {
        dims.remove(full.len() - 2);
    }
    Ok(Meta {
        shape: Shape::of(&dims),
        dtype: a.dtype,
    })
}

static SIGNATURE: Signature = Signature {
    name: "matmul",
    formula: "y = act(a · b + bias)",
    source: "torch.matmul",
    inputs: &[
        Input::grad("a", FLOATS),
        Input::grad("b", FLOATS),
        Input::grad("bias", FLOATS).optional(),
    ],
    attrs: &[
        AttrSpec {
            name: "transpose_a",
            default: AttrDefault::Bool(false),
        },
        AttrSpec {
            name: "transpose_b",
            default: AttrDefault::Bool(false),
        },
        AttrSpec {
            name: "activation",
            default: AttrDefault::Choice(ACTIVATIONS),
        },
    ],
    outputs: &["y"],
};

/// Inputs with the transposes of the attributes done.
fn turned(meta: Meta, transpose: bool) -> Meta {
    let n = meta.shape.len();
    if !transpose || n < 2 {
        return meta;
    }
    let shape = meta.shape;
    Meta {
        shape: shape.with(n - 2, shape[n - 1]).with(n - 1, shape[n - 2]),
        ..meta
    }
}

pub struct Matmul;

impl Op for Matmul {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let [a, b] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        for (name, meta) in [("a", a), ("b", b)] {
            if attrs.bool(&format!("transpose_{name}")) && meta.shape.len() < 2 {
                return Err(Error::attribute(
                    "matmul",
                    format!(
                        "transpose_{name} of {:?}, expected at least 2 axes",
                        meta.shape
                    ),
                ));
            }
        }
        let a = turned(a, attrs.bool("transpose_a"));
        let b = turned(b, attrs.bool("transpose_b"));
        Ok(vec![check(a, b, inputs[2])?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [a, b] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let turn = |t: &Tensor, name| match attrs.bool(name) {
            true => t.transpose(),
            false => Ok(t.clone()),
        };
        let (a, b) = (turn(a, "transpose_a")?, turn(b, "transpose_b")?);
        let activation = match attrs.word("activation") {
            "relu" => Activation::Relu,
            "gelu" => Activation::Gelu,
            "silu" => Activation::Silu,
            _ => Activation::None,
        };
        Ok(vec![a.matmul_with(&b, inputs[2], activation)?])
    }

    fn entries(&self) -> Vec<Entry> {
        let fixed = [
            Choice::Naive,
            Choice::Tiled { partial: false },
            Choice::Tiled { partial: true },
        ];
        // One variant per block stands for all ways of reading: which one a case gets follows from its strides.
        let blocks = (0..BLOCKS.len() as u32).flat_map(|block| {
            [false, true].map(|partial| {
                Choice::Block(Variant {
                    block,
                    a: Quad::Inner,
                    b: Quad::Outer,
                    out_quads: true,
                    partial,
                    ragged: false,
                    batched: false,
                })
            })
        });
        fixed.into_iter().chain(blocks).map(entry_of).collect()
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, caps: &Caps) -> Option<String> {
        let layout = |i: usize, name| {
            let meta: Meta = inputs[i]?;
            let whole = Layout::contiguous(meta.shape, 0);
            let n = meta.shape.len();
            // A vector becomes a row or a column.
            Some(match (n, i) {
                (0, _) => return None,
                (1, 0) => whole.unsqueeze(0),
                (1, _) => whole.unsqueeze(1),
                _ if attrs.bool(name) => {
                    let mut axes: Vec<usize> = (0..n).collect();
                    axes.swap(n - 2, n - 1);
                    whole.permute(&axes)
                }
                _ => whole,
            })
        };
        let (a, b) = (layout(0, "transpose_a")?, layout(1, "transpose_b")?);
        let (shape, _) = shape_of(&a, &b, 0).ok()?;
        Some(planner::plan(&shape, caps, None).describe())
    }

    fn entry(&self, name: &str, variant: u32) -> Option<Entry> {
        Some(entry_of(match name {
            "matmul" => Choice::Naive,
            "matmul_tiled" => Choice::Tiled { partial: false },
            "matmul_tiled_partial" => Choice::Tiled { partial: true },
            "matmul_vec4" | "matmul_subgroup" => {
                let variant = Variant::from_code(variant);
                BLOCKS.get(variant.block as usize)?;
                Choice::Block(variant)
            }
            _ => return None,
        }))
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-1.0, 1.0);
        let case =
            |label: &str, a: &[usize], b: &[usize]| Case::new(label).f32(a, domain).f32(b, domain);
        let bench = |label: &str, a: &[usize], b: &[usize]| {
            case(label, a, b).absent().bench().no_gradient()
        };
        vec![
            case("verify", &[67, 21], &[21, 35]).absent(),
            case("one_element", &[1, 1], &[1, 1]).absent(),
            case("aligned", &[36, 16], &[16, 72]).absent(),
            case("prime", &[3, 37, 13], &[13, 41]).absent(),
            case("batched", &[3, 17, 20], &[3, 20, 36]).absent(),
            case("batch_of_one_matrix", &[2, 1, 5, 8], &[3, 8, 12]).absent(),
            case("four_batch_axes", &[2, 1, 2, 1, 5, 7], &[1, 3, 1, 2, 7, 3]).absent(),
            case("transpose_a", &[20, 33], &[20, 44])
                .absent()
                .attr("transpose_a", true),
            case("transpose_b", &[33, 20], &[44, 20])
                .absent()
                .attr("transpose_b", true),
            case("both_transposed", &[2, 11, 33], &[2, 7, 11])
                .absent()
                .attr("transpose_a", true)
                .attr("transpose_b", true),
            case("long_inner", &[9, 2052], &[2052, 12]).absent(),
            // More products per sum than a software driver lets one invocation add.
            case("longer_inner", &[2, 70_001], &[70_001, 3]).absent(),
            case("silu", &[9, 12], &[12, 20])
                .absent()
                .attr("activation", "silu"),
            // The twin's kink at 0 is met by no sum of these.
            case("bias_relu", &[9, 12], &[12, 20])
                .f32(&[20], domain)
                .attr("activation", "relu"),
            case("bias_gelu", &[33, 12], &[12, 20])
                .f32(&[20], domain)
                .attr("activation", "gelu"),
            case("row_by_column", &[13], &[13]).absent(),
            case("vector_by_matrices", &[13], &[2, 13, 5]).absent(),
            case("matrices_by_vector", &[2, 5, 13], &[13]).f32(&[1], domain),
            case("empty_inner", &[3, 0], &[0, 4]).absent(),
            case("empty", &[0, 3], &[3, 4]).absent().no_gradient(),
            bench("square_512", &[512, 512], &[512, 512]),
            bench("square_1024", &[1024, 1024], &[1024, 1024]),
            // A layer's product, and those of its gradients: by the input, by the weight.
            bench("8192x32x96", &[8192, 32], &[32, 96]),
            bench("8192x96x32_by_input", &[8192, 96], &[32, 96]).attr("transpose_b", true),
            bench("32x8192x96_by_weight", &[8192, 32], &[8192, 96]).attr("transpose_a", true),
            bench("2048x64x256", &[2048, 64], &[64, 256]),
            bench("2048x256x64_by_input", &[2048, 256], &[64, 256]).attr("transpose_b", true),
            bench("64x2048x256_by_weight", &[2048, 64], &[2048, 256]).attr("transpose_a", true),
            bench("1000x517x333", &[1000, 517], &[517, 333]),
            bench("64_of_64x16x64", &[64, 64, 16], &[64, 16, 64]),
        ]
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        let code = entry.variant;
        match entry.name() {
            "matmul_vec4" | "matmul_subgroup" => verify_variant(Variant::from_code(code)),
            // Two tiles of 64 down and across, three chunks, a rest of each; two batches of which one is broadcast.
            "matmul_tiled" | "matmul_tiled_partial" => Case::new("verify")
                .f32(&[2, 67, 37], Domain::Uniform(-1.0, 1.0))
                .f32(&[37, 66], Domain::Uniform(-1.0, 1.0))
                .absent(),
            _ => self.cases().remove(0),
        }
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let inner = case.attrs.complete(&SIGNATURE).ok().and_then(|attrs| {
            let a = case.inputs[0].as_ref()?;
            let meta = Meta {
                shape: a.shape,
                dtype: a.dtype,
            };
            turned(meta, attrs.bool("transpose_a"))
                .shape
                .last()
                .copied()
        });
        inner.is_none_or(|inner| match entry.name() {
            "matmul" => inner <= planner::NAIVE_MOST as usize,
            "matmul_tiled" => inner <= planner::TILED_MOST as usize,
            _ => true,
        })
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let [a, b] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let (ta, tb) = (attrs.bool("transpose_a"), attrs.bool("transpose_b"));
        let meta = |array: &Array, t| {
            turned(
                Meta {
                    shape: array.shape,
                    dtype: DType::F32,
                },
                t,
            )
        };
        let out = check(meta(a, ta), meta(b, tb), None)
            .expect("infer checked them")
            .shape;
        let (a_vector, b_vector) = (a.shape.len() == 1, b.shape.len() == 1);
        // Where an operand's matrix of a batch begins, its batch aligned at the right with the result's, and the steps from
        // an element to the one below and to the one beside it.
        let matrix = |array: &Array, t: bool, batch: &[usize]| {
            let Some(n) = array.shape.len().checked_sub(2) else {
                return (0, 1, 1);
            };
            let (rows, cols) = (array.shape[n], array.shape[n + 1]);
            let place = batch[batch.len() - n..]
                .iter()
                .zip(array.shape.iter())
                .fold(0, |place, (c, n)| place * n + if *n == 1 { 0 } else { *c });
            let (below, beside) = if t { (1, cols) } else { (cols, 1) };
            (place * rows * cols, below, beside)
        };
        let inner = if a_vector {
            a.shape[0]
        } else {
            meta(a, ta).shape[a.shape.len() - 1]
        };
        vec![Array::from_fn(out, |at| {
            let mut batch = at;
            let mut pop = |vector: bool| match (vector, batch.split_last()) {
                (false, Some((last, rest))) => {
                    batch = rest;
                    *last
                }
                _ => 0,
            };
            let (col, row) = (pop(b_vector), pop(a_vector));
            let (a_start, a_below, a_beside) = matrix(a, ta, batch);
            let (b_start, b_below, b_beside) = matrix(b, tb, batch);
            let mut sum = 0.0;
            for k in 0..inner {
                sum += a.data[a_start + row * a_below + k * a_beside]
                    * b.data[b_start + k * b_below + col * b_beside];
            }
            sum += inputs[2].map_or(0.0, |bias| bias.at(&[col]));
            match attrs.word("activation") {
                "relu" => sum.max(0.0),
                "gelu" => (crate::ops::elementwise::gelu::GELU.function.twin)(&[sum], &[0.0]),
                "silu" => sum / (1.0 + (-sum).exp()),
                _ => sum,
            }
        })]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let [a, b] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let turned = turned(
            Meta {
                shape: a.shape,
                dtype: DType::F32,
            },
            attrs.bool("transpose_a"),
        );
        let inner = *turned.shape.last().expect("rank is at least 1");
        let bias = inputs[2].map_or(0.0, Array::max_abs);
        Tolerance::sum(inner + 1, (a.max_abs() * b.max_abs()).max(bias))
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        let a = inputs[0].map(|m| turned(m, attrs.bool("transpose_a")));
        let inner = a.and_then(|m| m.shape.last().copied()).unwrap_or(0);
        let n = outputs.first().map_or(0, |m| m.shape.numel());
        Cost::streaming(inputs, outputs, 2 * (n * inner) as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], attrs: &Attrs) -> Cost {
        // A product for each factor, each with the other one.
        Cost::vjp(self.signature(), inputs, outputs)
            .reading(inputs.iter().take(2).flatten())
            .computing(2 * self.cost(inputs, outputs, attrs).flops)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let domain = Domain::Constant(1.0);
        let case = |a: &[usize], b: &[usize]| Case::new("refused").f32(a, domain).f32(b, domain);
        vec![
            ("inner axes differ", case(&[2, 3], &[4, 5]).absent()),
            (
                "batches do not broadcast",
                case(&[2, 2, 3], &[3, 3, 5]).absent(),
            ),
            ("a number", case(&[], &[3, 5]).absent()),
            (
                "bias is not like the columns",
                case(&[2, 3], &[3, 5]).f32(&[3], domain),
            ),
            (
                "dtypes differ",
                Case::new("refused")
                    .f32(&[2, 3], domain)
                    .input(&[3, 5], DType::F16, domain)
                    .absent(),
            ),
            (
                "a transposed vector",
                case(&[3], &[3, 5]).absent().attr("transpose_a", true),
            ),
        ]
    }
}

/// A product whose strides make the plan, under [`Forced`], choose exactly this variant: two tiles down and across with
/// a rest, two steps or three chunks of the inner axis.
fn verify_variant(v: Variant) -> Case {
    let (tile_rows, tile_cols) = v.tile();
    let rows = tile_rows as usize + 3;
    let cols = tile_cols as usize + if v.out_quads { 4 } else { 3 };
    let inner = if v.partial { 28 } else { 12 } + if v.ragged { 3 } else { 0 };
    let batch: &[usize] = if v.batched { &[2] } else { &[] };
    let domain = Domain::Uniform(-1.0, 1.0);
    let to_four = |n: usize| n.next_multiple_of(4) - n;
    // A frame around the last axis gives the row stride and the offset that a way of reading needs or excludes.
    let operand = |case: Case, quad: Quad, outer: usize, name: &str, outer_first: bool| {
        // Stored with the unit stride along the last axis.
        let along_inner = match quad {
            Quad::Inner => true,
            Quad::Outer => false,
            Quad::Single => outer_first,
        };
        let (first, last) = if along_inner {
            (outer, inner)
        } else {
            (inner, outer)
        };
        let frame = match quad {
            Quad::Single => (1, 0),
            _ => (0, to_four(last)),
        };
        let shape: Vec<usize> = batch.iter().copied().chain([first, last]).collect();
        case.f32(&shape, domain)
            .framed(frame)
            .attr(&format!("transpose_{name}"), along_inner != outer_first)
    };
    let case = operand(Case::new("verify"), v.a, rows, "a", true);
    operand(case, v.b, cols, "b", false).absent()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::linalg::matmul_plan::Plan;

    #[test]
    fn every_variant_has_a_case_that_gets_it() {
        for block in 0..BLOCKS.len() as u32 {
            for bits in 0..1u32 << 8 {
                let code = block | bits << 8;
                if code >> 9 & 3 == 3 || code >> 11 & 3 == 3 {
                    continue;
                }
                let variant = Variant::from_code(code);
                let case = verify_variant(variant);
                let attrs = case.attrs.complete(&SIGNATURE).unwrap();
                let layout = |i: usize| {
                    let spec = case.inputs[i].as_ref().unwrap();
                    spec.layout()
                };
                let turn = |layout: Layout, t: bool| {
                    let n = layout.shape.len();
                    let mut axes: Vec<usize> = (0..n).collect();
                    if t {
                        axes.swap(n - 1, n - 2);
                    }
                    layout.permute(&axes)
                };
                let a = turn(layout(0), attrs.bool("transpose_a"));
                let b = turn(layout(1), attrs.bool("transpose_b"));
                let n = a.shape.len();
                let stride = |l: &Layout, axis: usize| l.strides()[axis] as u32;
                let batch = |l: &Layout| [0, 0, 0, if n == 3 { stride(l, 0) } else { 0 }];
                let shape = MatmulShape {
                    batches: if n == 3 { 2 } else { 1 },
                    rows: a.shape[n - 2] as u32,
                    inner: a.shape[n - 1] as u32,
                    cols: b.shape[n - 1] as u32,
                    a_offset: a.offset as u32,
                    b_offset: b.offset as u32,
                    out_offset: 0,
                    a_row: stride(&a, n - 2),
                    a_col: stride(&a, n - 1),
                    b_row: stride(&b, n - 2),
                    b_col: stride(&b, n - 1),
                    a_batch: batch(&a),
                    b_batch: batch(&b),
                };
                let forced = Forced::Block {
                    block,
                    partial: variant.partial,
                };
                // The class does not matter where the choice is forced.
                let plan: Plan = planner::plan_forced(&shape, forced);
                assert_eq!(plan.choice, Choice::Block(variant), "{case:?}");
            }
        }
    }
}
