//! y   = max x over the axes
//! vjp: dx = dy / (number of maxima) at each maximum, 0 elsewhere
//! source: torch.amax

use crate::error::Result;
use crate::fuse::contiguous;
use crate::gpu::{Caps, Source};
use crate::ops::launch::{self, MOST_STEPS};
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Role,
    Signature,
};
use crate::ops::reduce::{self, Params, Plan, WORKGROUP, axes_of, check_not_empty, reduced_shape};
use crate::tape;
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The largest element over `axes` (all if empty); `keepdim` keeps them with length 1.
    ///
    /// Edges: NaN among the elements gives NaN. Tied maxima share the gradient evenly.
    /// Errors: [`Error::Attribute`] for an axis that is not there or named twice; [`Error::Empty`] if a reduced axis
    /// has length 0, since nothing is the largest of nothing.
    pub fn max(&self, axes: &[i64], keepdim: bool) -> Result<Tensor> {
        let axes = axes_of("max", self.shape(), axes)?;
        check_not_empty("max", self.shape(), &axes)?;
        let y = reduce::reduce(
            &Max,
            KERNELS,
            self,
            &axes,
            reduced_shape(self.shape(), &axes, keepdim),
        )?;
        if !tape::records(&[self]) {
            return Ok(y);
        }
        let (x, value) = (self.detach(), y.detach());
        Ok(tape::record("max", &[self], y, move |dy, sink| {
            sink.give(0, vjp(&Max, &x, &value, dy, &axes)?)
        }))
    }
}

/// The gradient where x equals its maximum or minimum y; `op` is whose kernel it is.
pub(super) fn vjp(
    op: &'static dyn Op,
    x: &Tensor,
    y: &Tensor,
    dy: &Tensor,
    axes: &[usize],
) -> Result<Tensor> {
    let device = x.device();
    // The kernel writes dx where it reads x, so both lie alike.
    let stored = contiguous(&launch::storage(device, x)?)?;
    let y = contiguous(&launch::storage(device, y)?)?;
    let dy = contiguous(&launch::storage(device, dy)?)?;
    let dtype = stored.dtype();
    // Every element of dx belongs to one result, so the kernel writes all of them.
    let plan = Plan::new(&stored, axes)?;
    if 2 * plan.reduced.steps() > MOST_STEPS {
        return long_vjp(&stored, &y, &dy, axes)?.cast(x.dtype());
    }
    let moved = plan.x.value().id() != stored.value().id();
    let order = moved.then(|| {
        let n = x.shape().len();
        let kept = (0..n).filter(|a| !axes.contains(a));
        kept.chain(axes.iter().copied()).collect::<Vec<usize>>()
    });
    let shape = *plan.x.shape();
    let dx = Tensor::empty(device, dtype, shape)?;
    launch::choose(op, device, dtype.elem(), &[("max_over_vjp", 0)])?;
    let n_results = y.numel();
    let params = VjpParams {
        axes: Params {
            kept_lengths: plan.kept.lengths,
            kept_strides: plan.kept.strides,
            reduced_lengths: plan.reduced.lengths,
            reduced_strides: plan.reduced.strides,
            n_results: launch::word("results of a reduction", n_results)?,
            n_parts: 1,
            part: 0,
            x_offset: plan.x.layout().offset as u32,
            y_offset: y.layout().offset as u32,
            padding: [0; 3],
        },
        dy_offset: dy.layout().offset as u32,
        dx_offset: dx.layout().offset as u32,
        padding: [0; 2],
    };
    launch::dispatch(
        device,
        &reduce::kernel(vjp_source(), "max_over_vjp", dtype.elem()),
        &[&plan.x, &y, &dy],
        &[&dx],
        &params,
        (n_results as u64).div_ceil(WORKGROUP),
    )?;
    let dx = match order {
        None => dx,
        // The plan moved the axes; this moves them back.
        Some(order) => {
            let mut back = vec![0; order.len()];
            for (i, axis) in order.iter().enumerate() {
                back[*axis] = i;
            }
            dx.view(dx.layout().permute(&back))
        }
    };
    dx.cast(x.dtype())
}

/// The same from other operators, where one invocation cannot walk over all elements of a result.
fn long_vjp(x: &Tensor, y: &Tensor, dy: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let kept = reduced_shape(x.shape(), axes, true);
    let axes: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
    let is_best = x.eq(&y.reshape(kept)?)?;
    // Counted as integers and divided in f32: f16 would count to 65 504.
    let n_best = is_best.sum(&axes, true)?.cast(DType::F32)?;
    let share = dy.reshape(kept)?.cast(DType::F32)?.div(&n_best)?;
    let share = share.cast(x.dtype())?.expand(*x.shape())?;
    is_best.where_(&share, 0.0)
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct VjpParams {
    axes: Params,
    dy_offset: u32,
    dx_offset: u32,
    padding: [u32; 2],
}

const KERNELS: reduce::Kernels = reduce::Kernels {
    source: |_| source(),
    naive: "max_over",
    quads: None,
};

fn source() -> Source {
    Source::file(
        "reduce/max",
        include_str!("../../../shaders/reduce/max.wgsl"),
    )
}

pub(super) fn vjp_source() -> Source {
    Source::file(
        "reduce/max_vjp",
        include_str!("../../../shaders/reduce/max_vjp.wgsl"),
    )
}

static SIGNATURE: Signature = Signature {
    name: "max",
    formula: "y = max x over axes",
    source: "torch.amax",
    inputs: &[Input::grad("x", ANY)],
    attrs: &[
        AttrSpec {
            name: "axes",
            default: AttrDefault::Ints(&[]),
        },
        AttrSpec {
            name: "keepdim",
            default: AttrDefault::Bool(false),
        },
    ],
    outputs: &["y"],
};

pub struct Max;

impl Op for Max {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        check_not_empty(
            "max",
            &x.shape,
            &axes_of("max", &x.shape, attrs.ints("axes"))?,
        )?;
        Ok(vec![reduce::infer("max", x, attrs)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![x.max(attrs.ints("axes"), attrs.bool("keepdim"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        vec![
            reduce::entry(source(), "max_over", Role::Forward),
            reduce::entry(vjp_source(), "max_over_vjp", Role::Vjp),
        ]
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = reduce::cases(Domain::Distinct);
        cases.push(
            Case::new("all_negative")
                .f32(&[3, 65], Domain::Uniform(-9.0, -8.0))
                .attr("axes", [1i64].as_slice()),
        );
        cases.push(
            Case::new("u32")
                .input(&[3, 70], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("axes", [1i64].as_slice()),
        );
        cases.push(
            Case::new("nan_everywhere")
                .f32(&[2, 5], Domain::Constant(f64::NAN))
                .attr("axes", [1i64].as_slice())
                .no_gradient(),
        );
        // Distinct numbers are closer together than the step of the numeric derivative.
        for case in &mut cases {
            let n: usize = case.inputs.iter().flatten().map(|s| s.shape.numel()).sum();
            case.smooth &= n < 20_000;
        }
        cases
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = axes_of("max", &x.shape, attrs.ints("axes")).expect("infer checked them");
        let kept = reduced_shape(&x.shape, &axes, true);
        let mut y = Array::new(kept, vec![f64::NEG_INFINITY; kept.numel()]);
        Array::from_fn(x.shape, |at| {
            let place: Vec<usize> = at
                .iter()
                .enumerate()
                .map(|(a, i)| if axes.contains(&a) { 0 } else { *i })
                .collect();
            let (value, best) = (x.at(at), y.at_mut(&place));
            if value.is_nan() || value > *best {
                *best = value;
            }
            0.0
        });
        let shape = reduced_shape(&x.shape, &axes, attrs.bool("keepdim"));
        vec![Array::new(shape, y.data)]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, _: &Caps) -> Option<String> {
        reduce::plan_line("max", inputs, attrs)
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::per_element(inputs, outputs, 1)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs)
            .reading(&inputs[0])
            .reading(outputs)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        reduce::refusals_with_empty()
    }
}
