//! One call of a subject: what is timed, forward or backward.

use crate::bench::rows::Subject;
use crate::error::Result;
use crate::gpu::Device;
use crate::ops;
use crate::ops::op::{Attrs, Op, Role};
use crate::tensor::Tensor;

/// A subject with its inputs on a device.
pub(super) struct Call {
    op: &'static dyn Op,
    role: Role,
    attrs: Attrs,
    /// For a look at the backward pass they need gradients where one flows.
    inputs: Vec<Option<Tensor>>,
    device: Device,
}

/// What a call works on: nothing, or the result of a forward pass that has ended and the upstream gradient.
pub(super) struct Prepared(Option<[Tensor; 2]>);

impl Call {
    /// Uploads the inputs. What the device's mode says holds for the call.
    pub fn new(subject: &Subject, device: &Device) -> Result<Self> {
        let inputs = subject.upload(device)?;
        let inputs = inputs.into_iter().zip(subject.op.signature().inputs);
        let inputs = inputs.map(|(tensor, input)| match (tensor, subject.role) {
            (Some(t), Role::Vjp) if input.differentiable && t.dtype().is_float() => {
                t.requires_grad().map(Some)
            }
            (other, _) => Ok(other),
        });
        Ok(Call {
            op: subject.op,
            role: subject.role,
            attrs: subject.attrs()?,
            inputs: inputs.collect::<Result<_>>()?,
            device: device.clone(),
        })
    }

    /// What comes before the work and is not timed.
    pub fn prepare(&self) -> Result<Prepared> {
        Ok(Prepared(match self.role {
            Role::Forward => None,
            Role::Vjp => {
                let first = self.forward()?.swap_remove(0);
                // Of a tensor of its own: reading the result twice would be reading it once.
                let upstream = first.detach().neg()?;
                upstream.force()?;
                self.device.wait()?;
                Some([first, upstream])
            }
        }))
    }

    /// Records the work.
    pub fn work(&self, prepared: Prepared) -> Result<()> {
        self.results(prepared).map(drop)
    }

    /// Records the work and hands out what comes of it: outputs, or the gradients of the inputs.
    pub fn results(&self, prepared: Prepared) -> Result<Vec<Tensor>> {
        let Some([first, upstream]) = prepared.0 else {
            return self.forward();
        };
        if !first.has_grad() {
            return Ok(Vec::new());
        }
        let gradients = first.backward_from(&upstream)?;
        let inputs = self.inputs.iter().flatten();
        let gradients: Vec<Tensor> = inputs
            .filter_map(|input| gradients.get(input).cloned())
            .collect();
        gradients.iter().try_for_each(Tensor::force)?;
        Ok(gradients)
    }

    /// Both, once.
    pub fn once(&self) -> Result<()> {
        self.work(self.prepare()?)
    }

    fn forward(&self) -> Result<Vec<Tensor>> {
        let references: Vec<Option<&Tensor>> = self.inputs.iter().map(Option::as_ref).collect();
        let outputs = ops::run(self.op, &references, &self.attrs)?;
        outputs.iter().try_for_each(Tensor::force)?;
        Ok(outputs)
    }
}
