//! y = x with elements put before and after each axis: a constant, the axis mirrored, or its ends repeated
//! vjp: constant: dx = the part of dy where x lies; otherwise each dx is the sum of its copies, in a fixed order
//! source: numpy.pad; torch.nn.functional.pad

use crate::error::{Error, Result};
use crate::fuse::cast;
use crate::gpu::Source;
use crate::ops::elementwise::scalar_bits;
use crate::ops::index::{self, Movement, WORKGROUP, given};
use crate::ops::launch;
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Domain, Input, Meta, Signature,
};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};

/// What stands beside the elements of a padded tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PadMode {
    /// This number.
    Constant(f64),
    /// The axis mirrored at its end elements, which are not repeated: `2 1 | 0 1 2 | 1 0`.
    Reflect,
    /// The end elements: `0 0 | 0 1 2 | 2 2`.
    Replicate,
}

impl Tensor {
    /// Puts (`before`, `after`) elements around each axis, the first axis first.
    ///
    /// Shapes: axis `i` grows by `pads[i].0 + pads[i].1`. 0 1 2 padded by (2, 1) is 5 5 0 1 2 5 with the constant 5,
    /// 2 1 0 1 2 1 mirrored, 0 0 0 1 2 2 repeated.
    /// Errors: [`Error::Shape`] unless there is one pair per axis, or if an axis is mirrored by its length or more, or
    /// repeated without elements; [`Error::Attribute`] for a constant that the dtype does not have.
    pub fn pad(&self, pads: &[(usize, usize)], mode: PadMode) -> Result<Tensor> {
        let shape = padded(self.shape(), pads, mode)?;
        let before: Vec<usize> = pads.iter().map(|p| p.0).collect();
        match mode {
            PadMode::Constant(number) => {
                let bits = scalar_bits("pad", number, self.dtype())?;
                let y = place(self, shape, &before, (0, 1), bits)?;
                let inner = *self.shape();
                Ok(tape::record("pad", &[self], y, move |dy, sink| {
                    let mut layout = *dy.layout();
                    for (axis, &start) in before.iter().enumerate() {
                        layout = layout.slice(axis, start, inner[axis], 1);
                    }
                    sink.add(0, dy.view(layout))
                }))
            }
            // One axis after the other, by an index that names each element's origin.
            _ => {
                let mut y = self.clone();
                for (axis, &(before, after)) in pads.iter().enumerate() {
                    if before + after > 0 {
                        let n = self.dim(axis);
                        let origins: Vec<u32> = (0..before + n + after)
                            .map(|i| origin(i, before, n, mode) as u32)
                            .collect();
                        let index = Tensor::from_slice(self.device(), &origins, [origins.len()])?;
                        y = y.index_select(axis as i64, &index)?;
                    }
                }
                Ok(y)
            }
        }
    }
}

/// Where element `i` of a padded axis comes from.
fn origin(i: usize, before: usize, n: usize, mode: PadMode) -> usize {
    let place = i as i64 - before as i64;
    let last = n as i64 - 1;
    let inside = match mode {
        PadMode::Reflect if place < 0 => -place,
        PadMode::Reflect if place > last => 2 * last - place,
        _ => place.clamp(0, last.max(0)),
    };
    inside as usize
}

fn padded(shape: &Shape, pads: &[(usize, usize)], mode: PadMode) -> Result<Shape> {
    if pads.len() != shape.len() {
        return Err(Error::shape(
            "pad",
            format!("{} pairs for {shape:?}, expected one per axis", pads.len()),
        ));
    }
    let mut dims = Vec::with_capacity(shape.len());
    for (axis, &(before, after)) in pads.iter().enumerate() {
        let n = shape[axis];
        let fits = match mode {
            PadMode::Constant(_) => true,
            PadMode::Reflect => before.max(after) == 0 || before.max(after) < n,
            PadMode::Replicate => before + after == 0 || n > 0,
        };
        if !fits {
            return Err(Error::shape(
                "pad",
                format!(
                    "axis {axis} of {shape:?} is too short for ({before}, {after}) in mode {mode:?}"
                ),
            ));
        }
        let length = before.checked_add(n).and_then(|l| l.checked_add(after));
        dims.push(length.ok_or(Error::Limit {
            what: "elements of one tensor",
            requested: u64::MAX,
            limit: u64::from(u32::MAX),
        })?);
    }
    Shape::new(&dims)
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    lengths: [u32; 8],
    x_lengths: [u32; 8],
    x_strides: [u32; 8],
    before: [u32; 8],
    n_axes: u32,
    n: u32,
    /// The axis, from the innermost, on which only every `step`-th place is an element of x.
    axis: u32,
    step: u32,
    /// The number elsewhere, as bits of the accumulator's type.
    fill: u32,
    x_offset: u32,
    y_offset: u32,
    /// Invocations that share a row of y, where it is written by quads.
    lanes: u32,
}

/// An axis of a padded tensor.
#[derive(Clone, Copy)]
struct Axis {
    length: usize,
    x_length: usize,
    x_stride: usize,
    before: usize,
    step: usize,
}

impl Axis {
    /// Both as one, if `inner` is neither padded nor stretched and follows this one in x.
    fn with(&self, inner: &Axis) -> Option<Axis> {
        let n = inner.length;
        let follows = self.x_stride == n * inner.x_stride || self.x_length == 1;
        let plain = n == inner.x_length && inner.step == 1 && self.step == 1;
        (plain && follows).then_some(Axis {
            length: self.length * n,
            x_length: self.x_length * n,
            x_stride: inner.x_stride,
            before: self.before * n,
            step: 1,
        })
    }
}

/// A tensor of `shape` that holds `x` from `before` on, on one axis at every `step`-th place, and `fill` elsewhere.
pub(super) fn place(
    x: &Tensor,
    shape: Shape,
    before: &[usize],
    (axis, step): (usize, usize),
    fill: u32,
) -> Result<Tensor> {
    let device = x.device();
    let stored = launch::storage(device, x)?;
    stored.buffer()?;
    let y = Tensor::empty(device, stored.dtype(), shape)?;
    let elem = stored.dtype().elem();
    let n = y.numel();
    let mut axes: Vec<Axis> = Vec::new();
    // Innermost first.
    for a in (0..shape.len()).rev() {
        let here = Axis {
            length: shape[a],
            x_length: x.dim(a),
            x_stride: stored.layout().strides()[a],
            before: before[a],
            step: if a == axis { step } else { 1 },
        };
        match axes.last().and_then(|inner| here.with(inner)) {
            Some(both) => *axes.last_mut().expect("it was looked at") = both,
            None => axes.push(here),
        }
    }
    let is_row = |a: &&Axis| a.length.is_multiple_of(4) && a.step == 1 && x.numel() > 0;
    let row = axes.first().filter(is_row).map(|a| a.length);
    let candidates: &[(&'static str, u32)] = match row {
        Some(_) => &[("pad_quads", 0), ("pad", 0)],
        None => &[("pad", 0)],
    };
    let (entry, _) = candidates[launch::choose(&PAD, device, elem, candidates)?];
    let (lanes, invocations) = match row {
        Some(length) if entry == "pad_quads" => {
            let lanes = index::lanes(device.caps().class, length / 4);
            (lanes, n / length * lanes)
        }
        _ => (1, n),
    };
    launch::word("elements of a padded tensor", n)?;
    let words = |of: fn(&Axis) -> usize, fill| index::words(axes.iter().map(of), fill);
    let stretched = axes.iter().position(|a| a.step > 1);
    let params = Params {
        lengths: words(|a| a.length, 1),
        x_lengths: words(|a| a.x_length, 1),
        x_strides: words(|a| a.x_stride, 0),
        before: words(|a| a.before, 0),
        n_axes: axes.len() as u32,
        n: invocations as u32,
        axis: stretched.unwrap_or(0) as u32,
        step: stretched.map_or(1, |a| axes[a].step) as u32,
        fill,
        x_offset: stored.layout().offset as u32,
        y_offset: y.layout().offset as u32,
        lanes: lanes as u32,
    };
    launch::dispatch(
        device,
        &index::kernel(source(entry), entry, elem),
        &[&stored],
        &[&y],
        &params,
        (invocations as u64).div_ceil(WORKGROUP),
    )?;
    if y.dtype() == x.dtype() {
        Ok(y)
    } else {
        cast(&y, x.dtype())
    }
}

fn source(entry: &str) -> Source {
    match entry {
        "pad_quads" => Source::file(
            "index/pad_quads",
            include_str!("../../../shaders/index/pad_quads.wgsl"),
        ),
        _ => Source::file("index/pad", include_str!("../../../shaders/index/pad.wgsl")),
    }
}

fn arguments(attrs: &Attrs) -> Result<(Vec<(usize, usize)>, PadMode)> {
    let numbers = attrs
        .ints("pads")
        .iter()
        .map(|n| usize::try_from(*n))
        .collect::<std::result::Result<Vec<_>, _>>()
        .ok()
        .filter(|n| n.len() % 2 == 0)
        .ok_or_else(|| {
            Error::attribute(
                "pad",
                format!(
                    "pads are {:?}, expected pairs of numbers from 0",
                    attrs.ints("pads")
                ),
            )
        })?;
    let mode = match attrs.word("mode") {
        "reflect" => PadMode::Reflect,
        "replicate" => PadMode::Replicate,
        _ => PadMode::Constant(attrs.float("value")),
    };
    Ok((numbers.chunks(2).map(|p| (p[0], p[1])).collect(), mode))
}

pub static PAD: Movement = Movement {
    signature: &Signature {
        name: "pad",
        formula: "y = x with pads (before, after) around each axis",
        source: "numpy.pad",
        inputs: &[Input::grad("x", ANY)],
        attrs: &[
            AttrSpec {
                name: "pads",
                default: AttrDefault::Ints(&[]),
            },
            AttrSpec {
                name: "mode",
                default: AttrDefault::Choice(&["constant", "reflect", "replicate"]),
            },
            AttrSpec {
                name: "value",
                default: AttrDefault::Float(0.0),
            },
        ],
        outputs: &["y"],
    },
    infer: |inputs, attrs| {
        let x = given(inputs, 0);
        let (pads, mode) = arguments(attrs)?;
        if let PadMode::Constant(number) = mode {
            scalar_bits("pad", number, x.dtype)?;
        }
        Ok(Meta {
            shape: padded(&x.shape, &pads, mode)?,
            dtype: x.dtype,
        })
    },
    run: |inputs, attrs| {
        let (pads, mode) = arguments(attrs)?;
        given(inputs, 0).pad(&pads, mode)
    },
    twin: |inputs, attrs| {
        let x = given(inputs, 0);
        let (pads, mode) = arguments(attrs).expect("infer checked them");
        let shape = padded(&x.shape, &pads, mode).expect("infer checked it");
        Array::from_fn(shape, |at| {
            let inside =
                (0..at.len()).all(|a| at[a] >= pads[a].0 && at[a] < pads[a].0 + x.shape[a]);
            if let (PadMode::Constant(number), false) = (mode, inside) {
                return number;
            }
            let place: Vec<usize> = (0..at.len())
                .map(|a| origin(at[a], pads[a].0, x.shape[a], mode))
                .collect();
            x.at(&place)
        })
    },
    cases: || {
        let case = |label: &str, shape: &[usize], pads: &[i64], mode: &str| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("pads", pads)
                .attr("mode", mode)
        };
        vec![
            case("verify", &[5, 27], &[1, 2, 3, 4], "constant").attr("value", 2.5),
            // Two workgroups of rows and a rest, some of more quads than one invocation takes.
            case("verify_quads", &[131, 65], &[1, 1, 6, 1], "constant").attr("value", 2.5),
            case("quads_of_f32", &[3, 4], &[1, 0, 4, 8], "constant").attr("value", -0.5),
            case("reflect", &[3, 65], &[0, 0, 5, 64], "reflect"),
            case("reflect_two_axes", &[4, 5], &[3, 2, 1, 4], "reflect"),
            case("replicate", &[3, 7], &[2, 1, 9, 10], "replicate"),
            case(
                "16x64x501_to_512",
                &[16, 64, 501],
                &[0, 0, 0, 0, 0, 11],
                "constant",
            )
            .bench()
            .no_gradient(),
            case(
                "inner_axes_as_one",
                &[3, 5, 4],
                &[1, 2, 0, 0, 0, 0],
                "constant",
            ),
            case(
                "outer_axes_as_one",
                &[3, 5, 4],
                &[0, 0, 0, 0, 2, 1],
                "constant",
            ),
            case("nothing_to_add", &[3, 7], &[0, 0, 0, 0], "constant"),
            case("nothing_to_mirror", &[1, 7], &[0, 0, 0, 0], "reflect"),
            case("one_element", &[1], &[1, 1], "replicate"),
            case("rank_0", &[], &[], "constant"),
            case("of_nothing", &[0, 2], &[1, 1, 0, 0], "constant").no_gradient(),
            case(
                "six_axes",
                &[2, 1, 2, 3, 1, 2],
                &[1, 0, 0, 1, 1, 1, 0, 0, 2, 0, 0, 1],
                "constant",
            ),
            Case::new("f16")
                .input(&[3, 7], DType::F16, Domain::Uniform(-1.0, 1.0))
                .attr("pads", [0i64, 1, 2, 0].as_slice())
                .attr("value", 0.5),
            Case::new("f16_quads")
                .input(&[3, 5], DType::F16, Domain::Uniform(-1.0, 1.0))
                .attr("pads", [0i64, 1, 2, 1].as_slice())
                .attr("value", 0.5),
            Case::new("i32")
                .input(&[3, 7], DType::I32, Domain::Integers(-9, 9))
                .attr("pads", [0i64, 1, 2, 0].as_slice())
                .attr("value", -3.0),
            Case::new("u32")
                .input(&[3, 7], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("pads", [0i64, 1, 2, 0].as_slice())
                .attr("value", 4_000_000_001.0),
        ]
    },
    refusals: || {
        let case = |pads: &[i64], mode: &str| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .attr("pads", pads)
                .attr("mode", mode)
        };
        vec![
            ("too few pairs", case(&[1, 1], "constant")),
            ("half a pair", case(&[1, 1, 1], "constant")),
            ("a negative number", case(&[0, 0, -1, 0], "constant")),
            ("mirrored by the whole axis", case(&[2, 0, 0, 0], "reflect")),
            (
                "a fraction among integers",
                Case::new("refused")
                    .input(&[2], DType::I32, Domain::Constant(1.0))
                    .attr("pads", [1i64, 0].as_slice())
                    .attr("value", 0.5),
            ),
        ]
    },
    gradient_is_view: |attrs| attrs.word("mode") == "constant",
    entries: || {
        vec![
            index::entry(source("pad"), "pad", "naive"),
            index::entry(source("pad_quads"), "pad_quads", "quads"),
        ]
    },
};
