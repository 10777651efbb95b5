//! Guard words: did anybody write beside an output?

use crate::error::Result;
use crate::gpu::Device;
use crate::tensor::{GUARD_WORDS, GuardLog, Guarded};

/// Looks at the frames of all buffers allocated in check mode since the last call, and lets go of them.
pub(super) fn inspect(device: &Device) -> Result<Option<String>> {
    let log = device.extension(GuardLog::default);
    let buffers = std::mem::take(&mut *log.buffers.lock().expect("the log is never poisoned"));
    let mut found = None;
    for Guarded {
        buffer,
        bytes,
        frame,
    } in buffers
    {
        let words = bytes.div_ceil(4) + 2 * GUARD_WORDS;
        let content = device.read(&buffer, 0, (words * 4) as u64)?;
        let content: Vec<u32> = bytemuck::pod_collect_to_vec(&content);
        let (front, rest) = content.split_at(GUARD_WORDS);
        let back = &rest[rest.len() - GUARD_WORDS..];
        let expected = frame.words();
        let spoiled = |side: &[u32]| side.iter().zip(&expected).position(|(a, b)| a != b);
        if let Some(i) = spoiled(front) {
            found.get_or_insert(format!(
                "word {} before an output of {bytes} bytes was written",
                GUARD_WORDS - i
            ));
        }
        if let Some(i) = spoiled(back) {
            found.get_or_insert(format!(
                "word {i} after an output of {bytes} bytes was written"
            ));
        }
    }
    Ok(found)
}
