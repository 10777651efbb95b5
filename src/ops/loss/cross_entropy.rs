//! y   = Σᵢ lᵢ / Σᵢ w[tᵢ], lᵢ = (1 − ε) w[tᵢ] (−ln pᵢ[tᵢ]) + ε/C Σ_c w[c] (−ln pᵢ[c]), p = softmax x
//! vjp: dxᵢ[c] = dlᵢ · ((1 − ε) w[tᵢ] (pᵢ[c] − [c = tᵢ]) + ε/C (pᵢ[c] Σw − w[c]))
//! source: torch.nn.functional.cross_entropy; smoothing: Szegedy et al. 2015, arXiv:1512.00567, section 7

use crate::error::{Error, Result};
use crate::fuse::contiguous;
use crate::gpu::shader::Elem;
use crate::gpu::{Device, Kernel, Source};
use crate::ops::launch::{self, MOST_STEPS};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, FLOATS, INDEX, Input, Meta, Op,
    Role, Signature, any_device, same_device, same_dtype,
};
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

/// How [`Tensor::cross_entropy_with`] weighs and gathers the losses of rows.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy<'a> {
    /// A factor for each class, `[classes]`.
    pub weight: Option<&'a Tensor>,
    /// How much of the target is spread evenly over all classes, from 0 to 1.
    pub label_smoothing: f64,
    /// Rows with this target count for nothing.
    pub ignore_index: i64,
    pub reduction: Reduction,
}

impl Default for CrossEntropy<'_> {
    /// PyTorch's: no weights, no smoothing, -100 ignored, the mean.
    fn default() -> Self {
        CrossEntropy {
            weight: None,
            label_smoothing: 0.0,
            ignore_index: -100,
            reduction: Reduction::Mean,
        }
    }
}

/// What becomes of the losses of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum divided by the sum of the weights of their targets.
    Mean,
    Sum,
    /// They stay as they are.
    None,
}

impl Tensor {
    /// The mean cross entropy of logits and classes; [`cross_entropy_with`](Self::cross_entropy_with) has options.
    ///
    /// Two zeros and class 0 give 0.693147.
    pub fn cross_entropy(&self, target: &Tensor) -> Result<Tensor> {
        self.cross_entropy_with(target, CrossEntropy::default())
    }

    /// The cross entropy of logits and classes, with label smoothing, class weights and ignored rows.
    ///
    /// Shapes: `self [n, classes]`, `target [n]`; also `[classes]` and `[]`, or further axes behind both. One dispatch
    /// makes the losses of all rows, one their gradient. The maximum is subtracted first, so no finite logits
    /// overflow. The mean over nothing but ignored rows is NaN, as is the loss of a target that is no class.
    /// Errors: [`Error::Shape`] if shapes do not fit, [`Error::Dtype`], [`Error::Attribute`] unless the smoothing is
    /// from 0 to 1, [`Error::Empty`] if there are no classes, [`Error::Limit`] if there are more than 1 279 616 on a
    /// software driver.
    pub fn cross_entropy_with(&self, target: &Tensor, options: CrossEntropy) -> Result<Tensor> {
        let mut present = vec![self, target];
        present.extend(options.weight);
        same_device("cross_entropy", &present)?;
        let shape = check(
            Meta::of(self),
            Meta::of(target),
            options.weight.map(Meta::of),
            options.label_smoothing,
            options.ignore_index,
        )?;
        let axis = class_axis(self.shape());
        let mut order: Vec<i64> = (0..self.shape().len() as i64).collect();
        let class = order.remove(axis);
        order.push(class);
        let (losses, norms) = rows(&self.permute(&order)?, target, options)?;
        let out = match options.reduction {
            Reduction::None => losses.reshape(shape)?,
            Reduction::Sum => losses.sum(&[], false)?,
            Reduction::Mean => losses.sum(&[], false)?.div(&norms.sum(&[], false)?)?,
        };
        out.cast(self.dtype())
    }
}

/// Classes lie on axis 1, or on the only axis.
fn class_axis(x: &Shape) -> usize {
    usize::from(x.len() > 1)
}

/// Loss and weight of each row; the classes are on the last axis.
fn rows(logits: &Tensor, target: &Tensor, options: CrossEntropy) -> Result<(Tensor, Tensor)> {
    let device = logits.device();
    let x = contiguous(&launch::storage(device, logits)?)?;
    let target = contiguous(&target.detach())?;
    let weight = match options.weight {
        Some(weight) => contiguous(&launch::storage(device, weight)?)?,
        // Something must be bound; it is not read.
        None => x.clone(),
    };
    let cols = *x.shape().last().expect("check saw the classes");
    let n_rows = target.numel();
    // Loss and weight of each row, then its maximum and the logarithm of its sum, for the gradient.
    let y = Tensor::empty(device, DType::F32, Shape::of(&[n_rows, 2]))?;
    let stats = Tensor::empty(device, DType::F32, Shape::of(&[n_rows, 2]))?;
    let params = Params {
        rows: launch::word("rows of cross_entropy", n_rows)?,
        cols: launch::word("classes of cross_entropy", cols)?,
        smoothing: options.label_smoothing as f32,
        // Targets are looked at as bits, and no u32 target is negative.
        ignored: options.ignore_index as i32 as u32,
        weighted: u32::from(options.weight.is_some()),
        x_offset: x.layout().offset as u32,
        target_offset: target.layout().offset as u32,
        weight_offset: weight.layout().offset as u32,
        stats_offset: stats.layout().offset as u32,
        y_offset: y.layout().offset as u32,
        padding: [0; 2],
    };
    let elem = x.dtype().elem();
    if n_rows > 0 {
        let rungs = ["cross_entropy", "cross_entropy_workgroup"];
        let (entry, groups) = choose(device, elem, rungs, n_rows, cols)?;
        launch::dispatch(
            device,
            &kernel(entry, elem),
            &[&x, &target, &weight],
            &[&y, &stats],
            &params,
            groups,
        )?;
    }
    let column = |i: usize| y.view(y.layout().slice(1, i, 1, 1)).reshape([n_rows]);
    let (losses, norms) = (column(0)?, column(1)?);
    let dtype = logits.dtype();
    let losses = tape::record("cross_entropy", &[logits], losses, move |dy, sink| {
        let device = x.device();
        let dy = contiguous(dy)?;
        let dx = Tensor::empty(device, x.dtype(), *x.shape())?;
        if n_rows > 0 {
            let rungs = ["cross_entropy_vjp", "cross_entropy_vjp_workgroup"];
            let (entry, groups) = choose(device, elem, rungs, n_rows, cols)?;
            let params = VjpParams {
                forward: params,
                dy_offset: dy.layout().offset as u32,
                dx_offset: dx.layout().offset as u32,
                padding: [0; 2],
            };
            launch::dispatch(
                device,
                &kernel(entry, elem),
                &[&x, &target, &weight, &stats, &dy],
                &[&dx],
                &params,
                groups,
            )?;
        }
        sink.give(0, dx.cast(dtype)?)
    });
    Ok((losses, norms))
}

/// Invocations of a workgroup, one row each, or all for one row.
const WORKGROUP: u64 = 64;

/// Classes up to which one invocation may go through a row, three times.
const ROW_MOST: usize = MOST_STEPS / 3;

/// The entry point and the workgroups for this many rows: one invocation per row while classes are few.
fn choose(
    device: &Device,
    elem: Elem,
    [row, workgroup]: [&'static str; 2],
    n_rows: usize,
    cols: usize,
) -> Result<(&'static str, u64)> {
    // The lanes meet in three reductions.
    let steps = 3 * cols.div_ceil(WORKGROUP as usize) + 3 * WORKGROUP.ilog2() as usize;
    launch::check_steps(device, "steps over a row of cross_entropy", steps)?;
    let mut candidates = vec![(workgroup, 0)];
    if cols <= ROW_MOST {
        candidates.insert(0, (row, 0));
    }
    let (entry, _) =
        candidates[launch::choose_for(&CROSS_ENTROPY, device, elem, &[n_rows, cols], &candidates)?];
    let n = n_rows as u64;
    Ok(if entry == workgroup {
        (entry, n)
    } else {
        (entry, n.div_ceil(WORKGROUP))
    })
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    smoothing: f32,
    ignored: u32,
    weighted: u32,
    x_offset: u32,
    target_offset: u32,
    weight_offset: u32,
    stats_offset: u32,
    y_offset: u32,
    padding: [u32; 2],
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct VjpParams {
    forward: Params,
    dy_offset: u32,
    dx_offset: u32,
    padding: [u32; 2],
}

fn kernel(entry: &'static str, elem: Elem) -> Kernel {
    let source = match entry {
        "cross_entropy" | "cross_entropy_workgroup" => Source::file(
            "loss/cross_entropy",
            include_str!("../../../shaders/loss/cross_entropy.wgsl"),
        ),
        _ => Source::file(
            "loss/cross_entropy_vjp",
            include_str!("../../../shaders/loss/cross_entropy_vjp.wgsl"),
        ),
    };
    Kernel {
        source,
        entry,
        constants: vec![("WG", WORKGROUP as f64)],
        elem,
    }
}

/// The shape of the targets, and so of the losses.
fn check(
    x: Meta,
    target: Meta,
    weight: Option<Meta>,
    smoothing: f64,
    ignored: i64,
) -> Result<Shape> {
    let op = "cross_entropy";
    if i32::try_from(ignored).is_err() {
        return Err(Error::attribute(
            op,
            format!("ignore_index is {ignored}, which no target can hold"),
        ));
    }
    if !x.dtype.is_float() {
        return Err(Error::dtype(
            op,
            format!("x is {}, expected f32 or f16", x.dtype),
        ));
    }
    if !INDEX.contains(&target.dtype) {
        return Err(Error::dtype(
            op,
            format!("target is {}, expected i32 or u32", target.dtype),
        ));
    }
    if x.shape.is_empty() {
        return Err(Error::shape(op, "x has no axis of classes"));
    }
    let axis = class_axis(&x.shape);
    let classes = x.shape[axis];
    if classes == 0 {
        return Err(Error::Empty {
            op,
            message: format!("axis {axis} of x {:?} has no classes", x.shape),
        });
    }
    let mut dims = x.shape.to_vec();
    dims.remove(axis);
    if target.shape[..] != dims[..] {
        return Err(Error::shape(
            op,
            format!(
                "target has shape {:?}, expected {dims:?}, that of x {:?} without its classes",
                target.shape, x.shape
            ),
        ));
    }
    if let Some(weight) = weight {
        same_dtype(op, ("x", x.dtype), ("weight", weight.dtype))?;
        if weight.shape[..] != [classes] {
            return Err(Error::shape(
                op,
                format!(
                    "weight has shape {:?}, expected [{classes}], one per class",
                    weight.shape
                ),
            ));
        }
    }
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::attribute(
            op,
            format!("label_smoothing is {smoothing}, expected a number from 0 to 1"),
        ));
    }
    Ok(target.shape)
}

fn reduction(attrs: &Attrs) -> Reduction {
    match attrs.word("reduction") {
        "sum" => Reduction::Sum,
        "none" => Reduction::None,
        _ => Reduction::Mean,
    }
}

static SIGNATURE: Signature = Signature {
    name: "cross_entropy",
    formula: "y = Σ (1 − ε) w[t] (−ln p[t]) + ε/C Σ_c w[c] (−ln p[c]) over Σ w[t]",
    source: "torch.nn.functional.cross_entropy",
    inputs: &[
        Input::grad("x", FLOATS),
        Input::plain("target", INDEX),
        Input::plain("weight", FLOATS).optional(),
    ],
    attrs: &[
        AttrSpec {
            name: "label_smoothing",
            default: AttrDefault::Float(0.0),
        },
        AttrSpec {
            name: "ignore_index",
            default: AttrDefault::Int(-100),
        },
        AttrSpec {
            name: "reduction",
            default: AttrDefault::Choice(&["mean", "sum", "none"]),
        },
    ],
    outputs: &["y"],
};

pub struct Operator;

pub static CROSS_ENTROPY: Operator = Operator;

impl Op for Operator {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let [x, target] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let shape = check(
            x,
            target,
            inputs[2],
            attrs.float("label_smoothing"),
            attrs.int("ignore_index"),
        )?;
        Ok(vec![Meta {
            shape: match reduction(attrs) {
                Reduction::None => shape,
                _ => Shape::SCALAR,
            },
            dtype: x.dtype,
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [x, target] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let options = CrossEntropy {
            weight: inputs[2],
            label_smoothing: attrs.float("label_smoothing"),
            ignore_index: attrs.int("ignore_index"),
            reduction: reduction(attrs),
        };
        Ok(vec![x.cross_entropy_with(target, options)?])
    }

    fn entries(&self) -> Vec<Entry> {
        [
            ("cross_entropy", Role::Forward, "row"),
            ("cross_entropy_workgroup", Role::Forward, "workgroup"),
            ("cross_entropy_vjp", Role::Vjp, "row"),
            ("cross_entropy_vjp_workgroup", Role::Vjp, "workgroup"),
        ]
        .into_iter()
        .map(|(name, role, rung)| Entry {
            role,
            rung,
            variant: 0,
            needs: any_device,
            kernel: kernel(name, Elem::F32),
        })
        .collect()
    }

    fn cases(&self) -> Vec<Case> {
        let logits = Domain::Uniform(-3.0, 3.0);
        let case = |label: &str, shape: &[usize]| {
            let axis = usize::from(shape.len() > 1);
            let mut target = shape.to_vec();
            target.remove(axis);
            Case::new(label).f32(shape, logits).input(
                &target,
                DType::I32,
                Domain::Index(shape[axis]),
            )
        };
        let weighted = |case: Case, n: usize| case.f32(&[n], Domain::Uniform(0.5, 2.0));
        vec![
            // Two workgroups of rows and a rest.
            weighted(case("verify", &[131, 7]), 7)
                .attr("label_smoothing", 0.1)
                .attr("ignore_index", 3i64),
            case("plain", &[67, 6]).absent(),
            case("one_row", &[1, 5]).absent(),
            case("one_class", &[3, 1]).absent(),
            // More classes than a software driver lets one invocation walk over.
            weighted(case("many_classes", &[2, 35_001]), 35_001).attr("label_smoothing", 0.1),
            case("no_batch", &[5]).absent(),
            case("smoothed", &[17, 5])
                .absent()
                .attr("label_smoothing", 0.1),
            case("all_smoothed", &[17, 5])
                .absent()
                .attr("label_smoothing", 1.0),
            weighted(case("weighted", &[17, 5]), 5),
            weighted(case("sum", &[17, 5]), 5)
                .attr("reduction", "sum")
                .attr("label_smoothing", 0.2),
            weighted(case("none", &[17, 5]), 5)
                .attr("reduction", "none")
                .attr("label_smoothing", 0.2),
            case("images", &[2, 5, 3, 4])
                .absent()
                .attr("reduction", "none"),
            case("ignored_rows", &[67, 3])
                .absent()
                .attr("ignore_index", 1i64),
            Case::new("all_ignored")
                .f32(&[5, 3], logits)
                .input(&[5], DType::I32, Domain::Constant(-100.0))
                .absent()
                .no_gradient(),
            Case::new("no_such_class")
                .f32(&[5, 3], logits)
                .input(&[5], DType::I32, Domain::Constant(3.0))
                .absent()
                .attr("reduction", "none")
                .no_gradient(),
            Case::new("large_logits")
                .f32(&[17, 5], Domain::Offset(1e4, 50.0))
                .input(&[17], DType::U32, Domain::Index(5))
                .absent(),
            Case::new("f16")
                .input(&[17, 5], DType::F16, logits)
                .input(&[17], DType::I32, Domain::Index(5))
                .absent(),
            case("many_rows", &[65_536, 7])
                .absent()
                .bench()
                .no_gradient(),
        ]
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let x = case.inputs[0].as_ref();
        entry.rung == "workgroup" || x.is_none_or(|x| x.shape[class_axis(&x.shape)] <= ROW_MOST)
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let [x, target] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let axis = class_axis(&x.shape);
        let classes = x.shape[axis];
        // The kernel sees the number as f32.
        let smoothing = f64::from(attrs.float("label_smoothing") as f32);
        let weight = |c: usize| inputs[2].map_or(1.0, |w| w.data[c]);
        let mut norms = 0.0;
        let losses = Array::from_fn(target.shape, |at| {
            let label = target.at(at);
            if label == attrs.int("ignore_index") as f64 {
                return 0.0;
            }
            if label < 0.0 || label >= classes as f64 {
                norms = f64::NAN;
                return f64::NAN;
            }
            let logit = |c: usize| {
                let mut place = at.to_vec();
                place.insert(axis, c);
                x.at(&place)
            };
            let largest = (0..classes).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..classes).map(|c| (logit(c) - largest).exp()).sum();
            let cost = |c: usize| weight(c) * (largest + sum.ln() - logit(c));
            norms += weight(label as usize);
            let spread: f64 = (0..classes).map(cost).sum();
            (1.0 - smoothing) * cost(label as usize) + smoothing / classes as f64 * spread
        });
        let total: f64 = losses.data.iter().sum();
        vec![match reduction(attrs) {
            Reduction::None => losses,
            Reduction::Sum => Array::new(Shape::SCALAR, vec![total]),
            Reduction::Mean => Array::new(Shape::SCALAR, vec![total / norms]),
        }]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let [x, target] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        // A difference to the maximum is exact to u of its size, the logarithm of the sum to a few u of 1 and of the
        // relative error of a sum of this many classes; rows are summed in blocks.
        let low = x.data.iter().copied().fold(f64::INFINITY, f64::min);
        let high = x.data.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let largest = inputs[2].map_or(1.0, Array::max_abs);
        let classes = x.shape[class_axis(&x.shape)];
        let row = Tolerance::ulps(16.0, largest * (1.0 + (high - low).max(0.0)));
        let n = match reduction(attrs) {
            Reduction::Sum => target.data.len().max(1) as f64,
            _ => 1.0,
        };
        let sum = Tolerance::blocked_sum(target.data.len().max(classes), 0.0);
        Tolerance {
            relative: row.relative + sum.relative,
            absolute: row.absolute * n.sqrt(),
            ..row
        }
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        let n = inputs[0].map_or(0, |m| m.shape.numel());
        Cost::streaming(inputs, outputs, 15 * n as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs).reading(inputs.iter().take(2).flatten())
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let one = Domain::Constant(1.0);
        let case = |x: &[usize], target: &[usize]| {
            Case::new("refused")
                .f32(x, one)
                .input(target, DType::I32, one)
        };
        vec![
            ("a target per class", case(&[2, 3], &[3]).absent()),
            ("targets of another rank", case(&[2, 3], &[2, 1]).absent()),
            ("no classes", case(&[2, 0], &[2]).absent()),
            ("no axis", case(&[], &[]).absent()),
            (
                "weights of another length",
                case(&[2, 3], &[2]).f32(&[2], one),
            ),
            (
                "weights of another dtype",
                case(&[2, 3], &[2]).input(&[3], DType::F16, one),
            ),
            (
                "too much smoothing",
                case(&[2, 3], &[2]).absent().attr("label_smoothing", 1.5),
            ),
            (
                "an index that no target can hold",
                case(&[2, 3], &[2])
                    .absent()
                    .attr("ignore_index", 1i64 << 32),
            ),
            (
                "targets of floats",
                Case::new("refused")
                    .f32(&[2, 3], one)
                    .f32(&[2], one)
                    .absent(),
            ),
        ]
    }
}
