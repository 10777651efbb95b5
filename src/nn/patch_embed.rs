//! Patches of an image as tokens.

use crate::error::{Error, Result};
use crate::nn::{Init, LayerNorm, Module, Param, Visitor};
use crate::tensor::Tensor;

/// A convolution whose kernel and stride are one patch, then layer normalisation; `proj.weight [out, in, ph, pw]`.
#[derive(Debug, Clone)]
pub struct PatchEmbed {
    pub proj: Projection,
    pub norm: LayerNorm,
}

/// The convolution, under the names of torch.nn.Conv2d.
#[derive(Debug, Clone)]
pub struct Projection {
    pub weight: Param,
    pub bias: Param,
}

impl PatchEmbed {
    pub fn new(init: &mut Init, n_in: usize, patch: [usize; 2], n_out: usize) -> Result<Self> {
        Ok(PatchEmbed {
            proj: Projection {
                weight: init.weight([n_out, n_in, patch[0], patch[1]])?,
                bias: init.zeros([n_out])?,
            },
            norm: LayerNorm::new(init, n_out)?,
        })
    }

    /// Shapes: `x [batch, in, height, width]` → `[batch, height / ph, width / pw, out]`.
    ///
    /// Errors: [`Error::Shape`] if the patch does not divide the image.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.proj.weight.tensor();
        let [n_out, n_in, ph, pw] = [0, 1, 2, 3].map(|axis| weight.shape()[axis]);
        let fits = |x: &Tensor| {
            x.shape().len() == 4
                && x.shape()[1] == n_in
                && x.shape()[2].is_multiple_of(ph)
                && x.shape()[3].is_multiple_of(pw)
        };
        if !fits(x) {
            return Err(Error::shape(
                "patch_embed",
                format!(
                    "x has shape {:?}, expected [batch, {n_in}, height, width] with patches of {ph} × {pw}",
                    x.shape()
                ),
            ));
        }
        let [batch, height, width] = [x.shape()[0], x.shape()[2] / ph, x.shape()[3] / pw];
        // Nothing overlaps, so the convolution is a product of patches and weights.
        let patches = x
            .reshape([batch, n_in, height, ph, width, pw])?
            .permute(&[0, 2, 4, 1, 3, 5])?
            .reshape([batch * height * width, n_in * ph * pw])?;
        let kernel = weight.reshape([n_out, n_in * ph * pw])?.transpose()?;
        let tokens = patches.matmul_with(
            &kernel,
            Some(&self.proj.bias.tensor()),
            crate::ops::linalg::matmul::Activation::None,
        )?;
        self.norm
            .forward(&tokens.reshape([batch, height, width, n_out])?)
    }
}

impl Module for Projection {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.param("weight", &self.weight);
        visitor.param("bias", &self.bias);
    }
}

impl Module for PatchEmbed {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module("proj", &self.proj);
        visitor.module("norm", &self.norm);
    }
}
