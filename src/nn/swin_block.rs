//! The block of the Swin transformer.

use crate::error::Result;
use crate::nn::{Init, LayerNorm, Mlp, Module, Visitor, WindowAttention};
use crate::ops::random::Ctx;
use crate::tensor::Tensor;

/// x += attn(norm1 x); x += mlp(norm2 x), each branch left out for a whole sample with a probability in training.
#[derive(Debug, Clone)]
pub struct SwinBlock {
    pub norm1: LayerNorm,
    pub attn: WindowAttention,
    pub norm2: LayerNorm,
    pub mlp: Mlp,
    drop_path: f64,
}

impl SwinBlock {
    /// `mlp_ratio` is the width of the hidden layer over that of the tokens.
    pub fn new(
        init: &mut Init,
        channels: usize,
        attn: WindowAttention,
        mlp_ratio: usize,
        drop_path: f64,
    ) -> Result<Self> {
        Ok(SwinBlock {
            norm1: LayerNorm::new(init, channels)?,
            attn,
            norm2: LayerNorm::new(init, channels)?,
            mlp: Mlp::new(init, channels, mlp_ratio * channels)?,
            drop_path,
        })
    }

    /// Shapes: `x [batch, height, width, channels]`, kept.
    pub fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let attended = self.attn.forward(&self.norm1.forward(x)?)?;
        let x = x.add(&self.dropped(attended, ctx)?)?;
        let fed = self.mlp.forward(&self.norm2.forward(&x)?)?;
        x.add(&self.dropped(fed, ctx)?)
    }

    fn dropped(&self, branch: Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        match ctx.train && self.drop_path > 0.0 {
            true => branch.drop_path(self.drop_path, ctx.rng.draw()),
            false => Ok(branch),
        }
    }
}

impl Module for SwinBlock {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module("norm1", &self.norm1);
        visitor.module("attn", &self.attn);
        visitor.module("norm2", &self.norm2);
        visitor.module("mlp", &self.mlp);
    }
}
