//! y   = x − lr · d, d = b′ (or g + μ b′ with Nesterov), b′ = μ b + (1 − τ) g, g = dx + λ x
//! vjp: none
//! source: torch.optim.SGD; Sutskever et al. 2013 for Nesterov's momentum

use crate::error::{Error, Result};
use crate::fuse::contiguous;
use crate::gpu::shader::Elem;
use crate::gpu::{Kernel, Source};
use crate::ops::launch;
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Signature,
    same_device,
};
use crate::ops::optim::{
    self, F32, bound, check, check_setting, entries, factor, groups, input, ladder, setting, tries,
};
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

/// The settings of one step of stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    pub lr: f64,
    /// μ; 0 for none.
    pub momentum: f64,
    /// τ: how much less of the gradient enters the momentum. Not on the first step.
    pub dampening: f64,
    /// λ
    pub weight_decay: f64,
    pub nesterov: bool,
}

/// Parameter and momentum after a step.
#[derive(Debug, Clone)]
pub struct Sgd {
    pub x: Tensor,
    pub momentum: Tensor,
}

impl SgdStep {
    /// One step for the parameter `x` with the gradient `dx`; `momentum` is absent on the first step, `clip` is the
    /// result of [`global_norm`](crate::ops::optim::global_norm).
    ///
    /// Shapes: all alike, f32; `clip [4]`. Nothing is written in place. If `clip` says that a gradient is not finite,
    /// what comes back is what was given (zeros for an absent momentum). x 1, dx 2, lr 0.1 give 0.8.
    /// Errors: [`Error::Shape`]; [`Error::Attribute`] for settings out of range, or Nesterov without momentum.
    pub fn apply(
        &self,
        x: &Tensor,
        dx: &Tensor,
        momentum: Option<&Tensor>,
        clip: Option<&Tensor>,
    ) -> Result<Sgd> {
        let mut present = vec![x, dx];
        present.extend(momentum);
        present.extend(clip);
        same_device("sgd_step", &present)?;
        self.check(
            Meta::of(x),
            Meta::of(dx),
            momentum.map(Meta::of),
            clip.map(Meta::of),
        )?;
        let device = x.device();
        let dense = |t: &Tensor| contiguous(&t.detach());
        let (x, dx) = (dense(x)?, dense(dx)?);
        let momentum = momentum.map(dense).transpose()?;
        let clip = clip.map(dense).transpose()?;
        let y = Tensor::empty(device, DType::F32, *x.shape())?;
        let out = Tensor::empty(device, DType::F32, *x.shape())?;
        let (clip_bound, clip_offset) = bound(clip.as_ref(), &x);
        let (momentum_bound, momentum_offset) = bound(momentum.as_ref(), &x);
        let params = Params {
            n: x.numel() as u32,
            clipped: u32::from(clip.is_some()),
            started: u32::from(momentum.is_some()),
            nesterov: u32::from(self.nesterov),
            lr: self.lr as f32,
            momentum: self.momentum as f32,
            fresh: (1.0 - self.dampening) as f32,
            weight_decay: self.weight_decay as f32,
            x_offset: x.layout().offset as u32,
            dx_offset: dx.layout().offset as u32,
            momentum_offset,
            clip_offset,
            y_offset: y.layout().offset as u32,
            momentum_out_offset: out.layout().offset as u32,
            padding: [0; 2],
        };
        if x.numel() > 0 {
            let tensors = [&x, &dx, momentum_bound, &y, &out];
            let candidates = ladder("sgd_step_vec4", "sgd_step", &tensors);
            let (entry, _) = candidates[launch::choose(&SGD_STEP, device, Elem::F32, &candidates)?];
            launch::dispatch(
                device,
                &kernel(entry),
                &[&x, &dx, momentum_bound, clip_bound],
                &[&y, &out],
                &params,
                groups(entry, x.numel()),
            )?;
        }
        Ok(Sgd {
            x: y,
            momentum: out,
        })
    }

    fn check(&self, x: Meta, dx: Meta, momentum: Option<Meta>, clip: Option<Meta>) -> Result<()> {
        let op = "sgd_step";
        let mut alike = vec![("dx", dx)];
        alike.extend(momentum.map(|m| ("momentum_buffer", m)));
        check(op, x, &alike, clip)?;
        check_setting(op, "lr", self.lr, 0.0, f64::INFINITY)?;
        check_setting(op, "momentum", self.momentum, 0.0, 1.0)?;
        check_setting(op, "dampening", self.dampening, 0.0, 1.0)?;
        check_setting(op, "weight_decay", self.weight_decay, 0.0, f64::INFINITY)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err(Error::attribute(
                op,
                "nesterov needs a momentum and no dampening",
            ));
        }
        Ok(())
    }

    fn of(attrs: &Attrs) -> Self {
        SgdStep {
            lr: attrs.float("lr"),
            momentum: attrs.float("momentum"),
            dampening: attrs.float("dampening"),
            weight_decay: attrs.float("weight_decay"),
            nesterov: attrs.bool("nesterov"),
        }
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    n: u32,
    clipped: u32,
    started: u32,
    nesterov: u32,
    lr: f32,
    momentum: f32,
    fresh: f32,
    weight_decay: f32,
    x_offset: u32,
    dx_offset: u32,
    momentum_offset: u32,
    clip_offset: u32,
    y_offset: u32,
    momentum_out_offset: u32,
    padding: [u32; 2],
}

fn kernel(entry: &'static str) -> Kernel {
    let source = match entry {
        "sgd_step_vec4" => Source::file(
            "optim/sgd_step_vec4",
            include_str!("../../../shaders/optim/sgd_step_vec4.wgsl"),
        ),
        _ => Source::file(
            "optim/sgd_step",
            include_str!("../../../shaders/optim/sgd_step.wgsl"),
        ),
    };
    optim::kernel(source, entry)
}

static SIGNATURE: Signature = Signature {
    name: "sgd_step",
    formula: "y = x − lr · b′, b′ = μ b + (1 − τ) (dx + λ x)",
    source: "torch.optim.SGD",
    inputs: &[
        input("x"),
        input("dx"),
        Input::plain("momentum_buffer", F32).optional(),
        Input::plain("clip", F32).optional(),
    ],
    attrs: &[
        setting("lr", 1e-3),
        setting("momentum", 0.0),
        setting("dampening", 0.0),
        setting("weight_decay", 0.0),
        AttrSpec {
            name: "nesterov",
            default: AttrDefault::Bool(false),
        },
    ],
    outputs: &["y", "momentum_buffer_out"],
};

pub struct Operator;

pub static SGD_STEP: Operator = Operator;

impl Op for Operator {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let [x, dx] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        SgdStep::of(attrs).check(x, dx, inputs[2], inputs[3])?;
        Ok(vec![x; 2])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [x, dx] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let next = SgdStep::of(attrs).apply(x, dx, inputs[2], inputs[3])?;
        Ok(vec![next.x, next.momentum])
    }

    fn entries(&self) -> Vec<Entry> {
        entries([kernel("sgd_step"), kernel("sgd_step_vec4")])
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        tries(entry, case)
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        // Two workgroups of quads and a rest.
        let wanted = match entry.name() {
            "sgd_step_vec4" => "quads",
            _ => "verify",
        };
        let mut cases = self.cases();
        cases.retain(|case| case.label == wanted);
        cases.remove(0)
    }

    fn cases(&self) -> Vec<Case> {
        let signed = Domain::Uniform(-1.0, 1.0);
        let case = |label: &str, shape: &[usize]| {
            Case::new(label)
                .f32(shape, signed)
                .f32(shape, signed)
                .no_gradient()
        };
        vec![
            case("verify", &[3, 45])
                .f32(&[3, 45], signed)
                .f32(&[4], Domain::Constant(0.0))
                .attr("momentum", 0.9)
                .attr("dampening", 0.1),
            case("quads", &[11, 60])
                .f32(&[11, 60], signed)
                .f32(&[4], Domain::Constant(0.0))
                .attr("momentum", 0.9)
                .attr("dampening", 0.1),
            case("first_step_quads", &[2, 5, 28])
                .absent()
                .absent()
                .attr("momentum", 0.9)
                .attr("nesterov", true),
            case("not_finite_quads", &[64])
                .f32(&[64], signed)
                .f32(&[4], Domain::Constant(0.25))
                .attr("momentum", 0.9),
            case("plain", &[2, 7, 5]).absent().absent(),
            case("first_step", &[67])
                .absent()
                .absent()
                .attr("momentum", 0.9)
                .attr("dampening", 0.5),
            case("one_element", &[1])
                .f32(&[1], signed)
                .absent()
                .attr("momentum", 0.5)
                .attr("weight_decay", 0.1),
            case("nesterov", &[65])
                .f32(&[65], signed)
                .absent()
                .attr("momentum", 0.9)
                .attr("nesterov", true),
            case("not_finite", &[63])
                .f32(&[63], signed)
                .f32(&[4], Domain::Constant(0.25))
                .attr("momentum", 0.9),
            case("not_finite_at_first", &[63])
                .absent()
                .f32(&[4], Domain::Constant(0.25)),
            case("empty", &[0]).absent().absent(),
            case("parameters_of_a_layer", &[768, 768])
                .f32(&[768, 768], signed)
                .absent()
                .attr("momentum", 0.9)
                .bench(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let s = SgdStep::of(attrs);
        let [x, dx] = [0, 1].map(|i| inputs[i].expect("check_inputs saw it"));
        let (mut y, mut out) = (x.clone(), Array::zeros(x.shape));
        let Some(factor) = factor(inputs[3]) else {
            return vec![y, inputs[2].cloned().unwrap_or(out)];
        };
        for i in 0..x.data.len() {
            let g = dx.data[i] * factor + s.weight_decay * x.data[i];
            let b = match inputs[2] {
                Some(momentum) => s.momentum * momentum.data[i] + (1.0 - s.dampening) * g,
                None => g,
            };
            let d = if s.nesterov { g + s.momentum * b } else { b };
            y.data[i] -= s.lr * d;
            out.data[i] = b;
        }
        vec![y, out]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], _: &Attrs) -> Tolerance {
        let largest = inputs
            .iter()
            .flatten()
            .map(|a| a.max_abs())
            .fold(0.0, f64::max);
        Tolerance::ulps(8.0, 2.0 * largest)
    }

    fn cost(&self, inputs: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
        let x = inputs[0].expect("check_inputs saw it");
        let reads = 2 + u64::from(inputs[2].is_some());
        Cost {
            read_bytes: reads * x.bytes(),
            written_bytes: 2 * x.bytes(),
            flops: 8 * x.shape.numel() as u64,
        }
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let zeros = Domain::Constant(0.0);
        let plain = || {
            Case::new("refused")
                .f32(&[3], zeros)
                .f32(&[3], zeros)
                .absent()
                .absent()
        };
        vec![
            ("a momentum of 1", plain().attr("momentum", 1.0)),
            ("a negative decay", plain().attr("weight_decay", -0.1)),
            ("nesterov without momentum", plain().attr("nesterov", true)),
            (
                "a gradient of another shape",
                Case::new("refused")
                    .f32(&[3], zeros)
                    .f32(&[3, 1], zeros)
                    .absent()
                    .absent(),
            ),
        ]
    }
}
