//! y   = x − lr · m′ / (1 − β₁ᵗ) / (√(v′ / (1 − β₂ᵗ)) + ε), m′ = β₁ m + (1 − β₁) g, v′ = β₂ v + (1 − β₂) g²
//! vjp: none
//! source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1; Loshchilov & Hutter 2019, arXiv:1711.05101; torch.optim.AdamW

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
    self, F32, bound, case, check, check_setting, entries, factor, groups, input, ladder, setting,
    tries,
};
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

/// The settings of one step of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    pub weight_decay: f64,
    /// Whether the decay shrinks the parameter (AdamW), or is part of the gradient (Adam).
    pub decoupled: bool,
    /// The number of this step, counted from 1.
    pub step: u64,
}

/// Parameter and moments after a step.
#[derive(Debug, Clone)]
pub struct Adam {
    pub x: Tensor,
    pub m: Tensor,
    pub v: Tensor,
}

impl AdamStep {
    /// One step for the parameter `x` with the gradient `dx`; `clip` is the result of
    /// [`global_norm`](crate::ops::optim::global_norm).
    ///
    /// Shapes: all alike, f32; `clip [4]`. Nothing is written in place. If `clip` says that a gradient is not finite,
    /// what comes back is what was given. With x 1, dx 2, both moments 0, step 1 and the usual settings, x becomes
    /// 1 − lr: the first step has length lr whatever the gradient.
    /// Errors: [`Error::Shape`]; [`Error::Attribute`] for settings out of range or step 0.
    pub fn apply(
        &self,
        x: &Tensor,
        dx: &Tensor,
        m: &Tensor,
        v: &Tensor,
        clip: Option<&Tensor>,
    ) -> Result<Adam> {
        let mut present = vec![x, dx, m, v];
        present.extend(clip);
        same_device("adam_step", &present)?;
        self.check([x, dx, m, v].map(Meta::of), clip.map(Meta::of))?;
        let device = x.device();
        let [x, dx, m, v] = [x, dx, m, v].map(|t| contiguous(&t.detach()));
        let (x, dx, m, v) = (x?, dx?, m?, v?);
        let clip = clip.map(|c| contiguous(&c.detach())).transpose()?;
        let [y, m_out, v_out] = [(); 3].map(|()| Tensor::empty(device, DType::F32, *x.shape()));
        let (y, m_out, v_out) = (y?, m_out?, v_out?);
        let (clip_bound, clip_offset) = bound(clip.as_ref(), &x);
        let step = self.step as f64;
        let params = Params {
            n: x.numel() as u32,
            clipped: u32::from(clip.is_some()),
            decoupled: u32::from(self.decoupled),
            beta1: self.betas.0 as f32,
            beta2: self.betas.1 as f32,
            // Formed in f64: 1 − 0.999 in f32 has lost four digits.
            rest1: (1.0 - self.betas.0) as f32,
            rest2: (1.0 - self.betas.1) as f32,
            step_size: (self.lr / (1.0 - self.betas.0.powf(step))) as f32,
            spread: (1.0 / (1.0 - self.betas.1.powf(step)).sqrt()) as f32,
            eps: self.eps as f32,
            decay: if self.decoupled {
                (self.lr * self.weight_decay) as f32
            } else {
                self.weight_decay as f32
            },
            x_offset: x.layout().offset as u32,
            dx_offset: dx.layout().offset as u32,
            m_offset: m.layout().offset as u32,
            v_offset: v.layout().offset as u32,
            clip_offset,
            y_offset: y.layout().offset as u32,
            m_out_offset: m_out.layout().offset as u32,
            v_out_offset: v_out.layout().offset as u32,
            padding: 0,
        };
        if x.numel() > 0 {
            let tensors = [&x, &dx, &m, &v, &y, &m_out, &v_out];
            let candidates = ladder("adam_step_vec4", "adam_step", &tensors);
            let (entry, _) =
                candidates[launch::choose(&ADAM_STEP, device, Elem::F32, &candidates)?];
            launch::dispatch(
                device,
                &kernel(entry),
                &[&x, &dx, &m, &v, clip_bound],
                &[&y, &m_out, &v_out],
                &params,
                groups(entry, x.numel()),
            )?;
        }
        Ok(Adam {
            x: y,
            m: m_out,
            v: v_out,
        })
    }

    fn check(&self, [x, dx, m, v]: [Meta; 4], clip: Option<Meta>) -> Result<()> {
        let op = "adam_step";
        check(op, x, &[("dx", dx), ("m", m), ("v", v)], clip)?;
        check_setting(op, "lr", self.lr, 0.0, f64::INFINITY)?;
        check_setting(op, "beta1", self.betas.0, 0.0, 1.0)?;
        check_setting(op, "beta2", self.betas.1, 0.0, 1.0)?;
        check_setting(op, "eps", self.eps, 0.0, f64::INFINITY)?;
        check_setting(op, "weight_decay", self.weight_decay, 0.0, f64::INFINITY)?;
        if self.step == 0 {
            return Err(Error::attribute(op, "step is 0, steps count from 1"));
        }
        Ok(())
    }

    fn of(attrs: &Attrs) -> Self {
        AdamStep {
            lr: attrs.float("lr"),
            betas: (attrs.float("beta1"), attrs.float("beta2")),
            eps: attrs.float("eps"),
            weight_decay: attrs.float("weight_decay"),
            decoupled: attrs.bool("decoupled"),
            step: u64::try_from(attrs.int("step")).unwrap_or(0),
        }
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    n: u32,
    clipped: u32,
    decoupled: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    step_size: f32,
    spread: f32,
    eps: f32,
    decay: f32,
    x_offset: u32,
    dx_offset: u32,
    m_offset: u32,
    v_offset: u32,
    clip_offset: u32,
    y_offset: u32,
    m_out_offset: u32,
    v_out_offset: u32,
    padding: u32,
}

fn kernel(entry: &'static str) -> Kernel {
    let source = match entry {
        "adam_step_vec4" => Source::file(
            "optim/adam_step_vec4",
            include_str!("../../../shaders/optim/adam_step_vec4.wgsl"),
        ),
        _ => Source::file(
            "optim/adam_step",
            include_str!("../../../shaders/optim/adam_step.wgsl"),
        ),
    };
    optim::kernel(source, entry)
}

static SIGNATURE: Signature = Signature {
    name: "adam_step",
    formula: "y = x − lr · m′ / (1 − β₁ᵗ) / (√(v′ / (1 − β₂ᵗ)) + ε)",
    source: "torch.optim.AdamW; torch.optim.Adam if not decoupled",
    inputs: &[
        input("x"),
        input("dx"),
        input("m"),
        input("v"),
        Input::plain("clip", F32).optional(),
    ],
    attrs: &[
        setting("lr", 1e-3),
        setting("beta1", 0.9),
        setting("beta2", 0.999),
        setting("eps", 1e-8),
        setting("weight_decay", 0.01),
        AttrSpec {
            name: "decoupled",
            default: AttrDefault::Bool(true),
        },
        AttrSpec {
            name: "step",
            default: AttrDefault::Int(1),
        },
    ],
    outputs: &["y", "m_out", "v_out"],
};

pub struct Operator;

pub static ADAM_STEP: Operator = Operator;

impl Op for Operator {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let required = [0, 1, 2, 3].map(|i| inputs[i].expect("check_inputs saw it"));
        AdamStep::of(attrs).check(required, inputs[4])?;
        Ok(vec![required[0]; 3])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let [x, dx, m, v] = [0, 1, 2, 3].map(|i| inputs[i].expect("check_inputs saw it"));
        let next = AdamStep::of(attrs).apply(x, dx, m, v, inputs[4])?;
        Ok(vec![next.x, next.m, next.v])
    }

    fn entries(&self) -> Vec<Entry> {
        entries([kernel("adam_step"), kernel("adam_step_vec4")])
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        tries(entry, case)
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        // Two workgroups of quads and a rest.
        let wanted = match entry.name() {
            "adam_step_vec4" => "quads",
            _ => "verify",
        };
        let mut cases = self.cases();
        cases.retain(|case| case.label == wanted);
        cases.remove(0)
    }

    fn cases(&self) -> Vec<Case> {
        vec![
            case("verify", &[3, 45], 4, Some(0.0)).attr("step", 3i64),
            case("quads", &[11, 60], 4, Some(0.0)).attr("step", 3i64),
            case("coupled_quads", &[2, 5, 28], 4, None)
                .attr("decoupled", false)
                .attr("weight_decay", 0.3),
            case("not_finite_quads", &[64], 4, Some(0.25)).attr("step", 2i64),
            case("first_step", &[2, 7, 5], 4, None),
            case("one_element", &[1], 4, None).attr("step", 100_000i64),
            case("coupled", &[67], 4, None)
                .attr("decoupled", false)
                .attr("weight_decay", 0.3)
                .attr("step", 10i64),
            // Every word of clip is 0.25: the flag is set.
            case("not_finite", &[65], 4, Some(0.25)).attr("step", 2i64),
            case("no_decay", &[63], 4, None).attr("weight_decay", 0.0),
            case("empty", &[0], 4, None),
            Case::new("tiny_gradients")
                .f32(&[131], Domain::Uniform(-1.0, 1.0))
                .f32(&[131], Domain::Uniform(-1e-12, 1e-12))
                .f32(&[131], Domain::Constant(0.0))
                .f32(&[131], Domain::Constant(0.0))
                .absent()
                .no_gradient(),
            case("parameters_of_a_layer", &[768, 768], 4, None).bench(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let s = AdamStep::of(attrs);
        let [x, dx, m, v] = [0, 1, 2, 3].map(|i| inputs[i].expect("check_inputs saw it").clone());
        let Some(factor) = factor(inputs[4]) else {
            return vec![x, m, v];
        };
        let mut out = [x.clone(), m.clone(), v.clone()];
        let (beta1, beta2) = s.betas;
        for i in 0..x.data.len() {
            let mut g = dx.data[i] * factor;
            let mut y = x.data[i];
            if s.decoupled {
                y -= s.lr * s.weight_decay * y;
            } else {
                g += s.weight_decay * y;
            }
            let first = beta1 * m.data[i] + (1.0 - beta1) * g;
            let second = beta2 * v.data[i] + (1.0 - beta2) * g * g;
            let mean = first / (1.0 - beta1.powf(s.step as f64));
            let square = second / (1.0 - beta2.powf(s.step as f64));
            y -= s.lr * mean / (square.sqrt() + s.eps);
            for (array, number) in out.iter_mut().zip([y, first, second]) {
                array.data[i] = number;
            }
        }
        out.to_vec()
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        // A step is at most lr / (1 − β₁) / √(1 − β₂) long, and each of its ten operations rounds once.
        let s = AdamStep::of(attrs);
        let largest = inputs
            .iter()
            .flatten()
            .map(|a| a.max_abs())
            .fold(0.0, f64::max);
        Tolerance::ulps(16.0, largest + s.lr)
    }

    fn cost(&self, inputs: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
        let x = inputs[0].expect("check_inputs saw it");
        Cost {
            read_bytes: 4 * x.bytes(),
            written_bytes: 3 * x.bytes(),
            flops: 14 * x.shape.numel() as u64,
        }
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let plain = || case("refused", &[3], 4, None);
        vec![
            ("step 0", plain().attr("step", 0i64)),
            ("beta of 1", plain().attr("beta1", 1.0)),
            ("negative lr", plain().attr("lr", -1e-3)),
            ("infinite lr", plain().attr("lr", f64::INFINITY)),
            (
                "moments of another shape",
                Case::new("refused")
                    .f32(&[3], Domain::Constant(0.0))
                    .f32(&[3], Domain::Constant(0.0))
                    .f32(&[4], Domain::Constant(0.0))
                    .f32(&[3], Domain::Constant(0.0))
                    .absent(),
            ),
            (
                "a clip of another shape",
                Case::new("refused")
                    .f32(&[3], Domain::Constant(0.0))
                    .f32(&[3], Domain::Constant(0.0))
                    .f32(&[3], Domain::Constant(0.0))
                    .f32(&[3], Domain::Constant(0.0))
                    .f32(&[3], Domain::Constant(0.0)),
            ),
        ]
    }
}
