//! Multi-head attention inside windows of a grid, with a learned bias per relative position.

use crate::error::{Error, Result};
use crate::nn::{Init, Linear, Module, Param, Visitor};
use crate::ops::attention::window_attention as op;
use crate::tensor::Tensor;

/// Swin's window attention: `qkv`, the attention, `proj`; parameters are named as in Microsoft's code
/// (`relative_position_bias_table [(2·wh − 1)(2·ww − 1), heads]`).
///
/// Source: Liu et al. 2021, arXiv:2103.14030, section 3.2.
#[derive(Debug, Clone)]
pub struct WindowAttention {
    pub qkv: Linear,
    pub proj: Linear,
    pub relative_position_bias_table: Param,
    heads: usize,
    window: [usize; 2],
    shift: [usize; 2],
}

impl WindowAttention {
    /// For grids of `height × width` tokens of `channels`. A window longer than the grid becomes the grid, and is not
    /// shifted along that axis.
    ///
    /// Errors: [`Error::Shape`] if the heads do not divide the channels, or the window the grid.
    pub fn new(
        init: &mut Init,
        channels: usize,
        heads: usize,
        grid: [usize; 2],
        window: [usize; 2],
        shift: [usize; 2],
    ) -> Result<Self> {
        if heads == 0 || !channels.is_multiple_of(heads) {
            return Err(Error::shape(
                "window_attention",
                format!("{heads} heads do not divide {channels} channels"),
            ));
        }
        let fitted = [0, 1].map(|axis| match window[axis] >= grid[axis] {
            true => (grid[axis], 0),
            false => (window[axis], shift[axis]),
        });
        let window = fitted.map(|(window, _)| window);
        if (0..2).any(|axis| window[axis] == 0 || !grid[axis].is_multiple_of(window[axis])) {
            return Err(Error::shape(
                "window_attention",
                format!("windows of {window:?} tokens do not divide a grid of {grid:?}"),
            ));
        }
        let offsets = (2 * window[0] - 1) * (2 * window[1] - 1);
        Ok(WindowAttention {
            qkv: Linear::new(init, channels, 3 * channels)?,
            proj: Linear::new(init, channels, channels)?,
            relative_position_bias_table: init.truncated_normal(0.02, [offsets, heads])?,
            heads,
            window,
            shift: fitted.map(|(_, shift)| shift),
        })
    }

    /// Shapes: `x [batch, height, width, channels]`, kept.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let options = op::WindowAttention {
            heads: self.heads,
            window: self.window,
            shift: self.shift,
            ..op::WindowAttention::default()
        };
        let table = self.relative_position_bias_table.tensor();
        let y = self
            .qkv
            .forward(x)?
            .window_attention(Some(&table), options)?;
        self.proj.forward(&y)
    }
}

impl Module for WindowAttention {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.param(
            "relative_position_bias_table",
            &self.relative_position_bias_table,
        );
        visitor.module("qkv", &self.qkv);
        visitor.module("proj", &self.proj);
    }
}
