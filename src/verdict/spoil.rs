//! Spoils what a kernel has written, as a broken driver would: for trials of the verification.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::gpu::dispatch::Binding;
use crate::gpu::memory::Buffer;
use crate::gpu::shader::{Elem, Source};
use crate::gpu::{Device, Kernel};

static CORRUPT: Kernel = Kernel {
    source: Source::file(
        "check/corrupt",
        include_str!("../../shaders/check/corrupt.wgsl"),
    ),
    entry: "corrupt",
    constants: Vec::new(),
    elem: Elem::U32,
};

/// Whether anything was spoiled on a device.
#[derive(Default)]
struct Spoiled(AtomicBool);

/// Whether anything was spoiled on this device so far.
#[cfg(feature = "bench")]
pub(crate) fn has_spoiled(device: &Device) -> bool {
    device.extension(Spoiled::default).0.load(Ordering::Relaxed)
}

/// Records that the word which holds byte `offset` of the buffer is spoiled. An empty buffer stays as it is.
pub(crate) fn spoil(device: &Device, buffer: &Arc<Buffer>, offset: usize) -> Result<()> {
    if buffer.size() == 0 {
        return Ok(());
    }
    let word = u32::try_from(offset / 4).map_err(|_| Error::Limit {
        what: "corrupt",
        requested: offset as u64,
        limit: u64::from(u32::MAX),
    })?;
    let pipeline = device.pipeline(&CORRUPT)?;
    let params = [word, 0, 0, 0];
    device.dispatch(
        &pipeline,
        &[Binding::whole(buffer)],
        bytemuck::bytes_of(&params),
        1,
    )?;
    let spoiled = device.extension(Spoiled::default);
    spoiled.0.store(true, Ordering::Relaxed);
    Ok(())
}
