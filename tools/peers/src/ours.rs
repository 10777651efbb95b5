//! The work by affekt.

use affekt::nn::{Init, Linear, Module, Visitor};
use affekt::ops::op::{Attrs, Op};
use affekt::ops::probe::{inputs_of, upload};
use affekt::optim::Optimizer;
use affekt::{Device, Tensor};

use crate::Failure;
use crate::runner::{Runner, Submit};
use crate::work::{Kind, LAYERS, STEPS_COMPARED, Work};

/// Prepares a piece of work.
pub fn runner(device: &Device, work: &Work, submit: Submit) -> Result<Box<dyn Runner>, Failure> {
    let inputs: Vec<Option<Tensor>> = work
        .case
        .inputs
        .iter()
        .zip(inputs_of(&work.case, 1))
        .map(|(spec, array)| match (spec, array) {
            (Some(spec), Some(array)) => upload(device, &array, spec.dtype).map(Some),
            _ => Ok(None),
        })
        .collect::<affekt::Result<_>>()?;
    let present = |i: usize| inputs[i].clone().expect("the input is there");
    Ok(match work.kind {
        Kind::Operator(op) => Box::new(Operator {
            device: device.clone(),
            op,
            attrs: work.attrs()?,
            inputs,
            submit,
            last: None,
        }),
        Kind::Chain => Box::new(Chain {
            device: device.clone(),
            x: present(0),
            y: present(1),
            submit,
            last: None,
        }),
        Kind::TrainingStep => Box::new(Training {
            device: device.clone(),
            model: Network::new(device)?,
            optimizer: optimizer(),
            x: present(0),
            labels: present(1),
            submit,
        }),
    })
}

fn handed_over(device: &Device, submit: Submit) -> Result<(), Failure> {
    match submit {
        Submit::Each => Ok(device.flush()?),
        Submit::Together => Ok(()),
    }
}

fn read(last: &Option<Tensor>) -> Result<Option<Vec<f32>>, Failure> {
    Ok(last.as_ref().map(Tensor::to_vec).transpose()?)
}

struct Operator {
    device: Device,
    op: &'static dyn Op,
    attrs: Attrs,
    inputs: Vec<Option<Tensor>>,
    submit: Submit,
    last: Option<Tensor>,
}

impl Operator {
    fn outputs(&self) -> Result<Vec<Tensor>, Failure> {
        let inputs: Vec<Option<&Tensor>> = self.inputs.iter().map(Option::as_ref).collect();
        Ok(self.op.run(&inputs, &self.attrs)?)
    }
}

impl Runner for Operator {
    fn result(&mut self) -> Result<Vec<f32>, Failure> {
        Ok(self.outputs()?.swap_remove(0).to_vec()?)
    }

    fn call(&mut self) -> Result<(), Failure> {
        let output = self.outputs()?.swap_remove(0);
        output.force()?;
        self.last = Some(output);
        handed_over(&self.device, self.submit)
    }

    fn last(&mut self) -> Result<Option<Vec<f32>>, Failure> {
        read(&self.last)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        Ok(self.device.wait()?)
    }
}

struct Chain {
    device: Device,
    x: Tensor,
    y: Tensor,
    submit: Submit,
    last: Option<Tensor>,
}

impl Chain {
    fn output(&self) -> affekt::Result<Tensor> {
        self.x
            .mul(0.5)?
            .add(0.25)?
            .relu()?
            .mul(&self.y)?
            .add(&self.x)?
            .neg()?
            .exp()?
            .add(1.0)?
            .reciprocal()?
            .mul(&self.x)
    }
}

impl Runner for Chain {
    fn result(&mut self) -> Result<Vec<f32>, Failure> {
        Ok(self.output()?.to_vec()?)
    }

    fn call(&mut self) -> Result<(), Failure> {
        let output = self.output()?;
        output.force()?;
        self.last = Some(output);
        handed_over(&self.device, self.submit)
    }

    fn last(&mut self) -> Result<Option<Vec<f32>>, Failure> {
        read(&self.last)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        Ok(self.device.wait()?)
    }
}

struct Network {
    layers: Vec<Linear>,
}

impl Network {
    fn new(device: &Device) -> affekt::Result<Self> {
        let mut init = Init::new(device, 0);
        let layers = LAYERS
            .windows(2)
            .enumerate()
            .map(|(i, pair)| {
                let layer = Linear::new(&mut init, pair[0], pair[1])?;
                let weight = Tensor::from_slice(device, &Work::weight(i), [pair[1], pair[0]])?;
                layer.weight.set(&weight)?;
                Ok(layer)
            })
            .collect::<affekt::Result<_>>()?;
        Ok(Network { layers })
    }

    fn forward(&self, x: &Tensor) -> affekt::Result<Tensor> {
        let mut y = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            y = match i + 1 < self.layers.len() {
                true => layer.forward(&y)?.relu()?,
                false => layer.forward(&y)?,
            };
        }
        Ok(y)
    }
}

impl Module for Network {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (i, layer) in self.layers.iter().enumerate() {
            visitor.module(&i.to_string(), layer);
        }
    }
}

fn optimizer() -> Optimizer {
    Optimizer::adamw(1e-3).weight_decay(0.01)
}

struct Training {
    device: Device,
    model: Network,
    optimizer: Optimizer,
    x: Tensor,
    labels: Tensor,
    submit: Submit,
}

impl Training {
    fn step(&mut self) -> affekt::Result<Tensor> {
        let loss = self.model.forward(&self.x)?.cross_entropy(&self.labels)?;
        let gradients = loss.backward()?;
        self.optimizer.step(&self.model, &gradients)?;
        Ok(loss)
    }
}

impl Runner for Training {
    fn result(&mut self) -> Result<Vec<f32>, Failure> {
        (0..STEPS_COMPARED)
            .map(|_| Ok(self.step()?.item()?))
            .collect()
    }

    fn call(&mut self) -> Result<(), Failure> {
        self.step()?;
        handed_over(&self.device, self.submit)
    }

    fn last(&mut self) -> Result<Option<Vec<f32>>, Failure> {
        Ok(None)
    }

    fn wait(&mut self) -> Result<(), Failure> {
        Ok(self.device.wait()?)
    }
}
