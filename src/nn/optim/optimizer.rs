//! SGD, Adam and AdamW over the named parameters of a module, with groups, clipping and a look at what is not finite.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::nn::{Module, Param};
use crate::ops::optim::adam_step::AdamStep;
use crate::ops::optim::global_norm;
use crate::ops::optim::sgd_step::SgdStep;
use crate::tape::{Gradients, no_grad};
use crate::tensor::{Shape, Tensor, TensorReadback};

/// Which parameters a group is about, by name and shape.
type Chooses = dyn Fn(&str, &Shape) -> bool + Send + Sync;

/// Parameters that are treated in another way than the rest.
pub struct Group {
    chooses: Box<Chooses>,
    lr: f64,
    weight_decay: Option<f64>,
}

impl Group {
    /// The parameters for which `chooses` says so; a parameter belongs to the first group that takes it.
    pub fn new(chooses: impl Fn(&str, &Shape) -> bool + Send + Sync + 'static) -> Self {
        Group {
            chooses: Box::new(chooses),
            lr: 1.0,
            weight_decay: None,
        }
    }

    /// A factor of the learning rate.
    pub fn lr_factor(self, lr: f64) -> Self {
        Group { lr, ..self }
    }

    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Group {
            weight_decay: Some(weight_decay),
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Sgd {
        momentum: f64,
        dampening: f64,
        nesterov: bool,
    },
    Adam {
        betas: (f64, f64),
        eps: f64,
        decoupled: bool,
    },
}

/// What a step keeps of a parameter: its momentum, or its two moments.
type Moments = Vec<Tensor>;

/// Changes parameters by their gradients.
///
/// ```no_run
/// # use affekt::{Device, optim::{Group, Optimizer, Schedule}, nn::{Init, Linear}};
/// # fn main() -> affekt::Result<()> {
/// # let device = Device::open_default()?;
/// let model = Linear::new(&mut Init::new(&device, 0), 3, 2)?;
/// let mut optimizer = Optimizer::adamw(1e-3)
///     .weight_decay(0.05)
///     .group(Group::new(|_, shape| shape.len() <= 1).weight_decay(0.0))
///     .clip(5.0)
///     .schedule(Schedule::OneCycle { total: 1000, warm_up: 0.1 });
/// # let x = affekt::Tensor::full(&device, 1.0f32, [1, 3])?;
/// let gradients = model.forward(&x)?.sum(&[], false)?.backward()?;
/// optimizer.step(&model, &gradients)?.check()?;
/// # Ok(())
/// # }
/// ```
pub struct Optimizer {
    rule: Rule,
    lr: f64,
    weight_decay: f64,
    clip: f64,
    groups: Vec<Group>,
    schedule: super::Schedule,
    n_steps: u64,
    moments: BTreeMap<String, Moments>,
}

impl Optimizer {
    fn new(rule: Rule, lr: f64, weight_decay: f64) -> Self {
        Optimizer {
            rule,
            lr,
            weight_decay,
            clip: f64::INFINITY,
            groups: Vec::new(),
            schedule: super::Schedule::Constant,
            n_steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Stochastic gradient descent; torch.optim.SGD.
    pub fn sgd(lr: f64) -> Self {
        let rule = Rule::Sgd {
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
        };
        Self::new(rule, lr, 0.0)
    }

    /// Adam, whose weight decay is part of the gradient; torch.optim.Adam.
    pub fn adam(lr: f64) -> Self {
        let rule = Rule::Adam {
            betas: (0.9, 0.999),
            eps: 1e-8,
            decoupled: false,
        };
        Self::new(rule, lr, 0.0)
    }

    /// AdamW, whose weight decay shrinks the parameters; torch.optim.AdamW, with its decay of 0.01.
    pub fn adamw(lr: f64) -> Self {
        let rule = Rule::Adam {
            betas: (0.9, 0.999),
            eps: 1e-8,
            decoupled: true,
        };
        Self::new(rule, lr, 0.01)
    }

    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Optimizer {
            weight_decay,
            ..self
        }
    }

    /// Momentum of SGD; Adam has none.
    pub fn momentum(mut self, momentum: f64) -> Self {
        if let Rule::Sgd { momentum: m, .. } = &mut self.rule {
            *m = momentum;
        }
        self
    }

    /// Nesterov's momentum of SGD; Adam has none.
    pub fn nesterov(mut self) -> Self {
        if let Rule::Sgd { nesterov, .. } = &mut self.rule {
            *nesterov = true;
        }
        self
    }

    /// The decay of both moments of Adam; SGD has none.
    pub fn betas(mut self, first: f64, second: f64) -> Self {
        if let Rule::Adam { betas, .. } = &mut self.rule {
            *betas = (first, second);
        }
        self
    }

    /// Scales all gradients together so that their norm is at most this.
    pub fn clip(self, max_norm: f64) -> Self {
        Optimizer {
            clip: max_norm,
            ..self
        }
    }

    /// Treats some parameters in another way; the first group that takes a parameter counts.
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    pub fn schedule(self, schedule: super::Schedule) -> Self {
        Optimizer { schedule, ..self }
    }

    /// Steps made so far.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// The learning rate of the next step.
    pub fn lr(&self) -> f64 {
        self.lr * self.schedule.factor(self.n_steps)
    }

    /// Changes every parameter that has a gradient, in one dispatch each after those of the norm.
    ///
    /// If a gradient is not finite no parameter and no moment changes, and [`Step::check`] says which it was. If memory
    /// runs out half-way nothing has changed either.
    /// Errors: those of [`AdamStep::apply`] and [`SgdStep::apply`]; [`Error::Gradient`] if no parameter has a gradient.
    pub fn step(&mut self, module: &dyn Module, gradients: &Gradients) -> Result<Step> {
        no_grad(|| self.step_recorded(module, gradients))
    }

    fn step_recorded(&mut self, module: &dyn Module, gradients: &Gradients) -> Result<Step> {
        let mut names = Vec::new();
        let mut parameters: Vec<(Param, Tensor, Tensor)> = Vec::new();
        for (name, param) in module.named_parameters() {
            let x = param.tensor();
            if let Some(dx) = gradients.get(&x) {
                names.push(name);
                parameters.push((param, x, dx.detach()));
            }
        }
        if parameters.is_empty() {
            return Err(Error::Gradient {
                message: "the loss depends on no parameter of this module".to_string(),
            });
        }
        let all: Vec<&Tensor> = parameters.iter().map(|(_, _, dx)| dx).collect();
        let clip = global_norm(&all, self.clip)?;
        let lr = self.lr();
        let mut next: Vec<(Tensor, Moments)> = Vec::with_capacity(parameters.len());
        for (name, (_, x, dx)) in names.iter().zip(&parameters) {
            let group = self.groups.iter().find(|g| (g.chooses)(name, x.shape()));
            let lr = lr * group.map_or(1.0, |g| g.lr);
            let weight_decay = group
                .and_then(|g| g.weight_decay)
                .unwrap_or(self.weight_decay);
            next.push(self.change(name, x, dx, &clip, lr, weight_decay)?);
        }
        // Everything that can fail has been done.
        for ((name, (param, _, _)), (x, moments)) in names.iter().zip(&parameters).zip(next) {
            param.set(&x)?;
            if !moments.is_empty() {
                self.moments.insert(name.clone(), moments);
            }
        }
        self.n_steps += 1;
        Ok(Step {
            norm: clip,
            names: names.into(),
            number: self.n_steps,
        })
    }

    /// The parameter and its moments after this step.
    fn change(
        &self,
        name: &str,
        x: &Tensor,
        dx: &Tensor,
        clip: &Tensor,
        lr: f64,
        weight_decay: f64,
    ) -> Result<(Tensor, Moments)> {
        let held = self.moments.get(name);
        match self.rule {
            Rule::Sgd {
                momentum,
                dampening,
                nesterov,
            } => {
                let step = SgdStep {
                    lr,
                    momentum,
                    dampening,
                    weight_decay,
                    nesterov,
                };
                let after = step.apply(x, dx, held.map(|m| &m[0]), Some(clip))?;
                let moments = match momentum == 0.0 {
                    true => Vec::new(),
                    false => vec![after.momentum],
                };
                Ok((after.x, moments))
            }
            Rule::Adam {
                betas,
                eps,
                decoupled,
            } => {
                let step = AdamStep {
                    lr,
                    betas,
                    eps,
                    weight_decay,
                    decoupled,
                    step: self.n_steps + 1,
                };
                let zeros = match held {
                    Some(_) => None,
                    None => Some(Tensor::full(x.device(), 0.0f32, x.shape())?),
                };
                let moment = |i: usize| held.map(|m| &m[i]).or(zeros.as_ref());
                let (Some(m), Some(v)) = (moment(0), moment(1)) else {
                    unreachable!("there are moments or zeros");
                };
                let after = step.apply(x, dx, m, v, Some(clip))?;
                Ok((after.x, vec![after.m, after.v]))
            }
        }
    }

    /// The moments by `parameter.kind`, for a checkpoint; the number of steps is [`n_steps`](Self::n_steps).
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let kinds = self.kinds();
        self.moments
            .iter()
            .flat_map(|(name, moments)| {
                moments
                    .iter()
                    .zip(kinds)
                    .map(move |(t, kind)| (format!("{name}.{kind}"), t.clone()))
            })
            .collect()
    }

    /// Continues where [`state`](Self::state) and [`n_steps`](Self::n_steps) were taken.
    ///
    /// Errors: [`Error::State`] for a name that is no moment of a parameter of `module`, or another shape.
    pub fn load_state(
        &mut self,
        module: &dyn Module,
        tensors: &[(String, Tensor)],
        n_steps: u64,
    ) -> Result<()> {
        let kinds = self.kinds();
        let mut left: BTreeMap<&str, &Tensor> =
            tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let mut moments = BTreeMap::new();
        for (name, param) in module.named_parameters() {
            let found: Vec<Tensor> = kinds
                .iter()
                .filter_map(|kind| left.remove(format!("{name}.{kind}").as_str()).cloned())
                .collect();
            let shape = *param.tensor().shape();
            if found.iter().any(|t| *t.shape() != shape) || ![0, kinds.len()].contains(&found.len())
            {
                return Err(Error::State {
                    message: format!("the moments of {name} do not fit its shape {shape:?}"),
                });
            }
            if !found.is_empty() {
                moments.insert(name, found);
            }
        }
        if let Some(name) = left.keys().next() {
            return Err(Error::State {
                message: format!("{name} is no moment of a parameter of this model"),
            });
        }
        self.moments = moments;
        self.n_steps = n_steps;
        Ok(())
    }

    fn kinds(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Sgd { .. } => &["momentum_buffer"],
            Rule::Adam { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }
}

/// What became of a step. Its numbers are on the device; reading them may wait for several steps.
#[derive(Debug, Clone)]
pub struct Step {
    norm: Tensor,
    names: Arc<[String]>,
    number: u64,
}

impl Step {
    /// The norm of all gradients before clipping; waits for the step.
    ///
    /// Errors: [`Error::NotFinite`] with the number of the step and the name of the first parameter whose gradient is not
    /// finite.
    pub fn check(&self) -> Result<f64> {
        self.read_later()?.wait()
    }

    /// Starts to read, without waiting.
    pub fn read_later(&self) -> Result<Later> {
        Ok(Later {
            numbers: self.norm.to_vec_async()?,
            names: self.names.clone(),
            number: self.number,
        })
    }
}

/// The norm of a step on its way from the device.
pub struct Later {
    numbers: TensorReadback<f32>,
    names: Arc<[String]>,
    number: u64,
}

impl Later {
    /// As [`Step::check`].
    pub fn wait(self) -> Result<f64> {
        let numbers = self.numbers.wait()?;
        if numbers[2] == 0.0 {
            return Ok(f64::from(numbers[0]));
        }
        let name = self.names.get(numbers[3] as usize);
        Err(Error::NotFinite {
            what: match name {
                Some(name) if numbers[3] >= 0.0 => format!("the gradient of {name}"),
                _ => "the norm of all gradients".to_string(),
            },
            step: Some(self.number),
        })
    }
}
