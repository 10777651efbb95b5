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

/// The wgpu that this crate is built and tested with.
pub const WGPU_VERSION: &str = "30.0.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_wgpu_is_that_of_the_lock_file() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
        let lock = std::fs::read_to_string(file).expect("the lock file is there");
        let packages = lock.split("[[package]]");
        let versions: Vec<&str> = packages
            .filter(|package| package.contains("name = \"wgpu\"\n"))
            .filter_map(|package| package.split("version = \"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(versions, [WGPU_VERSION]);
    }
}
