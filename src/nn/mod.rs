//! Layers: one file each, with PyTorch's names for parameters. Knows operators and the tape, no model and no data.
//!
//! A layer is a struct with a `forward` method and one [`Module::visit`], which names its parameters. Whether it trains, and
//! the random numbers it draws, come with [`Ctx`](crate::Ctx).

pub mod init;
pub mod layer_norm;
pub mod linear;
pub mod mlp;
pub mod module;
pub mod optim;
pub mod patch_embed;
pub mod patch_merging;
pub mod swin_block;
pub mod window_attention;

pub use init::{Init, Weights};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use module::{Loaded, Module, Param, Visitor};
pub use patch_embed::PatchEmbed;
pub use patch_merging::PatchMerging;
pub use swin_block::SwinBlock;
pub use window_attention::WindowAttention;
