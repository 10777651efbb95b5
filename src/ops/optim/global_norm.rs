//! y   = (‖g‖, min(1, c / (‖g‖ + 1e-6)), 1 if some g is not finite, the number of the first that is not or −1)
//! vjp: none
//! source: Pascanu et al. 2013, arXiv:1211.5063; torch.nn.utils.clip_grad_norm_

use crate::error::{Error, Result};
use crate::fuse::contiguous;
use crate::gpu::shader::Elem;
use crate::gpu::{Kernel, Source};
use crate::ops::launch;
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Signature,
    same_device,
};
use crate::ops::optim::{self, F32, check_setting, entry};
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

/// The Euclidean norm of all these tensors as one vector, and what it means for a step that allows `max_norm` at most
/// (infinite: any).
///
/// Shapes: any, f32 → `[4]`: the norm; the factor that brings the gradients to `max_norm`, at most 1; 1 if a number or
/// a sum of squares is not finite, else 0; and which tensor that was first, else −1 (also if only their sum is not). Sums are made in a fixed
/// order. `[3]` and `[4]` with a `max_norm` of 1 give (5, 0.2, 0, −1).
/// Errors: [`Error::Empty`] without tensors; [`Error::Dtype`]; [`Error::Attribute`] for a negative `max_norm`.
pub fn global_norm(tensors: &[&Tensor], max_norm: f64) -> Result<Tensor> {
    same_device("global_norm", tensors)?;
    let metas: Vec<Meta> = tensors.iter().map(|t| Meta::of(t)).collect();
    check(&metas, max_norm)?;
    let device = tensors[0].device();
    let n_parts = |t: &Tensor| t.numel().div_ceil(PART).max(1);
    let total: usize = tensors.iter().map(|t| n_parts(t)).sum();
    // One sum of squares and one number of a tensor per part; every element is written below.
    let parts = Tensor::empty(device, DType::F32, Shape::new(&[total, 2])?)?;
    let parts_offset = parts.layout().offset as u32;
    let mut first_part = 0;
    for (number, tensor) in tensors.iter().enumerate() {
        let x = contiguous(&tensor.detach())?;
        x.buffer()?;
        let params = Params {
            n: x.numel() as u32,
            number: launch::word("tensors of global_norm", number)?,
            first_part: launch::word("parts of global_norm", first_part)?,
            x_offset: x.layout().offset as u32,
            parts_offset,
            y_offset: 0,
            max_norm: 0.0,
            padding: 0,
        };
        launch::choose(&GLOBAL_NORM, device, Elem::F32, &[("global_norm_part", 0)])?;
        launch::dispatch(
            device,
            &kernel("global_norm_part"),
            &[&x],
            &[&parts],
            &params,
            n_parts(&x) as u64,
        )?;
        first_part += n_parts(&x);
    }
    let y = Tensor::empty(device, DType::F32, Shape::of(&[4]))?;
    let params = Params {
        n: launch::word("parts of global_norm", total)?,
        number: 0,
        first_part: 0,
        x_offset: parts_offset,
        parts_offset: 0,
        y_offset: y.layout().offset as u32,
        max_norm: if max_norm.is_finite() {
            max_norm as f32
        } else {
            // WGSL has no infinity.
            f32::MAX
        },
        padding: 0,
    };
    launch::choose(&GLOBAL_NORM, device, Elem::F32, &[("global_norm", 0)])?;
    launch::dispatch(device, &kernel("global_norm"), &[&parts], &[&y], &params, 1)?;
    Ok(y)
}

/// Elements of a part, which one workgroup sums: 64 lanes of 64.
const PART: usize = 4096;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    n: u32,
    number: u32,
    first_part: u32,
    x_offset: u32,
    parts_offset: u32,
    y_offset: u32,
    max_norm: f32,
    padding: u32,
}

fn kernel(entry: &'static str) -> Kernel {
    let source = match entry {
        "global_norm_part" => Source::file(
            "optim/global_norm_part",
            include_str!("../../../shaders/optim/global_norm_part.wgsl"),
        ),
        _ => Source::file(
            "optim/global_norm",
            include_str!("../../../shaders/optim/global_norm.wgsl"),
        ),
    };
    optim::kernel(source, entry)
}

fn check(metas: &[Meta], max_norm: f64) -> Result<()> {
    let op = "global_norm";
    if metas.is_empty() {
        return Err(Error::Empty {
            op,
            message: "no tensors given".to_string(),
        });
    }
    if let Some(meta) = metas.iter().find(|m| m.dtype != DType::F32) {
        return Err(Error::dtype(
            op,
            format!("a gradient is {}, expected f32", meta.dtype),
        ));
    }
    match max_norm == f64::INFINITY {
        true => Ok(()),
        false => check_setting(op, "max_norm", max_norm, 0.0, f64::INFINITY),
    }
}

static SIGNATURE: Signature = Signature {
    name: "global_norm",
    formula: "y = (‖g‖, min(1, c / (‖g‖ + 1e-6)), whether some g is not finite, which is first or −1)",
    source: "torch.nn.utils.clip_grad_norm_",
    inputs: &[
        Input::plain("a", F32),
        Input::plain("b", F32).optional(),
        Input::plain("c", F32).optional(),
    ],
    attrs: &[AttrSpec {
        name: "max_norm",
        default: AttrDefault::Float(f64::INFINITY),
    }],
    outputs: &["y"],
};

pub struct Operator;

pub static GLOBAL_NORM: Operator = Operator;

impl Op for Operator {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let metas: Vec<Meta> = inputs.iter().flatten().copied().collect();
        check(&metas, attrs.float("max_norm"))?;
        Ok(vec![Meta {
            shape: Shape::of(&[4]),
            dtype: DType::F32,
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let tensors: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        Ok(vec![global_norm(&tensors, attrs.float("max_norm"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        ["global_norm_part", "global_norm"]
            .into_iter()
            .map(|name| entry(kernel(name)))
            .collect()
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-1.0, 1.0);
        let case = |label: &str, shapes: &[&[usize]]| {
            let given = shapes
                .iter()
                .fold(Case::new(label), |c, s| c.f32(s, domain));
            (shapes.len()..3)
                .fold(given, |c, _| c.absent())
                .no_gradient()
        };
        let huge = Domain::Constant(1e20);
        vec![
            // Two parts and a rest in one tensor, more parts than lanes in all.
            case("verify", &[&[2, 4133], &[70, 4099]]).attr("max_norm", 2.0),
            case("one_number", &[&[]]),
            case("three", &[&[3, 5], &[65], &[2, 31, 7]]).attr("max_norm", 1.0),
            case("below_the_maximum", &[&[63]]).attr("max_norm", 100.0),
            case("one_is_empty", &[&[3], &[0], &[4]]).attr("max_norm", 1.0),
            Case::new("square_overflows")
                .f32(&[5], domain)
                .f32(&[5], huge)
                .f32(&[5], huge)
                .no_gradient(),
            // No part is too large, their sum is.
            Case::new("sum_overflows")
                .f32(&[3], Domain::Constant(1e19))
                .f32(&[3], Domain::Constant(1e19))
                .absent()
                .no_gradient(),
            case("maximum_0", &[&[1]]).attr("max_norm", 0.0),
            case("a_layer", &[&[768, 768]]).bench(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let squares: Vec<f64> = inputs
            .iter()
            .flatten()
            .map(|a| a.data.iter().map(|x| x * x).sum())
            .collect();
        // A sum of squares that f32 cannot hold counts as not finite.
        let fits = |s: f64| s <= f64::from(f32::MAX);
        let known = squares.iter().position(|s| !fits(*s));
        let sum = squares.iter().sum::<f64>();
        let bad = known.is_some() || !fits(sum);
        let norm = sum.sqrt();
        let (norm, factor) = match bad {
            true => (0.0, 0.0),
            false => (norm, (attrs.float("max_norm") / (norm + 1e-6)).min(1.0)),
        };
        let data = vec![
            norm,
            factor,
            f64::from(u8::from(bad)),
            known.map_or(-1.0, |i| i as f64),
        ];
        vec![Array::new(Shape::of(&[4]), data)]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], _: &Attrs) -> Tolerance {
        // All terms are positive: the sum of each of 64 lanes, then of lanes and parts; the root halves the error.
        let n: usize = inputs.iter().flatten().map(|a| a.data.len()).sum();
        let steps = PART / 64 + n.div_ceil(PART) / 64 + 16;
        Tolerance::ulps(steps as f64 / 2.0, 0.0)
    }

    fn cost(&self, inputs: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
        let n: u64 = inputs
            .iter()
            .flatten()
            .map(|m| m.shape.numel() as u64)
            .sum();
        Cost {
            read_bytes: 4 * n,
            written_bytes: 16,
            flops: 2 * n,
        }
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        vec![
            (
                "a negative maximum",
                Case::new("refused")
                    .f32(&[3], Domain::Constant(1.0))
                    .absent()
                    .absent()
                    .attr("max_norm", -1.0),
            ),
            (
                "integers",
                Case::new("refused")
                    .input(&[3], DType::I32, Domain::Constant(1.0))
                    .absent()
                    .absent(),
            ),
        ]
    }
}
