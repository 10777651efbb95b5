//! `affekt run`: one operator on tensors in files.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;

use affekt::gpu::Limits;
use affekt::ops::op::{Attrs, Op};
use affekt::ops::{self, probe};
use affekt::tensor::file;
use affekt::{Device, Tensor};
use clap::Args;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::print;
use crate::session::Session;

/// Run an operator on tensors in a file and write what comes out to another
#[derive(Args)]
#[command(
    after_help = "Tensors of the input files are taken by name: those of the operator's inputs (see\n\
                  `affekt ops NAME`), and dy for the upstream gradient. An npy file holds one tensor,\n\
                  named like the file.\n\n\
                  Example:\n  affekt run softmax --in a.safetensors --out b.safetensors --attr axis=-1 --grad"
)]
pub struct Run {
    /// The operator
    op: String,
    /// Files with the inputs, .safetensors or .npy
    #[arg(long = "in", value_name = "FILE", num_args = 1.., required = true)]
    inputs: Vec<PathBuf>,
    /// The file to write, .safetensors, or .npy for a single tensor
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Attributes
    #[arg(long = "attr", value_name = "NAME=VALUE", num_args = 1..)]
    attrs: Vec<String>,
    /// Also write d<INPUT>, the gradients for the upstream gradient dy
    #[arg(long)]
    grad: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    pub fn run(&self, session: &Session) -> Outcome {
        let op = ops::find(&self.op)?;
        let attrs = Attrs::parse(op.signature(), &self.attrs)?;
        let device = session.open(Limits::Full)?;
        let mut given = self.load(&device, op)?;
        let dy = given.remove("dy");
        let results = self.compute(op, &attrs, &given, dy.as_ref())?;
        let named: Vec<(&str, &Tensor)> = results.iter().map(|(n, t)| (n.as_str(), t)).collect();
        file::save(&self.out, &named)?;
        self.print(&device, &results)
    }

    /// The tensors of all input files by name.
    fn load(&self, device: &Device, op: &dyn Op) -> Result<BTreeMap<String, Tensor>, Failure> {
        let signature = op.signature();
        let mut given = BTreeMap::new();
        for path in &self.inputs {
            for (name, tensor) in file::load(device, path)? {
                if name != "dy" && !signature.inputs.iter().any(|i| i.name == name) {
                    let known: Vec<&str> = signature.inputs.iter().map(|i| i.name).collect();
                    return Err(Failure::Wrong(format!(
                        "{}: {} has no input {name:?}; there is {}",
                        path.display(),
                        signature.name,
                        known.join(", ")
                    )));
                }
                if given.insert(name.clone(), tensor).is_some() {
                    return Err(Failure::Wrong(format!(
                        "{}: tensor {name:?} was in a file before it",
                        path.display()
                    )));
                }
            }
        }
        Ok(given)
    }

    fn compute(
        &self,
        op: &'static dyn Op,
        attrs: &Attrs,
        given: &BTreeMap<String, Tensor>,
        dy: Option<&Tensor>,
    ) -> Result<Vec<(String, Tensor)>, Failure> {
        let signature = op.signature();
        let mut inputs = Vec::new();
        for input in signature.inputs {
            let tensor = given.get(input.name);
            inputs.push(match tensor {
                Some(t) if self.grad && input.differentiable && t.dtype().is_float() => {
                    Some(t.requires_grad()?)
                }
                other => other.cloned(),
            });
        }
        let references: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        let outputs = ops::run(op, &references, attrs)?;
        let mut results: Vec<(String, Tensor)> = signature
            .outputs
            .iter()
            .map(|name| name.to_string())
            .zip(outputs.iter().map(Tensor::detach))
            .collect();
        if !self.grad {
            return Ok(results);
        }
        let (y, name) = (&outputs[0], signature.outputs[0]);
        if !y.has_grad() {
            return Err(Failure::Wrong(format!(
                "{}: none of the inputs given has a gradient",
                signature.name
            )));
        }
        let dy = dy.ok_or_else(|| {
            Failure::Wrong(format!(
                "{}: --grad needs a tensor dy in the input, the gradient of {name} with its shape {:?}",
                signature.name,
                y.shape()
            ))
        })?;
        if dy.shape() != y.shape() || dy.dtype() != y.dtype() {
            return Err(Failure::Wrong(format!(
                "{}: dy is {} {:?}, expected {} {:?}, that of {name}",
                signature.name,
                dy.dtype(),
                dy.shape(),
                y.dtype(),
                y.shape()
            )));
        }
        let gradients = y.backward_from(dy)?;
        for (input, tensor) in signature.inputs.iter().zip(&inputs) {
            let Some(tensor) = tensor.as_ref().filter(|t| t.has_grad()) else {
                continue;
            };
            let gradient = gradients.get(tensor).ok_or_else(|| {
                Failure::Wrong(format!(
                    "{}: {name} does not depend on {}",
                    signature.name, input.name
                ))
            })?;
            results.push((format!("d{}", input.name), gradient.detach()));
        }
        Ok(results)
    }

    fn print(&self, device: &Device, results: &[(String, Tensor)]) -> Outcome {
        let mut rows = Vec::new();
        let mut list = Vec::new();
        for (name, tensor) in results {
            let numbers = probe::download(tensor)?.data;
            let n_nan = numbers.iter().filter(|x| x.is_nan()).count();
            let rest = || numbers.iter().copied().filter(|x| !x.is_nan());
            let (min, max) = (rest().reduce(f64::min), rest().reduce(f64::max));
            let n = (numbers.len() - n_nan) as f64;
            let mean = min.map(|_| rest().sum::<f64>() / n);
            let cell = |x: Option<f64>| x.map_or("-".to_string(), print::number);
            rows.push(vec![
                name.clone(),
                tensor.dtype().to_string(),
                format!("{:?}", tensor.shape()),
                cell(min),
                cell(mean),
                cell(max),
                n_nan.to_string(),
            ]);
            list.push(json!({
                "name": name,
                "dtype": tensor.dtype().name(),
                "shape": tensor.shape().to_vec(),
                "min": min,
                "mean": mean,
                "max": max,
                "n_nan": n_nan,
            }));
        }
        let mut out = io::stdout().lock();
        if self.json {
            print::json(
                &mut out,
                &json!({
                    "op": self.op,
                    "adapter": device.adapter().label(),
                    "out": self.out.display().to_string(),
                    "tensors": list,
                }),
            )?;
        } else {
            let heading = ["name", "dtype", "shape", "min", "mean", "max", "NaN"];
            print::table(&mut out, &heading, &rows)?;
        }
        Ok(out.flush()?)
    }
}
