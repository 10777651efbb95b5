//! Layer normalisation with its scale and shift.

use crate::error::Result;
use crate::nn::{Init, Module, Param, Visitor};
use crate::tensor::Tensor;

/// Normalises the last axis, then scales and shifts, as torch.nn.LayerNorm: `weight [d]`, `bias [d]`, eps 1e-5.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    pub weight: Param,
    pub bias: Param,
    eps: f64,
}

impl LayerNorm {
    /// Begins with scale 1 and shift 0.
    pub fn new(init: &mut Init, d: usize) -> Result<Self> {
        Ok(LayerNorm {
            weight: init.ones([d])?,
            bias: init.zeros([d])?,
            eps: 1e-5,
        })
    }

    /// Shapes: `x [.., d]`, kept. Errors: those of [`Tensor::layer_norm`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(&self.weight.tensor(), &self.bias.tensor(), self.eps)
    }
}

impl Module for LayerNorm {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.param("weight", &self.weight);
        visitor.param("bias", &self.bias);
    }
}
