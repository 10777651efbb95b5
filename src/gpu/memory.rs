//! Pooled buffers in size classes, with a budget, a high-water mark and `trim`.
//!
//! A freed buffer serves the next recorded dispatch at once: the stream is in order, so whatever still reads the old
//! content runs first. Uploads are the exception, because they are not recorded but written to the queue: they take
//! a buffer that no unsubmitted command uses ([`Purpose::Upload`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, Weak};

use crate::error::{Error, Result};
use crate::gpu::device::guarded;

/// A piece of device memory that returns to its pool when the last owner drops it.
#[derive(Debug)]
pub struct Buffer {
    pub(crate) id: u64,
    pub(crate) raw: wgpu::Buffer,
    pub(crate) size: u64,
    /// The last batch that recorded a use of this buffer.
    last_batch: AtomicU64,
    pool: Weak<Pool>,
}

impl Buffer {
    pub(crate) fn mark_used(&self, batch: u64) {
        self.last_batch.store(batch, Ordering::Relaxed);
    }

    /// The wgpu buffer underneath.
    pub fn wgpu(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Bytes of the size class, at least what was asked for.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.release(self);
        }
    }
}

/// What an allocation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Written by recorded dispatches, in stream order.
    Dispatch,
    /// Written through the queue before anything recorded in the open batch, whose number this is.
    Upload { open_batch: u64 },
}

/// How much device memory the pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// Bytes of buffers that somebody owns.
    pub in_use: u64,
    /// Bytes of all buffers, free ones included.
    pub pool: u64,
    /// The most `in_use` has been since the device was opened or [`reset_high_water`](crate::Device::reset_high_water).
    pub high_water: u64,
    /// Buffers, free ones included.
    pub n_buffers: usize,
    /// Bind groups kept for reuse.
    pub n_bind_groups: usize,
}

/// A buffer that the device writes and the host reads.
#[derive(Debug)]
pub(crate) struct Staging {
    pub raw: wgpu::Buffer,
    /// Bytes asked for.
    pub bytes: u64,
    size: u64,
}

impl Staging {
    /// Starts mapping; the answer comes when the submission that fills the buffer is done.
    pub fn map(&self) -> Receiver<Result<(), wgpu::BufferAsyncError>> {
        let (send, receive) = channel();
        self.raw
            .slice(..self.bytes)
            .map_async(wgpu::MapMode::Read, move |result| {
                let _ = send.send(result);
            });
        receive
    }

    /// The content of the mapped buffer, in words.
    pub fn words(&self) -> Result<Vec<u32>, String> {
        let view = self.raw.slice(..self.bytes).get_mapped_range();
        view.map(|view| bytemuck::pod_collect_to_vec(&view))
            .map_err(|e| e.to_string())
    }
}

/// Largest staging buffer that is kept for the next readback: reading a scalar every step must not allocate, and a
/// checkpoint read once must not stay.
const KEPT_STAGING: u64 = 1 << 20;

struct Free {
    raw: wgpu::Buffer,
    last_batch: u64,
}

#[derive(Default)]
struct State {
    /// Free buffers by size, then by number. The lowest number is served first, so what is allocated depends only on
    /// what is free and not on the order in which it was freed; the bind-group cache then settles.
    free: BTreeMap<u64, BTreeMap<u64, Free>>,
    /// Free staging buffers by size.
    staging: BTreeMap<u64, Vec<wgpu::Buffer>>,
    stats: MemoryStats,
    next_id: u64,
    n_calls: u64,
    fail_call: Option<u64>,
}

/// The pool of one device.
pub(crate) struct Pool {
    device: wgpu::Device,
    usage: wgpu::BufferUsages,
    limit: u64,
    /// Most bytes that one binding can hold.
    binding_limit: u64,
    budget: Option<u64>,
    state: Mutex<State>,
}

/// Size classes: quarter steps between powers of two, so at most a fifth is wasted and few sizes exist.
pub(crate) fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.div_ceil(step) * step
}

/// A size class that fits what its content fits: one buffer, and one binding.
fn capped_class(bytes: u64, limit: u64, binding_limit: u64) -> u64 {
    let whole = |limit: u64| limit / 4 * 4;
    let cap = if bytes <= whole(binding_limit) {
        whole(binding_limit).min(limit)
    } else {
        limit
    };
    size_class(bytes).min(cap.max(bytes.next_multiple_of(4)))
}

impl State {
    /// Counts a call; whether the test seam lets it pass.
    fn count(&mut self) -> bool {
        self.n_calls += 1;
        self.fail_call != Some(self.n_calls)
    }
}

impl Pool {
    pub fn new(
        device: &wgpu::Device,
        limit: u64,
        binding_limit: u64,
        budget: Option<u64>,
    ) -> Arc<Self> {
        Arc::new(Pool {
            device: device.clone(),
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            limit,
            binding_limit,
            budget,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while the pool is locked")
    }

    /// Serves a free buffer of the class or makes a new one; `trim` is called once if there is no room.
    pub fn allocate(
        self: &Arc<Self>,
        bytes: u64,
        purpose: Purpose,
        trim: impl Fn(),
    ) -> Result<Arc<Buffer>> {
        if bytes > self.limit {
            return Err(Error::Limit {
                what: "buffer size in bytes",
                requested: bytes,
                limit: self.limit,
            });
        }
        let size = capped_class(bytes, self.limit, self.binding_limit);
        let seam = {
            let mut state = self.state();
            let seam = state.count();
            if seam {
                if let Some(buffer) = self.take_free(&mut state, size, purpose) {
                    return Ok(buffer);
                }
            }
            seam
        };
        self.try_twice(seam, bytes, trim, || self.create(size))
    }

    /// A buffer to copy `bytes` into that the host will read.
    pub fn staging(&self, bytes: u64, trim: impl Fn()) -> Result<Staging> {
        if bytes > self.limit {
            return Err(Error::Limit {
                what: "bytes read at once",
                requested: bytes,
                limit: self.limit,
            });
        }
        let size = size_class(bytes).min(self.limit);
        let staging = |raw| Staging { raw, bytes, size };
        let seam = {
            let mut state = self.state();
            let seam = state.count();
            if seam {
                if let Some(raw) = state.staging.get_mut(&size).and_then(Vec::pop) {
                    return Ok(staging(raw));
                }
            }
            seam
        };
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        self.try_twice(seam, bytes, trim, || self.raw(size, usage))
            .map(staging)
    }

    /// Takes a mapped staging buffer back.
    pub fn recycle(&self, staging: Staging) {
        if staging.size <= KEPT_STAGING {
            staging.raw.unmap();
            let mut state = self.state();
            state
                .staging
                .entry(staging.size)
                .or_default()
                .push(staging.raw);
        }
    }

    /// The one way memory is asked for: once, and again after `trim`, unless the test seam says no.
    fn try_twice<T>(
        &self,
        seam: bool,
        bytes: u64,
        trim: impl Fn(),
        create: impl Fn() -> Option<T>,
    ) -> Result<T> {
        if seam {
            if let Some(made) = create() {
                return Ok(made);
            }
            trim();
            if let Some(made) = create() {
                return Ok(made);
            }
        }
        Err(Error::OutOfMemory {
            requested: bytes,
            in_use: self.state().stats.in_use,
        })
    }

    fn raw(&self, size: u64, usage: wgpu::BufferUsages) -> Option<wgpu::Buffer> {
        guarded(&self.device, || {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        })
        .ok()
    }

    fn take_free(
        self: &Arc<Self>,
        state: &mut State,
        size: u64,
        purpose: Purpose,
    ) -> Option<Arc<Buffer>> {
        let class = state.free.get_mut(&size)?;
        let id = match purpose {
            Purpose::Dispatch => *class.first_key_value()?.0,
            Purpose::Upload { open_batch } => {
                *class.iter().find(|(_, f)| f.last_batch < open_batch)?.0
            }
        };
        let free = class.remove(&id).expect("the key was just found");
        state.stats.in_use += size;
        state.stats.high_water = state.stats.high_water.max(state.stats.in_use);
        Some(Arc::new(Buffer {
            id,
            raw: free.raw,
            size,
            last_batch: AtomicU64::new(free.last_batch),
            pool: Arc::downgrade(self),
        }))
    }

    fn create(self: &Arc<Self>, size: u64) -> Option<Arc<Buffer>> {
        {
            // Counted beforehand, so that two threads cannot pass the budget together.
            let mut state = self.state();
            let pool = state.stats.pool + size;
            if self.budget.is_some_and(|budget| pool > budget) {
                return None;
            }
            state.stats.pool = pool;
        }
        let raw = self.raw(size, self.usage);
        let mut state = self.state();
        let Some(raw) = raw else {
            state.stats.pool -= size;
            return None;
        };
        let id = state.next_id;
        state.next_id += 1;
        state.stats.n_buffers += 1;
        state.stats.in_use += size;
        state.stats.high_water = state.stats.high_water.max(state.stats.in_use);
        Some(Arc::new(Buffer {
            id,
            raw,
            size,
            last_batch: AtomicU64::new(0),
            pool: Arc::downgrade(self),
        }))
    }

    fn release(&self, buffer: &mut Buffer) {
        let mut state = self.state();
        state.stats.in_use -= buffer.size;
        state.free.entry(buffer.size).or_default().insert(
            buffer.id,
            Free {
                raw: buffer.raw.clone(),
                last_batch: buffer.last_batch.load(Ordering::Relaxed),
            },
        );
    }

    /// Gives free buffers back to the driver; returns their numbers.
    pub fn trim(&self) -> Vec<u64> {
        let mut state = self.state();
        state.staging.clear();
        let free = std::mem::take(&mut state.free);
        let mut ids = Vec::new();
        for (size, class) in free {
            state.stats.pool -= size * class.len() as u64;
            state.stats.n_buffers -= class.len();
            ids.extend(class.into_keys());
        }
        ids
    }

    pub fn stats(&self) -> MemoryStats {
        self.state().stats
    }

    pub fn reset_high_water(&self) {
        let mut state = self.state();
        state.stats.high_water = state.stats.in_use;
    }

    /// Test seam: the `nth` allocation from now on fails (1 is the next); `None` ends that.
    pub fn fail_allocation(&self, nth: Option<u64>) {
        let mut state = self.state();
        state.fail_call = nth.map(|n| state.n_calls + n);
    }

    pub fn n_calls(&self) -> u64 {
        self.state().n_calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_stay_within_what_their_content_fits() {
        // 128 MiB less a word, as some drivers say, and a buffer limit between two classes.
        let (limit, binding) = ((1 << 28) + 1000, (1 << 27) - 4);
        assert_eq!(capped_class(100, limit, binding), 256);
        assert_eq!(capped_class(binding - 3, limit, binding), binding);
        assert!(capped_class(binding + 1, limit, binding) > binding);
        assert_eq!(capped_class(limit, limit, binding), limit);
        assert_eq!(capped_class(limit - 1, limit, binding), limit);
    }

    #[test]
    fn size_classes_waste_at_most_a_fifth() {
        for bytes in [
            1u64,
            256,
            257,
            1000,
            4096,
            4097,
            1 << 20,
            (1 << 20) + 1,
            5_000_001,
        ] {
            let class = size_class(bytes);
            assert!(class >= bytes && class % 256 == 0);
            assert!(class - bytes <= bytes / 4 + 256, "{bytes} -> {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
