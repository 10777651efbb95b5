//! Time on the device by timestamp queries.

use crate::error::{Error, Result};
use crate::gpu::device::{Device, guarded};

impl Device {
    /// Runs `work` and returns the nanoseconds the device spent on the dispatches it recorded.
    ///
    /// What was recorded before is submitted first. Work of more than one batch (64 dispatches), or that reads back, is
    /// timed from the start of its first pass to the end of its last, gaps between submissions included.
    /// Errors: [`Error::Unsupported`] if the device has no timestamps; whatever `work` returns.
    pub fn time_on_device(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let shared = self.shared();
        if !shared.caps.timestamps {
            return Err(Error::Unsupported {
                what: "timestamp queries".to_string(),
                adapter: shared.adapter.name.clone(),
            });
        }
        self.flush()?;
        let (queries, resolved) = guarded(&shared.device, || {
            let queries = shared.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            });
            let resolved = shared.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 16,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            (queries, resolved)
        })
        .map_err(|e| shared.refused(e, 16))?;
        let staging = shared.pool.staging(16, || self.make_room())?;
        let first = {
            let mut stream = self.stream();
            stream.timed_pass(shared, &queries, [Some(0), Some(1)]);
            stream.open_batch()
        };
        let worked = work();
        let index = self.on_stream(|stream| {
            if stream.open_batch() != first {
                // The first pass ended with its batch. An empty one at the end tells the time when all is done.
                stream.timed_pass(shared, &queries, [None, Some(1)]);
            }
            let encoder = stream.encoder(shared);
            encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging.raw, 0, 16);
            Ok(stream.submit(shared)?.expect("a copy was just recorded"))
        })?;
        worked?;
        let words = shared.fetch(staging, index)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&words);
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(shared.caps.timestamp_period_ns))
    }
}
