//! WGSL compute kernels, tensors and a small autograd tape for affective computing on any Vulkan, Metal or DX12 GPU.
//!
//! ```no_run
//! use affekt::{Device, Tensor};
//!
//! # fn main() -> affekt::Result<()> {
//! let device = Device::open_default()?; // or Device::from_wgpu(device, queue)
//! let x = Tensor::from_slice(&device, &[1.0f32, -2.0, 3.0, 0.5], [2, 2])?;
//! let weight = Tensor::from_slice(&device, &[0.5f32, 2.0], [2])?.requires_grad()?;
//! let y = x.mul(&weight)?.gelu()?.softmax(-1)?; // waits, fused, until somebody needs the numbers
//! let loss = y.max(&[1], false)?.sum(&[], false)?;
//! let gradients = loss.backward()?;
//! let dweight: Vec<f32> = gradients.get(&weight).expect("the loss depends on it").to_vec()?;
//! # Ok(())
//! # }
//! ```
//!
//! The layers, each using only those below it:
//!
//! | module | what it is |
//! |---|---|
//! | [`models`] | models of papers, one file each |
//! | [`nn`] | layers, optimizers, schedules |
//! | [`ops`] | the operators: one file each, with its definition, gradient, cases and cost |
//! | [`tape`] | what ran, and how gradients flow back |
//! | [`fuse`] | elementwise expressions that wait, and the kernels made of them |
//! | [`tensor`] | storage, shape and dtype |
//! | [`verdict`] | which kernels are right on this adapter |
//! | [`gpu`] | device, memory, pipelines, the stream of work; the only place that knows wgpu |
//!
//! `data` (feature `data`) reads corpora, splits them and prepares batches on host threads; `train` (feature `train`)
//! measures and draws what a run did. `check` (feature `check`) runs every operator against its definition on the adapter
//! at hand; `bench` (feature `bench`) times them against what that adapter can do.

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "check")]
pub mod check;
#[cfg(feature = "data")]
pub mod data;
mod disk;
mod error;
pub mod fuse;
pub mod gpu;
pub mod models;
pub mod nn;
pub mod ops;
#[cfg(any(feature = "check", feature = "train"))]
mod page;
pub mod tape;
pub mod tensor;
#[cfg(feature = "train")]
pub mod train;
pub mod verdict;

pub use error::{Error, Result};
pub use gpu::{Device, DeviceOptions};
pub use nn::optim;
pub use ops::random::{Ctx, Rng};
pub use ops::signal;
pub use tape::{Gradients, no_grad};
pub use tensor::{DType, MAX_RANK, Shape, Tensor};
/// The wgpu this crate is built with: an app hands over its device in these types.
pub use wgpu;
