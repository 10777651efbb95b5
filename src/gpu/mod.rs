//! Buffers, pipelines and the stream of work. Knows no tensors; the only place that names `wgpu`.
//!
//! A [`Device`] records dispatches into batches ([`stream`]), hands out pooled buffers ([`memory`]), compiles WGSL
//! once per structure ([`shader`], [`pipeline`]) and turns every failure of the driver into an [`Error`](crate::Error).

pub mod adapter;
pub mod device;
pub(crate) mod dispatch;
pub(crate) mod memory;
pub(crate) mod pipeline;
pub(crate) mod reader;
pub mod shader;
pub(crate) mod stream;
pub(crate) mod timer;

pub use adapter::AdapterInfo;
pub use device::{Caps, Device, DeviceClass, DeviceOptions, Limits, Mode};
pub use memory::{Buffer, MemoryStats};
pub use pipeline::Kernel;
pub use shader::Source;

/// The buffer type of the layer below, as [`crate::tensor::Exported`] hands it out.
pub type RawBuffer = wgpu::Buffer;
