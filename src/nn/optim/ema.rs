//! Exponential moving averages of parameters.

use crate::error::{Error, Result};
use crate::fuse::materialise_all;
use crate::nn::Module;
use crate::tape::no_grad;
use crate::tensor::Tensor;

/// An average of a model's parameters over its steps: average ← decay · average + (1 − decay) · parameter.
#[derive(Debug, Clone)]
pub struct Ema {
    decay: f64,
    averages: Vec<(String, Tensor)>,
}

impl Ema {
    /// Begins with the parameters as they are. `decay` near 1 forgets slowly: 0.999 remembers about a thousand steps.
    ///
    /// Errors: [`Error::Attribute`] unless `decay` is from 0 to below 1.
    pub fn new(module: &dyn Module, decay: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::attribute(
                "ema",
                format!("decay is {decay}, expected a number from 0 to below 1"),
            ));
        }
        Ok(Ema {
            decay,
            averages: module.state(),
        })
    }

    /// Takes in the parameters after a step.
    ///
    /// Errors: [`Error::State`] if the module has other parameters than it had.
    pub fn update(&mut self, module: &dyn Module) -> Result<()> {
        let parameters = module.named_parameters();
        if parameters.len() != self.averages.len() {
            return Err(Error::State {
                message: format!(
                    "{} parameters, {} are averaged",
                    parameters.len(),
                    self.averages.len()
                ),
            });
        }
        let next = no_grad(|| {
            parameters
                .iter()
                .zip(&self.averages)
                .map(|((name, param), (averaged, average))| {
                    if name != averaged {
                        return Err(Error::State {
                            message: format!("{name} stands where {averaged} is averaged"),
                        });
                    }
                    average
                        .mul(self.decay)?
                        .add(&param.tensor().detach().mul(1.0 - self.decay)?)
                })
                .collect::<Result<Vec<Tensor>>>()
        })?;
        if let Some(first) = next.first() {
            materialise_all(first.device(), next.iter())?;
        }
        for ((_, average), fresh) in self.averages.iter_mut().zip(next) {
            *average = fresh;
        }
        Ok(())
    }

    /// The averages by name, as [`Module::load_state`] takes them.
    pub fn state(&self) -> &[(String, Tensor)] {
        &self.averages
    }

    /// Continues with averages of an earlier run.
    ///
    /// Errors: [`Error::State`] if names or shapes are not those of the present averages.
    pub fn load_state(&mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        let alike = tensors.len() == self.averages.len()
            && tensors
                .iter()
                .zip(&self.averages)
                .all(|(a, b)| a.0 == b.0 && a.1.shape() == b.1.shape());
        if !alike {
            return Err(Error::State {
                message: "the averages are of another model".to_string(),
            });
        }
        self.averages = tensors.to_vec();
        Ok(())
    }
}
