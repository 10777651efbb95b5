//! y = a, b, … one after the other along an axis
//! vjp: each gets its part of dy
//! source: torch.cat; torch.stack

use crate::error::{Error, Result};
use crate::fuse::cast;
use crate::gpu::Source;
use crate::ops::index::{self, Movement, WORKGROUP, given};
use crate::ops::launch;
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Case, Domain, Input, Meta, Signature, same_device,
};
use crate::tape;
use crate::tensor::{DType, Layout, Tensor};

impl Tensor {
    /// The tensors one after the other along an axis.
    ///
    /// Shapes: equal but on that axis. `[1 2]` and `[3]` give `[1 2 3]`. The gradients are views of the upstream one.
    /// Errors: [`Error::Shape`] if there is no tensor or shapes differ elsewhere; [`Error::Dtype`] if dtypes differ;
    /// [`Error::Attribute`] for an axis that is not there.
    pub fn concat(tensors: &[&Tensor], axis: i64) -> Result<Tensor> {
        same_device("concat", tensors)?;
        let metas: Vec<Meta> = tensors.iter().map(|t| Meta::of(t)).collect();
        let (axis, meta) = check(&metas, axis)?;
        let device = tensors[0].device();
        let stored = tensors
            .iter()
            .map(|t| launch::storage(device, t))
            .collect::<Result<Vec<_>>>()?;
        let y = Tensor::empty(device, stored[0].dtype(), meta.shape)?;
        let mut start = 0;
        for x in &stored {
            let part = y.layout().slice(axis, start, x.dim(axis), 1);
            start += x.dim(axis);
            if x.numel() > 0 {
                copy(x, &y, part)?;
            }
        }
        let y = if y.dtype() == meta.dtype {
            y
        } else {
            cast(&y, meta.dtype)?
        };
        let lengths: Vec<usize> = tensors.iter().map(|t| t.dim(axis)).collect();
        Ok(tape::record("concat", tensors, y, move |dy, sink| {
            let mut start = 0;
            for (i, &length) in lengths.iter().enumerate() {
                sink.add(i, dy.view(dy.layout().slice(axis, start, length, 1)))?;
                start += length;
            }
            Ok(())
        }))
    }

    /// Tensors of one shape, side by side along a new axis.
    ///
    /// Errors: as [`concat`](Self::concat).
    pub fn stack(tensors: &[&Tensor], axis: i64) -> Result<Tensor> {
        let wider = tensors
            .iter()
            .map(|t| t.unsqueeze(axis))
            .collect::<Result<Vec<_>>>()?;
        let rank = tensors.first().map_or(0, |t| t.shape().len() as i64);
        let axis = if axis < 0 { axis + rank + 1 } else { axis };
        Self::concat(&wider.iter().collect::<Vec<_>>(), axis)
    }
}

/// Elements that are copied together.
const QUAD: usize = 4;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    lengths: [u32; 8],
    x_strides: [u32; 8],
    y_strides: [u32; 8],
    n_axes: u32,
    /// Invocations.
    n: u32,
    x_offset: u32,
    y_offset: u32,
    /// Invocations that share a row, and quads of a row; 1 and 1 where elements are copied one by one.
    lanes: u32,
    quads: u32,
    padding: [u32; 2],
}

/// Copies `x` into the part of `y` that `part` describes: by quads where rows of both are made of them.
fn copy(x: &Tensor, y: &Tensor, part: Layout) -> Result<()> {
    let device = x.device();
    x.buffer()?;
    let elem = x.dtype().elem();
    let mut axes = index::walk(x.shape(), [x.layout().strides(), part.strides()]);
    let offsets = [x.layout().offset, part.offset];
    let in_quads = |numbers: [usize; 2]| numbers.iter().all(|n| n.is_multiple_of(QUAD));
    let row = axes.first().filter(|(n, strides)| {
        n.is_multiple_of(QUAD)
            && *strides == [1, 1]
            && in_quads(offsets)
            && axes[1..].iter().all(|(_, strides)| in_quads(*strides))
    });
    let row = row.map(|(n, _)| n / QUAD);
    let candidates: &[(&'static str, u32)] = match row {
        Some(_) => &[("concat_quads", 0), ("concat", 0)],
        None => &[("concat", 0)],
    };
    let chosen = launch::choose(&CONCAT, device, elem, candidates)?;
    let (entry, _) = candidates[chosen];
    let (unit, quads) = match row {
        Some(quads) if entry == "concat_quads" => {
            axes.remove(0);
            (QUAD, quads)
        }
        _ => (1, 1),
    };
    let lanes = index::lanes(device.caps().class, quads);
    let n = x.numel() / unit / quads * lanes;
    let strides = |of: usize| index::words(axes.iter().map(|(_, s)| s[of] / unit), 0);
    let params = Params {
        lengths: index::words(axes.iter().map(|(n, _)| *n), 1),
        x_strides: strides(0),
        y_strides: strides(1),
        n_axes: axes.len() as u32,
        n: n as u32,
        x_offset: (offsets[0] / unit) as u32,
        y_offset: (offsets[1] / unit) as u32,
        lanes: lanes as u32,
        quads: quads as u32,
        padding: [0; 2],
    };
    launch::dispatch(
        device,
        &index::kernel(source(entry), entry, elem),
        &[x],
        &[y],
        &params,
        (n as u64).div_ceil(WORKGROUP),
    )
}

fn source(entry: &str) -> Source {
    match entry {
        "concat_quads" => Source::file(
            "index/concat_quads",
            include_str!("../../../shaders/index/concat_quads.wgsl"),
        ),
        _ => Source::file(
            "index/concat",
            include_str!("../../../shaders/index/concat.wgsl"),
        ),
    }
}

fn check(metas: &[Meta], axis: i64) -> Result<(usize, Meta)> {
    let first = metas
        .first()
        .ok_or_else(|| Error::shape("concat", "no tensors given"))?;
    let axis = first.shape.axis("concat", axis)?;
    let mut length = 0;
    for meta in metas {
        if meta.dtype != first.dtype {
            return Err(Error::dtype(
                "concat",
                format!(
                    "{} meets {}; convert one with cast",
                    first.dtype, meta.dtype
                ),
            ));
        }
        let alike = meta.shape.len() == first.shape.len()
            && (0..meta.shape.len()).all(|a| a == axis || meta.shape[a] == first.shape[a]);
        if !alike {
            return Err(Error::shape(
                "concat",
                format!(
                    "{:?} and {:?} differ beside axis {axis}",
                    first.shape, meta.shape
                ),
            ));
        }
        length += meta.shape[axis];
    }
    let dims: Vec<usize> = first.shape.with(axis, length).to_vec();
    Ok((
        axis,
        Meta {
            shape: crate::tensor::Shape::new(&dims)?,
            dtype: first.dtype,
        },
    ))
}

pub static CONCAT: Movement = Movement {
    signature: &Signature {
        name: "concat",
        formula: "y = a, b, c one after the other along an axis",
        source: "torch.cat",
        inputs: &[
            Input::grad("a", ANY),
            Input::grad("b", ANY).optional(),
            Input::grad("c", ANY).optional(),
        ],
        attrs: &[AttrSpec {
            name: "axis",
            default: AttrDefault::Int(0),
        }],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let metas: Vec<Meta> = inputs.iter().flatten().copied().collect();
        Ok(check(&metas, attrs.int("axis"))?.1)
    },
    run: |inputs, attrs| {
        let tensors: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        Tensor::concat(&tensors, attrs.int("axis"))
    },
    twin: |inputs, attrs| {
        let parts: Vec<&Array> = inputs.iter().flatten().copied().collect();
        let axis = given(inputs, 0)
            .shape
            .axis("concat", attrs.int("axis"))
            .expect("infer checked it");
        let length = parts.iter().map(|p| p.shape[axis]).sum();
        Array::from_fn(parts[0].shape.with(axis, length), |at| {
            let mut place = at.to_vec();
            for part in &parts {
                if place[axis] < part.shape[axis] {
                    return part.at(&place);
                }
                place[axis] -= part.shape[axis];
            }
            unreachable!("the lengths add up")
        })
    },
    cases: || {
        let domain = Domain::Uniform(-1.0, 1.0);
        let two = |label: &str, a: &[usize], b: &[usize], axis: i64| {
            Case::new(label)
                .f32(a, domain)
                .f32(b, domain)
                .absent()
                .attr("axis", axis)
        };
        vec![
            two("verify", &[5, 27], &[5, 40], 1),
            two("verify_quads", &[67, 68], &[67, 72], 1),
            two("quads_of_three_axes", &[3, 2, 8], &[3, 5, 8], 1),
            two("first_axis", &[2, 7], &[3, 7], 0),
            two("middle_axis", &[2, 3, 5], &[2, 65, 5], -2),
            two("of_8192x32", &[8192, 32], &[8192, 32], 1)
                .bench()
                .no_gradient(),
            two("one_is_empty", &[2, 0], &[2, 3], 1),
            two("six_axes", &[2, 1, 2, 3, 1, 2], &[2, 1, 2, 2, 1, 2], 3),
            Case::new("three")
                .f32(&[3, 1], domain)
                .f32(&[3, 65], domain)
                .f32(&[3, 2], domain)
                .attr("axis", 1i64),
            Case::new("one").f32(&[3, 5], domain).absent().absent(),
            Case::new("f16")
                .input(&[3, 5], DType::F16, domain)
                .input(&[3, 4], DType::F16, domain)
                .absent()
                .attr("axis", 1i64),
            Case::new("u32")
                .input(&[3], DType::U32, Domain::Integers(0, 4_000_000_000))
                .input(&[4], DType::U32, Domain::Integers(0, 4_000_000_000))
                .absent(),
        ]
    },
    refusals: || {
        let two = |a: &[usize], b: &[usize], dtype| {
            Case::new("refused")
                .f32(a, Domain::Constant(1.0))
                .input(b, dtype, Domain::Constant(1.0))
                .absent()
        };
        vec![
            (
                "another length beside the axis",
                two(&[2, 3], &[2, 4], DType::F32),
            ),
            ("another rank", two(&[2, 3], &[2], DType::F32)),
            ("dtypes differ", two(&[2], &[2], DType::I32)),
            (
                "an axis that is not there",
                two(&[2], &[2], DType::F32).attr("axis", 1i64),
            ),
        ]
    },
    gradient_is_view: |_| true,
    entries: || {
        vec![
            index::entry(source("concat"), "concat", "naive"),
            index::entry(source("concat_quads"), "concat_quads", "quads"),
        ]
    },
};
