//! y = x · Wᵀ + b over the last axis.

use crate::error::{Error, Result};
use crate::nn::{Init, Module, Param, Visitor};
use crate::ops::linalg::matmul::Activation;
use crate::tensor::Tensor;

/// A linear map of the last axis, with names and shapes as torch.nn.Linear: `weight [out, in]`, `bias [out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    pub weight: Param,
    pub bias: Option<Param>,
}

impl Linear {
    /// Weights as `init` says, and a bias of 0.
    pub fn new(init: &mut Init, n_in: usize, n_out: usize) -> Result<Self> {
        Ok(Linear {
            weight: init.weight([n_out, n_in])?,
            bias: Some(init.zeros([n_out])?),
        })
    }

    /// As [`new`](Self::new), without a bias.
    pub fn without_bias(init: &mut Init, n_in: usize, n_out: usize) -> Result<Self> {
        Ok(Linear {
            weight: init.weight([n_out, n_in])?,
            bias: None,
        })
    }

    /// Shapes: `x [.., in]` → `[.., out]`.
    ///
    /// Errors: [`Error::Shape`] if the last axis of `x` has another length.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, Activation::None)
    }

    /// As [`forward`](Self::forward), ending with an activation, in the same kernel where nothing is recorded.
    pub fn forward_with(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let weight = self.weight.tensor();
        let [n_out, n_in] = [0, 1].map(|axis| weight.shape()[axis]);
        let mut dims = x.shape().to_vec();
        if dims.last() != Some(&n_in) {
            return Err(Error::shape(
                "linear",
                format!("x has shape {:?}, expected [.., {n_in}]", x.shape()),
            ));
        }
        // One product of many rows, whatever the axes in front.
        let rows = x.numel() / n_in.max(1);
        let bias = self.bias.as_ref().map(Param::tensor);
        let y = x.reshape([rows, n_in])?.matmul_with(
            &weight.transpose()?,
            bias.as_ref(),
            activation,
        )?;
        if let Some(last) = dims.last_mut() {
            *last = n_out;
        }
        y.reshape(dims)
    }
}

impl Module for Linear {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.param("weight", &self.weight);
        visitor.optional("bias", self.bias.as_ref());
    }
}
