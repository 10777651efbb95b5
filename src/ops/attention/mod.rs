//! Attention among the tokens of a window.

pub mod window_attention;
mod window_attention_call;
mod window_attention_gen;
mod window_attention_plan;

use crate::ops::op::Op;

pub use window_attention::WindowAttention;

pub(crate) static OPS: &[&dyn Op] = &[&window_attention::WINDOW_ATTENTION];
