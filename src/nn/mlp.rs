//! Two linear maps with a GELU between them.

use crate::error::Result;
use crate::nn::{Init, Linear, Module, Visitor};
use crate::ops::linalg::matmul::Activation;
use crate::tensor::Tensor;

/// fc2(gelu(fc1 x)), the feed-forward part of a transformer block; the GELU is the exact one.
#[derive(Debug, Clone)]
pub struct Mlp {
    pub fc1: Linear,
    pub fc2: Linear,
}

impl Mlp {
    pub fn new(init: &mut Init, d: usize, hidden: usize) -> Result<Self> {
        Ok(Mlp {
            fc1: Linear::new(init, d, hidden)?,
            fc2: Linear::new(init, hidden, d)?,
        })
    }

    /// Shapes: `x [.., d]`, kept.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2
            .forward(&self.fc1.forward_with(x, Activation::Gelu)?)
    }
}

impl Module for Mlp {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module("fc1", &self.fc1);
        visitor.module("fc2", &self.fc2);
    }
}
