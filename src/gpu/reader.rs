//! Readback: copies into staging buffers, and the helper thread that completes what nobody blocks for.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};
use crate::gpu::device::{Device, Shared};
use crate::gpu::memory::{Buffer, Staging};

/// The helper thread of a device: waits for submissions, copies what was read, wakes who asked.
///
/// All of this happens here and not in wgpu's callbacks, which run on any thread that submits or waits, ours with the
/// stream locked: a waker may record on the device, and a copy takes its time.
pub(crate) struct Poller {
    send: Sender<Job>,
}

struct Job {
    index: wgpu::SubmissionIndex,
    staging: Staging,
    mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
    slot: Arc<Slot>,
}

impl Poller {
    fn start(device: wgpu::Device, shared: Weak<Shared>) -> std::io::Result<Self> {
        let (send, receive) = channel::<Job>();
        std::thread::Builder::new()
            .name("affekt-readback".to_string())
            .spawn(move || {
                // Ends when the device is dropped and takes its sender with it.
                for job in receive {
                    complete(&device, &shared, job);
                }
            })?;
        Ok(Poller { send })
    }
}

fn complete(device: &wgpu::Device, shared: &Weak<Shared>, job: Job) {
    let polled = device.poll(wgpu::PollType::Wait {
        submission_index: Some(job.index),
        timeout: None,
    });
    // After a wait that succeeded, the callback has run or runs on another thread; after one that failed it may never.
    let mapped = match polled {
        Ok(_) => job.mapped.recv().ok(),
        Err(_) => job.mapped.try_recv().ok(),
    };
    let shared = shared.upgrade();
    let words = match mapped {
        Some(Ok(())) => job.staging.words().inspect(|_| {
            if let Some(shared) = &shared {
                shared.pool.recycle(job.staging);
            }
        }),
        _ => Err("its buffer could not be mapped".to_string()),
    };
    let done = words.map_err(|message| {
        let reason = format!("a readback failed: {message}");
        match &shared {
            Some(shared) => shared.lost_error(&reason),
            None => Error::DeviceLost { reason },
        }
    });
    let waker = {
        let mut state = job.slot.state();
        state.done = Some(done);
        state.waker.take()
    };
    job.slot.arrived.notify_all();
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    arrived: Condvar,
}

#[derive(Default)]
struct SlotState {
    done: Option<Result<Vec<u32>>>,
    waker: Option<Waker>,
}

impl Slot {
    fn state(&self) -> std::sync::MutexGuard<'_, SlotState> {
        self.state.lock().expect("a slot is never poisoned")
    }
}

/// Words on their way from the device. Await it, or [`wait`](Self::wait) for it.
pub struct Readback {
    slot: Arc<Slot>,
}

impl Readback {
    /// Words that need no way.
    pub(crate) fn of(words: Vec<u32>) -> Self {
        let slot: Arc<Slot> = Arc::default();
        slot.state().done = Some(Ok(words));
        Readback { slot }
    }

    /// Blocks until the words are here.
    pub(crate) fn wait(self) -> Result<Vec<u32>> {
        let mut state = self.slot.state();
        loop {
            if let Some(done) = state.done.take() {
                return done;
            }
            state = self
                .slot
                .arrived
                .wait(state)
                .expect("a slot is never poisoned");
        }
    }
}

impl Future for Readback {
    type Output = Result<Vec<u32>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state();
        match state.done.take() {
            Some(done) => Poll::Ready(done),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Device {
    /// Blocks until `size` bytes at `offset` are here. Both are multiples of 4.
    pub(crate) fn read(&self, buffer: &Arc<Buffer>, offset: u64, size: u64) -> Result<Vec<u32>> {
        let (staging, index) = self.copy_out(buffer, offset, size)?;
        self.shared().fetch(staging, index)
    }

    /// Starts reading `size` bytes at `offset`; the work recorded so far is submitted.
    pub(crate) fn read_async(
        &self,
        buffer: &Arc<Buffer>,
        offset: u64,
        size: u64,
    ) -> Result<Readback> {
        let shared = self.shared();
        let (staging, index) = self.copy_out(buffer, offset, size)?;
        let slot: Arc<Slot> = Arc::default();
        let mapped = staging.map();
        let mut poller = shared.poller.lock().expect("starting a thread ends");
        if poller.is_none() {
            let started = Poller::start(shared.device.clone(), self.downgrade());
            *poller = Some(started.map_err(|e| Error::Unsupported {
                what: format!("thread to spare for asynchronous readback ({e})"),
                adapter: shared.adapter.name.clone(),
            })?);
        }
        let job = Job {
            index,
            staging,
            mapped,
            slot: slot.clone(),
        };
        if let Some(poller) = &*poller {
            poller
                .send
                .send(job)
                .expect("the helper thread outlives its sender");
        }
        Ok(Readback { slot })
    }

    fn copy_out(
        &self,
        buffer: &Arc<Buffer>,
        offset: u64,
        size: u64,
    ) -> Result<(Staging, wgpu::SubmissionIndex)> {
        let shared = self.shared();
        shared.check_lost()?;
        let staging = shared.pool.staging(size, || self.make_room())?;
        let index = self.on_stream(|stream| stream.read(shared, buffer, offset, &staging))?;
        Ok((staging, index))
    }
}

impl Shared {
    /// Waits until `index` is done and takes the content of `staging`, which it has filled.
    pub fn fetch(&self, staging: Staging, index: wgpu::SubmissionIndex) -> Result<Vec<u32>> {
        let mapped = staging.map();
        self.wait(index)?;
        // The callback runs on whichever thread saw the submission end, and that may be another one than this: it is
        // waited for, since its absence says nothing yet.
        let words = match mapped.recv() {
            Ok(Ok(())) => staging.words(),
            _ => Err("a buffer could not be mapped".to_string()),
        };
        let words = words.map_err(|reason| self.lost_error(&reason))?;
        self.pool.recycle(staging);
        Ok(words)
    }
}
