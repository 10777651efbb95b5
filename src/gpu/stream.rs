//! The stream of work: recording into one open compute pass, submission in batches, upload and readback.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::device::{Device, Shared, guarded};
use crate::gpu::dispatch::Binding;
use crate::gpu::memory::{Buffer, Staging};
use crate::gpu::pipeline::{MAX_PARAMS, Pipeline};

/// Dispatches recorded before a batch is submitted. One per submission costs 60 to 115 µs each on lavapipe, 64 cost
/// 26 to 36, and beyond that nothing is gained.
pub(crate) const BATCH: u32 = 64;
/// Bytes of `params` a batch can hold.
const ARENA: usize = 64 << 10;
/// Submissions that may wait on the device before recording waits for the oldest.
const MAX_IN_FLIGHT: usize = 16;
/// Bind groups kept. A training step uses a few hundred; beyond the cap all are dropped and made anew.
const MAX_BIND_GROUPS: usize = 4096;
/// Storage bindings of one kernel at the most.
pub(crate) const MAX_BINDINGS: usize = 16;

#[derive(PartialEq, Eq, Hash, Clone)]
struct BindKey {
    layout: u32,
    buffers: [u64; MAX_BINDINGS],
}

/// What has been recorded and not yet submitted, and what it needs.
pub(crate) struct Stream {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    n_recorded: u32,
    /// Dispatches after which a batch is submitted.
    batch_size: u32,
    params: Vec<u8>,
    arena: wgpu::Buffer,
    arena_group: wgpu::BindGroup,
    align: usize,
    bind_groups: HashMap<BindKey, wgpu::BindGroup>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// Number of the open batch.
    batch: u64,
    stats: StreamStats,
}

/// Counts since the device was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamStats {
    pub n_dispatches: u64,
    pub n_submissions: u64,
    /// Sizes of all buffers that dispatches were given, added up: what they move at the most, if none reads twice.
    pub bytes_bound: u64,
}

impl Device {
    /// Works on the stream, and then waits until the device is not too far behind: without the lock, so that other
    /// threads go on recording, and so that a waker that is called meanwhile may record too.
    pub(crate) fn on_stream<R>(&self, work: impl FnOnce(&mut Stream) -> Result<R>) -> Result<R> {
        let (out, backlog) = {
            let mut stream = self.stream();
            (work(&mut stream), stream.backlog())
        };
        if let Some(oldest) = backlog {
            self.shared().wait(oldest)?;
        }
        out
    }
}

impl Stream {
    pub fn new(device: &wgpu::Device, params_layout: &wgpu::BindGroupLayout) -> Self {
        let arena = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: (ARENA + MAX_PARAMS as usize) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let arena_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("params"),
            layout: params_layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &arena,
                    offset: 0,
                    size: wgpu::BufferSize::new(u64::from(MAX_PARAMS)),
                }),
            }],
        });
        Stream {
            encoder: None,
            pass: None,
            n_recorded: 0,
            batch_size: BATCH,
            params: Vec::with_capacity(ARENA),
            arena,
            arena_group,
            align: device.limits().min_uniform_buffer_offset_alignment as usize,
            bind_groups: HashMap::new(),
            in_flight: VecDeque::new(),
            batch: 1,
            stats: StreamStats::default(),
        }
    }

    pub fn open_batch(&self) -> u64 {
        self.batch
    }

    pub fn stats(&self) -> StreamStats {
        self.stats
    }

    /// Submits after so many dispatches from now on, instead of after [`BATCH`].
    #[cfg(feature = "bench")]
    pub fn set_batch_size(&mut self, n: u32) {
        self.batch_size = n;
    }

    pub fn n_bind_groups(&self) -> usize {
        self.bind_groups.len()
    }

    /// Drops the bind groups that name a buffer given back to the driver.
    pub fn forget_buffers(&mut self, ids: &[u64]) {
        if !ids.is_empty() {
            // Buffer numbers start at 0 and unused slots hold u64::MAX, so a slot never matches by accident.
            let ids: std::collections::HashSet<u64> = ids.iter().copied().collect();
            self.bind_groups
                .retain(|key, _| !key.buffers.iter().any(|b| ids.contains(b)));
        }
    }

    /// Records one dispatch.
    pub fn record(
        &mut self,
        shared: &Shared,
        pipeline: &Pipeline,
        bindings: &[Binding],
        params: &[u8],
        groups: [u32; 3],
    ) -> Result<()> {
        debug_assert_eq!(
            bindings.len(),
            pipeline.layout.writes.len(),
            "{}",
            pipeline.name
        );
        debug_assert_eq!(
            params.len(),
            pipeline.params_size as usize,
            "{}",
            pipeline.name
        );
        if self.params.len() + params.len() > ARENA {
            self.submit(shared)?;
        }
        let offset = self.params.len();
        self.params.extend_from_slice(params);
        self.params
            .resize(self.params.len().next_multiple_of(self.align), 0);

        let group = self.bind_group(shared, pipeline, bindings)?;
        for binding in bindings {
            binding.buffer.mark_used(self.batch);
            self.stats.bytes_bound += binding.range.map_or(binding.buffer.size, |r| r.1);
        }
        let arena_group = &self.arena_group;
        let pass = self.pass.get_or_insert_with(|| {
            self.encoder
                .get_or_insert_with(|| shared.device.create_command_encoder(&Default::default()))
                .begin_compute_pass(&Default::default())
                .forget_lifetime()
        });
        pass.set_pipeline(&pipeline.raw);
        pass.set_bind_group(0, &group, &[]);
        pass.set_bind_group(1, arena_group, &[offset as u32]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        self.n_recorded += 1;
        self.stats.n_dispatches += 1;
        if self.n_recorded >= self.batch_size {
            self.submit(shared)?;
        }
        Ok(())
    }

    fn bind_group(
        &mut self,
        shared: &Shared,
        pipeline: &Pipeline,
        bindings: &[Binding],
    ) -> Result<wgpu::BindGroup> {
        let mut key = BindKey {
            layout: pipeline.layout.id,
            buffers: [u64::MAX; MAX_BINDINGS],
        };
        let mut whole = true;
        for (slot, binding) in key.buffers.iter_mut().zip(bindings) {
            *slot = binding.buffer.id;
            whole &= binding.range.is_none();
        }
        if whole {
            if let Some(group) = self.bind_groups.get(&key) {
                return Ok(group.clone());
            }
        }
        for binding in bindings {
            let size = binding.range.map_or(binding.buffer.size, |r| r.1);
            if size > shared.caps.max_binding_bytes {
                return Err(Error::Limit {
                    what: "bytes bound to one kernel argument",
                    requested: size,
                    limit: shared.caps.max_binding_bytes,
                });
            }
        }
        let entries: Vec<_> = bindings
            .iter()
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &b.buffer.raw,
                    offset: b.range.map_or(0, |r| r.0),
                    size: b.range.and_then(|r| wgpu::BufferSize::new(r.1)),
                }),
            })
            .collect();
        let group = guarded(&shared.device, || {
            shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.layout.raw,
                entries: &entries,
            })
        })
        .map_err(|e| shared.refused(e, 0))?;
        if whole {
            if self.bind_groups.len() >= MAX_BIND_GROUPS {
                self.bind_groups.clear();
            }
            self.bind_groups.insert(key, group.clone());
        }
        Ok(group)
    }

    /// Ends the open pass, so that copies and timestamps can be recorded; the next dispatch opens another.
    pub fn encoder(&mut self, shared: &Shared) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
            .get_or_insert_with(|| shared.device.create_command_encoder(&Default::default()))
    }

    /// Opens a pass that writes these timestamps at its two ends; [`encoder`](Self::encoder) ends it.
    pub fn timed_pass(
        &mut self,
        shared: &Shared,
        queries: &wgpu::QuerySet,
        ends: [Option<u32>; 2],
    ) {
        let pass = self
            .encoder(shared)
            .begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: queries,
                    beginning_of_pass_write_index: ends[0],
                    end_of_pass_write_index: ends[1],
                }),
            })
            .forget_lifetime();
        self.pass = Some(pass);
    }

    /// Submits what is recorded. Returns the submission that all work so far belongs to.
    pub fn submit(&mut self, shared: &Shared) -> Result<Option<wgpu::SubmissionIndex>> {
        self.pass = None;
        let Some(encoder) = self.encoder.take() else {
            return Ok(self.in_flight.back().cloned());
        };
        // Lists what went wrong while recording too: wgpu reports that when the encoder is finished.
        let submitted = guarded(&shared.device, || {
            if !self.params.is_empty() {
                shared.queue.write_buffer(&self.arena, 0, &self.params);
            }
            shared.queue.submit([encoder.finish()])
        });
        let written = self.params.len() as u64;
        self.params.clear();
        self.n_recorded = 0;
        self.batch += 1;
        self.stats.n_submissions += 1;
        let index = submitted.map_err(|e| shared.refused(e, written))?;
        self.in_flight.push_back(index.clone());
        Ok(Some(index))
    }

    /// The oldest submission, if more wait on the device than may.
    fn backlog(&mut self) -> Option<wgpu::SubmissionIndex> {
        (self.in_flight.len() > MAX_IN_FLIGHT)
            .then(|| self.in_flight.pop_front())
            .flatten()
    }

    /// Records a copy of part of a buffer into a staging buffer and submits.
    pub fn read(
        &mut self,
        shared: &Shared,
        buffer: &Arc<Buffer>,
        offset: u64,
        staging: &Staging,
    ) -> Result<wgpu::SubmissionIndex> {
        self.encoder(shared).copy_buffer_to_buffer(
            &buffer.raw,
            offset,
            &staging.raw,
            0,
            staging.bytes,
        );
        buffer.mark_used(self.batch);
        Ok(self.submit(shared)?.expect("a copy was just recorded"))
    }
}
