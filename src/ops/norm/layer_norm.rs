//! y   = (x − mean) / √(var + eps) · weight + bias over the trailing axes that weight has
//! vjp: with x̂ = (x − mean) · r, r = 1/√(var + eps), g = dy · weight:
//!      dx = r · (g − mean g − x̂ · mean(g · x̂)); dweight = Σ dy · x̂, dbias = Σ dy over the rows
//! source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, section 3; torch.nn.functional.layer_norm

use crate::error::{Error, Result};
use crate::fuse::{cast, contiguous};
use crate::gpu::{Caps, Device, DeviceClass, Source};
use crate::ops::launch;
use crate::ops::norm::{self, aligned, groups, ladder};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, FLOATS, Input, Meta, Op, Role,
    Signature, same_dtype,
};
use crate::ops::reduce::sum::sum_to;
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// Normalises each row of `x` to zero mean and unit variance, then scales and shifts.
    ///
    /// A row is the trailing axes that `weight` has. Shapes: `x [.., d]`, `weight [d]`, `bias [d]` → `[.., d]`, where
    /// `d` may be several axes. Variance is biased (divides by the length of a row); PyTorch's `eps` is 1e-5.
    /// Errors: [`Error::Shape`] if `weight` or `bias` are not the trailing axes of `x`; [`Error::Dtype`] if dtypes
    /// differ; [`Error::Empty`] if a row has no elements; [`Error::Limit`] if it has more than 1 279 744 on a software
    /// driver.
    pub fn layer_norm(&self, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
        check(Meta::of(self), Meta::of(weight), Meta::of(bias), eps)?;
        let device = self.device();
        let cols = weight.numel();
        let rows = self.numel() / cols;
        launch::check_steps(
            device,
            "steps over a row of layer_norm",
            norm::steps("_workgroup", cols),
        )?;
        // Kernels that read f16 read all of it as f16.
        let x = contiguous(&launch::storage(device, self)?)?;
        let w = contiguous(&launch::storage(device, weight)?)?;
        let b = contiguous(&launch::storage(device, bias)?)?;
        let y = Tensor::empty(device, x.dtype(), *self.shape())?;
        // Mean and 1/√(var + eps) of each row, for the gradient.
        let stats = Tensor::empty(device, DType::F32, Shape::of(&[rows, 2]))?;
        let params = Params {
            rows: rows as u32,
            cols: cols as u32,
            eps: eps as f32,
            x_offset: x.layout().offset as u32,
            weight_offset: w.layout().offset as u32,
            bias_offset: b.layout().offset as u32,
            y_offset: y.layout().offset as u32,
            stats_offset: stats.layout().offset as u32,
        };
        let inputs = [&x, &w, &b];
        run(
            device,
            ladder(device.caps(), cols, aligned(cols, &[&x, &w, &b, &y]), RUNGS),
            rows,
            &inputs,
            &[&y, &stats],
            &params,
        )?;
        let out = if y.dtype() == self.dtype() {
            y
        } else {
            cast(&y, self.dtype())?
        };
        let dtypes = [self.dtype(), weight.dtype(), bias.dtype()];
        Ok(tape::record(
            "layer_norm",
            &[self, weight, bias],
            out,
            move |dy, sink| {
                let device = x.device();
                let dy = contiguous(&launch::storage(device, dy)?)?;
                if sink.wants(0) {
                    let dx = input_gradient(&x, &w, &dy, &stats)?;
                    sink.give(0, back(dx, dtypes[0])?)?;
                }
                if sink.wants(1) || sink.wants(2) {
                    let [dweight, dbias] = parameter_gradients(&x, &dy, &stats, *w.shape())?;
                    sink.add(1, back(dweight, dtypes[1])?)?;
                    sink.add(2, back(dbias, dtypes[2])?)?;
                }
                Ok(())
            },
        ))
    }
}

fn back(gradient: Tensor, dtype: DType) -> Result<Tensor> {
    if gradient.dtype() == dtype {
        Ok(gradient)
    } else {
        cast(&gradient, dtype)
    }
}

/// An invocation per row, the same by quads, a workgroup per row.
const RUNGS: [&str; 3] = ["layer_norm", "layer_norm_vec4", "layer_norm_workgroup"];

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    x_offset: u32,
    weight_offset: u32,
    bias_offset: u32,
    y_offset: u32,
    stats_offset: u32,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct VjpParams {
    rows: u32,
    cols: u32,
    /// Rows that one partial sum of the parameters' gradients covers.
    part: u32,
    x_offset: u32,
    weight_offset: u32,
    dy_offset: u32,
    stats_offset: u32,
    out_offset: u32,
}

fn run(
    device: &Device,
    candidates: Vec<(&'static str, u32)>,
    rows: usize,
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    params: &impl bytemuck::NoUninit,
) -> Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let elem = inputs[0].dtype().elem();
    let cols = inputs[0].shape().last().copied().unwrap_or(1);
    let (entry, _) =
        candidates[launch::choose_for(&LayerNorm, device, elem, &[rows, cols], &candidates)?];
    launch::dispatch(
        device,
        &norm::kernel(source(entry), entry, elem),
        inputs,
        outputs,
        params,
        groups(entry, rows),
    )
}

fn input_gradient(x: &Tensor, weight: &Tensor, dy: &Tensor, stats: &Tensor) -> Result<Tensor> {
    let device = x.device();
    let cols = weight.numel();
    let rows = x.numel() / cols;
    let dx = Tensor::empty(device, x.dtype(), *x.shape())?;
    let params = VjpParams {
        rows: rows as u32,
        cols: cols as u32,
        part: 0,
        x_offset: x.layout().offset as u32,
        weight_offset: weight.layout().offset as u32,
        dy_offset: dy.layout().offset as u32,
        stats_offset: stats.layout().offset as u32,
        out_offset: dx.layout().offset as u32,
    };
    run(
        device,
        ladder(
            device.caps(),
            cols,
            aligned(cols, &[x, weight, dy, &dx]),
            [
                "layer_norm_vjp",
                "layer_norm_vjp_vec4",
                "layer_norm_vjp_workgroup",
            ],
        ),
        rows,
        &[x, weight, dy, stats],
        &[&dx],
        &params,
    )?;
    Ok(dx)
}

/// Rows that one invocation sums for one column. 64 is a block of `sum`, which adds the partial sums.
const PART: usize = 64;

/// Longest rows whose parameters' gradients are summed by quads on a software driver. By elements and by quads, on lavapipe:
/// [8192, 32] .68 and .35 ms, [2048, 128] .71 and .37, [4096, 256] 2.4 and 1.8, but [4096, 512] 4.7 and 6.2, [4096, 768] 7.3
/// and 9.5: there each row is another page.
const QUADS_UP_TO: usize = 256;

/// The gradients of weight and bias in f32, from one kernel of partial sums and `sum` over the parts.
fn parameter_gradients(
    x: &Tensor,
    dy: &Tensor,
    stats: &Tensor,
    shape: Shape,
) -> Result<[Tensor; 2]> {
    let device = x.device();
    let cols = shape.numel();
    let rows = x.numel() / cols;
    let n_parts = rows.div_ceil(PART);
    let partials = Tensor::empty(device, DType::F32, Shape::of(&[2, n_parts, cols]))?;
    let params = VjpParams {
        rows: rows as u32,
        cols: cols as u32,
        part: PART as u32,
        x_offset: x.layout().offset as u32,
        weight_offset: 0,
        dy_offset: dy.layout().offset as u32,
        stats_offset: stats.layout().offset as u32,
        out_offset: partials.layout().offset as u32,
    };
    let mut candidates = vec![("layer_norm_vjp_parameters", 0)];
    if device.caps().class == DeviceClass::Cpu && cols <= QUADS_UP_TO && aligned(cols, &[x, dy]) {
        candidates.insert(0, ("layer_norm_vjp_parameters_vec4", 0));
    }
    run(
        device,
        candidates,
        n_parts * cols,
        &[x, dy, stats],
        &[&partials],
        &params,
    )?;
    let sums = sum_to(&partials, Shape::of(&[2, 1, cols]))?;
    let half = |i: usize| sums.view(sums.layout().slice(0, i, 1, 1)).reshape(shape);
    Ok([half(0)?, half(1)?])
}

fn source(entry: &str) -> Source {
    match entry {
        "layer_norm_vjp_parameters" => Source::file(
            "norm/layer_norm_vjp_parameters",
            include_str!("../../../shaders/norm/layer_norm_vjp_parameters.wgsl"),
        ),
        "layer_norm_vjp_parameters_vec4" => Source::file(
            "norm/layer_norm_vjp_parameters_vec4",
            include_str!("../../../shaders/norm/layer_norm_vjp_parameters_vec4.wgsl"),
        ),
        "layer_norm_vec4" => Source::file(
            "norm/layer_norm_vec4",
            include_str!("../../../shaders/norm/layer_norm_vec4.wgsl"),
        ),
        "layer_norm_vjp_vec4" => Source::file(
            "norm/layer_norm_vjp_vec4",
            include_str!("../../../shaders/norm/layer_norm_vjp_vec4.wgsl"),
        ),
        _ if entry.contains("vjp") => Source::file(
            "norm/layer_norm_vjp",
            include_str!("../../../shaders/norm/layer_norm_vjp.wgsl"),
        ),
        _ => Source::file(
            "norm/layer_norm",
            include_str!("../../../shaders/norm/layer_norm.wgsl"),
        ),
    }
}

fn check(x: Meta, weight: Meta, bias: Meta, eps: f64) -> Result<()> {
    let op = "layer_norm";
    let n = weight.shape.len();
    let fits = n >= 1 && n <= x.shape.len() && x.shape[x.shape.len() - n..] == weight.shape[..];
    if !fits {
        return Err(Error::shape(
            op,
            format!(
                "weight has shape {:?}, expected the last axes of x {:?}",
                weight.shape, x.shape
            ),
        ));
    }
    if bias.shape != weight.shape {
        return Err(Error::shape(
            op,
            format!(
                "bias has shape {:?}, expected {:?}, that of weight",
                bias.shape, weight.shape
            ),
        ));
    }
    same_dtype(op, ("x", x.dtype), ("weight", weight.dtype))?;
    same_dtype(op, ("x", x.dtype), ("bias", bias.dtype))?;
    if weight.shape.numel() == 0 {
        return Err(Error::Empty {
            op,
            message: format!("rows of x {:?} have no elements", x.shape),
        });
    }
    if !(eps >= 0.0 && eps.is_finite()) {
        return Err(Error::attribute(
            op,
            format!("eps is {eps}, expected at least 0"),
        ));
    }
    Ok(())
}

static SIGNATURE: Signature = Signature {
    name: "layer_norm",
    formula: "y = (x − mean) / √(var + eps) · weight + bias",
    source: "Ba, Kiros & Hinton 2016, arXiv:1607.06450",
    inputs: &[
        Input::grad("x", FLOATS),
        Input::grad("weight", FLOATS),
        Input::grad("bias", FLOATS),
    ],
    attrs: &[AttrSpec {
        name: "eps",
        default: AttrDefault::Float(1e-5),
    }],
    outputs: &["y"],
};

pub struct LayerNorm;

impl Op for LayerNorm {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let [x, weight, bias] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        check(x, weight, bias, attrs.float("eps"))?;
        Ok(vec![x])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [x, weight, bias] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        Ok(vec![x.layer_norm(weight, bias, attrs.float("eps"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |name, role, rung| norm::entry(source(name), name, role, rung);
        vec![
            entry("layer_norm", Role::Forward, "row"),
            entry("layer_norm_vec4", Role::Forward, "vec4"),
            entry("layer_norm_workgroup", Role::Forward, "workgroup"),
            entry("layer_norm_vjp", Role::Vjp, "row"),
            entry("layer_norm_vjp_vec4", Role::Vjp, "vec4"),
            entry("layer_norm_vjp_workgroup", Role::Vjp, "workgroup"),
            entry("layer_norm_vjp_parameters", Role::Vjp, "naive"),
            entry("layer_norm_vjp_parameters_vec4", Role::Vjp, "vec4"),
        ]
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-2.0, 2.0);
        let case = |label: &str, x: &[usize], n: usize| {
            let d = &x[x.len() - n..];
            Case::new(label)
                .f32(x, domain)
                .f32(d, domain)
                .f32(d, domain)
        };
        let mut f16 = case("f16", &[3, 77], 1);
        for spec in f16.inputs.iter_mut().flatten() {
            spec.dtype = DType::F16;
        }
        vec![
            // Two workgroups of rows with a rest, two strides of a workgroup's lanes with a rest.
            case("verify", &[67, 131], 1),
            case("two_columns", &[3, 2], 1),
            case("tile_less_one", &[2, 63], 1),
            case("tile_and_one", &[2, 65], 1),
            case("batch", &[2, 3, 5, 7], 1),
            case("quads", &[3, 5, 68], 1),
            case("one_quad", &[129, 4], 1),
            Case::new("far_from_zero_by_quads")
                .f32(&[3, 256], Domain::Offset(1000.0, 1.0))
                .f32(&[256], domain)
                .f32(&[256], domain)
                .no_gradient(),
            case("three_axes", &[3, 2, 3, 5], 3),
            // More elements than a software driver lets one invocation walk over, one by one and by quads.
            case("long_row", &[2, 35_001], 1),
            case("long_row_of_quads", &[1, 100_000], 1),
            case("all_axes", &[3, 5], 2),
            case("empty", &[0, 4], 1).no_gradient(),
            f16,
            // E[x²] − E[x]² would cancel here.
            Case::new("far_from_zero")
                .f32(&[3, 257], Domain::Offset(1000.0, 1.0))
                .f32(&[257], domain)
                .f32(&[257], domain)
                .no_gradient(),
            Case::new("constant_row")
                .f32(&[2, 65], Domain::Constant(3.25))
                .f32(&[65], domain)
                .f32(&[65], domain)
                .no_gradient(),
            case("rows_of_32", &[8192, 32], 1).bench().no_gradient(),
            case("rows_of_768", &[4096, 768], 1).bench().no_gradient(),
        ]
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        let cols = if entry.name().ends_with("_vec4") {
            132
        } else {
            131
        };
        let domain = Domain::Uniform(-2.0, 2.0);
        // More than two workgroups of two rows each.
        Case::new("verify")
            .f32(&[259, cols], domain)
            .f32(&[cols], domain)
            .f32(&[cols], domain)
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let weight = case.inputs[1].as_ref();
        weight.is_none_or(|weight| norm::tries(entry, weight.shape.numel()))
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let [x, weight, bias] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        let d = weight.data.len();
        let mut y = Array::zeros(x.shape);
        for (row, out) in x.data.chunks(d).zip(y.data.chunks_mut(d)) {
            let mean = row.iter().sum::<f64>() / d as f64;
            let var = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / d as f64;
            let r = 1.0 / (var + attrs.float("eps")).sqrt();
            for i in 0..d {
                out[i] = (row[i] - mean) * r * weight.data[i] + bias.data[i];
            }
        }
        vec![y]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let [x, weight, bias] = [0, 1, 2].map(|i| inputs[i].expect("check_inputs saw it"));
        // The mean is wrong by a few u of the numbers; the difference keeps that error while 1/√var stretches it.
        let d = weight.data.len();
        let least = x
            .data
            .chunks(d)
            .map(|row| {
                let mean = row.iter().sum::<f64>() / d as f64;
                row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / d as f64
            })
            .fold(f64::INFINITY, f64::min);
        let stretch = 1.0 / (least + attrs.float("eps")).sqrt();
        let magnitude = x.max_abs() * stretch * weight.max_abs() + bias.max_abs();
        Tolerance::ulps(16.0, magnitude.max(1.0))
    }

    fn plan(&self, inputs: &[Option<Meta>], _: &Attrs, caps: &Caps) -> Option<String> {
        Some(norm::plan_line(caps, inputs[1]?.shape.numel(), RUNGS))
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        let n = inputs[0].map_or(0, |m| m.shape.numel());
        Cost::streaming(inputs, outputs, 8 * n as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs).reading(&inputs[0])
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let case = |x: &[usize], w: &[usize], b: &[usize]| {
            let domain = Domain::Constant(1.0);
            Case::new("refused")
                .f32(x, domain)
                .f32(w, domain)
                .f32(b, domain)
        };
        vec![
            ("weight is not the last axis", case(&[2, 3], &[2], &[2])),
            ("bias is not like weight", case(&[2, 3], &[3], &[1])),
            ("weight of rank 0", case(&[2, 3], &[], &[])),
            ("rows without elements", case(&[2, 0], &[0], &[0])),
            ("negative eps", case(&[2, 3], &[3], &[3]).attr("eps", -1.0)),
        ]
    }
}
