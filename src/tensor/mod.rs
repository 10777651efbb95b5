//! Tensors: shared storage, a layout over it, a dtype. Knows no operator.
//!
//! A [`Tensor`]'s value is either in a buffer or pending: an expression that `fuse` turns into a kernel when somebody
//! needs the numbers. Storage is written once; nothing overwrites a buffer that a tensor can still read.

mod dtype;
pub mod file;
mod host;
mod layout;
mod shape;

use std::any::Any;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use dtype::{DType, Element};
pub use host::TensorReadback;
pub use layout::Layout;
pub(crate) use shape::check_count;
pub use shape::{IntoShape, MAX_RANK, Shape};

use crate::error::Result;
use crate::gpu::{Buffer, Device, RawBuffer};

/// An expression whose numbers nobody has needed yet.
pub(crate) trait Pending: Send + Sync {
    /// Computes the value and puts it into `value` with [`Value::set`].
    fn materialise(&self, value: &Arc<Value>, device: &Device) -> Result<()>;
    fn as_any(&self) -> &dyn Any;
}

/// What a tape records of an operator; see `tape`.
pub(crate) trait Node: Send + Sync {
    /// Nodes are walked backward in descending order of this.
    fn order(&self) -> u64;
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

enum State {
    Pending(Arc<dyn Pending>),
    Ready(Arc<Buffer>),
}

/// The numbers behind one or more tensors.
pub(crate) struct Value {
    id: u64,
    state: Mutex<State>,
}

impl Value {
    fn new(state: State) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Value {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while a value is locked")
    }

    /// A number of its own in this process; never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn pending(&self) -> Option<Arc<dyn Pending>> {
        match &*self.state() {
            State::Pending(p) => Some(p.clone()),
            State::Ready(_) => None,
        }
    }

    pub fn ready(&self) -> Option<Arc<Buffer>> {
        match &*self.state() {
            State::Pending(_) => None,
            State::Ready(b) => Some(b.clone()),
        }
    }

    /// Ends the pending state. Of two threads that computed the same value the first one's buffer stays.
    pub fn set(&self, buffer: Arc<Buffer>) {
        let previous = {
            let mut state = self.state();
            match &*state {
                State::Pending(_) => Some(std::mem::replace(&mut *state, State::Ready(buffer))),
                State::Ready(_) => None,
            }
        };
        // Dropped outside of the lock: an expression can own a long chain of others.
        drop(previous);
    }
}

/// Guard words on each side of a buffer in check mode.
pub(crate) const GUARD_WORDS: usize = 64;
/// What unwritten elements hold: a NaN as `f32` and as each `f16` half, an odd number as an integer.
const POISON: u32 = 0x7fc0_7fc1;

/// Words before and behind the content of a buffer in check mode.
///
/// No two buffers have the same ones: a kernel that runs over the ends of input and output alike reads NaN and stores
/// what its arithmetic makes of it, which is often the same NaN.
pub(crate) struct Frame(u32);

impl Frame {
    /// A frame unlike those of the last thousand buffers.
    pub fn new(device: &Device) -> Self {
        let log = device.extension(GuardLog::default);
        Frame(log.n_frames.fetch_add(1, Ordering::Relaxed))
    }

    /// The words of one side; a NaN each, as `f32` and as halves.
    pub fn words(&self) -> [u32; GUARD_WORDS] {
        std::array::from_fn(|k| 0x7fc0_7c01 + (self.0.wrapping_mul(31) + 7 * k as u32) % 0x3fe)
    }
}

/// A buffer that was allocated in check mode.
#[cfg_attr(
    not(feature = "check"),
    expect(dead_code, reason = "only check inspects the frames")
)]
pub(crate) struct Guarded {
    pub buffer: Arc<Buffer>,
    /// Bytes of its content.
    pub bytes: usize,
    pub frame: Frame,
}

/// Buffers allocated in check mode, for whoever inspects their frames.
#[derive(Default)]
pub(crate) struct GuardLog {
    pub buffers: Mutex<Vec<Guarded>>,
    n_frames: AtomicU32,
}

/// A dense array on a device: at most [`MAX_RANK`] axes, strided views, NumPy's broadcasting.
///
/// Cloning is cheap and shares the storage. Comparisons are by [`Tensor::to_vec`]; there is no `==`.
#[derive(Clone)]
pub struct Tensor {
    device: Device,
    dtype: DType,
    layout: Layout,
    value: Arc<Value>,
    node: Option<Arc<dyn Node>>,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape())
    }
}

impl Tensor {
    /// A contiguous tensor over a fresh buffer that a kernel is about to fill. Its numbers are whatever was there.
    ///
    /// Errors: [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn empty(device: &Device, dtype: DType, shape: Shape) -> Result<Self> {
        let (buffer, layout) = allocate(device, dtype, shape)?;
        Ok(Self::ready(device, dtype, layout, buffer))
    }

    pub(crate) fn ready(
        device: &Device,
        dtype: DType,
        layout: Layout,
        buffer: Arc<Buffer>,
    ) -> Self {
        Tensor {
            device: device.clone(),
            dtype,
            layout,
            value: Value::new(State::Ready(buffer)),
            node: None,
        }
    }

    /// A tensor whose numbers an expression gives.
    pub(crate) fn pending(
        device: &Device,
        dtype: DType,
        shape: Shape,
        pending: Arc<dyn Pending>,
    ) -> Self {
        Tensor {
            device: device.clone(),
            dtype,
            layout: Layout::contiguous(shape, guard_elements(device, dtype)),
            value: Value::new(State::Pending(pending)),
            node: None,
        }
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// Number of elements; 1 for a scalar, 0 if an axis is empty.
    pub fn numel(&self) -> usize {
        self.layout.shape.numel()
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The length of an axis.
    pub(crate) fn dim(&self, axis: usize) -> usize {
        self.layout.shape[axis]
    }

    pub(crate) fn value(&self) -> &Arc<Value> {
        &self.value
    }

    pub(crate) fn node(&self) -> Option<&Arc<dyn Node>> {
        self.node.as_ref()
    }

    pub(crate) fn with_node(mut self, node: Option<Arc<dyn Node>>) -> Self {
        self.node = node;
        self
    }

    pub(crate) fn into_node(self) -> Option<Arc<dyn Node>> {
        self.node
    }

    /// Shape, dtype and history without the numbers: what a tape keeps of an operator's input.
    pub(crate) fn shell(&self) -> Self {
        static NOTHING: std::sync::OnceLock<Arc<Value>> = std::sync::OnceLock::new();
        struct Nothing;
        impl Pending for Nothing {
            fn materialise(&self, _: &Arc<Value>, _: &Device) -> Result<()> {
                unreachable!("a shell is never read")
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }
        Tensor {
            value: NOTHING
                .get_or_init(|| Value::new(State::Pending(Arc::new(Nothing))))
                .clone(),
            ..self.clone()
        }
    }

    /// The same numbers without their history.
    pub fn detach(&self) -> Self {
        self.clone().with_node(None)
    }

    /// The same storage seen through another layout, without history.
    pub(crate) fn view(&self, layout: Layout) -> Self {
        Tensor {
            layout,
            ..self.detach()
        }
    }

    /// The buffer; computes a pending value.
    pub(crate) fn buffer(&self) -> Result<Arc<Buffer>> {
        if let Some(buffer) = self.value.ready() {
            return Ok(buffer);
        }
        if let Some(pending) = self.value.pending() {
            pending.materialise(&self.value, &self.device)?;
        }
        Ok(self
            .value
            .ready()
            .expect("materialise sets the value or fails"))
    }

    /// Computes the numbers if they are pending, without waiting for the device.
    pub fn force(&self) -> Result<()> {
        self.buffer().map(drop)
    }

    /// Hands the storage to code outside of this crate: flushes, and pins the buffer as long as the guard lives.
    ///
    /// The offset counts bytes; elements lie in the order of [`Tensor::layout`].
    pub fn export(&self) -> Result<Exported> {
        let buffer = self.buffer()?;
        self.device.flush()?;
        Ok(Exported {
            offset: (self.layout.offset * self.dtype.size()) as u64,
            size: (self.layout.span() * self.dtype.size()) as u64,
            buffer,
        })
    }
}

/// A pinned buffer of a tensor, for an app's own render or compute passes on the same device.
pub struct Exported {
    buffer: Arc<Buffer>,
    /// Bytes from the start of the buffer to the first element.
    pub offset: u64,
    /// Bytes from the first element to the end of the last.
    pub size: u64,
}

impl Exported {
    pub fn buffer(&self) -> &RawBuffer {
        self.buffer.wgpu()
    }
}

fn guard_elements(device: &Device, dtype: DType) -> usize {
    if device.mode().guard {
        GUARD_WORDS * 4 / dtype.size()
    } else {
        0
    }
}

/// A buffer for a contiguous tensor, poisoned and framed in check mode.
pub(crate) fn allocate(
    device: &Device,
    dtype: DType,
    shape: Shape,
) -> Result<(Arc<Buffer>, Layout)> {
    check_count(shape.numel())?;
    let bytes = shape.numel() * dtype.size();
    let guard = guard_elements(device, dtype);
    let layout = Layout::contiguous(shape, guard);
    if guard == 0 {
        return Ok((device.allocate(bytes as u64)?, layout));
    }
    let frame = Frame::new(device);
    let content = vec![POISON; bytes.div_ceil(4)];
    let words = [&frame.words()[..], &content, &frame.words()].concat();
    let buffer = device.upload(bytemuck::cast_slice(&words))?;
    device
        .extension(GuardLog::default)
        .buffers
        .lock()
        .expect("the log is never poisoned")
        .push(Guarded {
            buffer: buffer.clone(),
            bytes,
            frame,
        });
    Ok((buffer, layout))
}
