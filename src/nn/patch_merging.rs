//! Four neighbouring tokens as one of twice the channels.

use crate::error::{Error, Result};
use crate::nn::{Init, LayerNorm, Linear, Module, Visitor};
use crate::tensor::Tensor;

/// Halves a grid along both axes: four tokens side by side, layer normalisation, a linear map without bias from 4c to 2c.
///
/// The order of the four is that of Microsoft's code: (0, 0), (1, 0), (0, 1), (1, 1), first index down.
#[derive(Debug, Clone)]
pub struct PatchMerging {
    pub norm: LayerNorm,
    pub reduction: Linear,
}

impl PatchMerging {
    pub fn new(init: &mut Init, channels: usize) -> Result<Self> {
        Ok(PatchMerging {
            norm: LayerNorm::new(init, 4 * channels)?,
            reduction: Linear::without_bias(init, 4 * channels, 2 * channels)?,
        })
    }

    /// Shapes: `x [batch, height, width, c]` → `[batch, height / 2, width / 2, 2·c]`.
    ///
    /// Errors: [`Error::Shape`] if height or width is odd.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        if shape.len() != 4 || shape[1] % 2 == 1 || shape[2] % 2 == 1 {
            return Err(Error::shape(
                "patch_merging",
                format!("x has shape {shape:?}, expected [batch, height, width, c], both even"),
            ));
        }
        let [batch, height, width, c] = [0, 1, 2, 3].map(|axis| shape[axis]);
        // Axes of down and right inside a block, right first: one copy instead of four slices and a concatenation.
        let blocks = x
            .reshape([batch, height / 2, 2, width / 2, 2, c])?
            .permute(&[0, 1, 3, 4, 2, 5])?
            .reshape([batch, height / 2, width / 2, 4 * c])?;
        self.reduction.forward(&self.norm.forward(&blocks)?)
    }
}

impl Module for PatchMerging {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module("reduction", &self.reduction);
        visitor.module("norm", &self.norm);
    }
}
