//! Numbers from and to the host.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::gpu::reader::Readback;
use crate::tensor::{DType, Element, Frame, GUARD_WORDS, IntoShape, Layout, Tensor};

impl Tensor {
    /// Copies numbers to the device.
    ///
    /// Shapes: as many elements as `shape` says. Errors: [`Error::Shape`] if they differ in number, [`Error::Limit`],
    /// [`Error::OutOfMemory`].
    pub fn from_slice<T: Element>(
        device: &Device,
        data: &[T],
        shape: impl IntoShape,
    ) -> Result<Self> {
        Self::from_bytes(device, T::DTYPE, bytemuck::cast_slice(data), shape)
    }

    /// As [`from_slice`](Self::from_slice), from little-endian bytes.
    pub(crate) fn from_bytes(
        device: &Device,
        dtype: DType,
        bytes: &[u8],
        shape: impl IntoShape,
    ) -> Result<Self> {
        let shape = shape.into_shape()?;
        if shape.numel() * dtype.size() != bytes.len() {
            return Err(Error::shape(
                "from_slice",
                format!(
                    "{} elements given, shape {shape:?} has {}",
                    bytes.len() / dtype.size(),
                    shape.numel()
                ),
            ));
        }
        if !device.mode().guard {
            let buffer = device.upload(bytes)?;
            return Ok(Self::ready(
                device,
                dtype,
                Layout::contiguous(shape, 0),
                buffer,
            ));
        }
        let frame = Frame::new(device).words();
        let mut framed: Vec<u8> = bytemuck::cast_slice(&frame).to_vec();
        framed.extend_from_slice(bytes);
        framed.resize(framed.len().next_multiple_of(4), 0);
        framed.extend_from_slice(bytemuck::cast_slice(&frame));
        let buffer = device.upload(&framed)?;
        let layout = Layout::contiguous(shape, GUARD_WORDS * 4 / dtype.size());
        Ok(Self::ready(device, dtype, layout, buffer))
    }

    /// One number as a tensor of rank 0.
    pub fn scalar<T: Element>(device: &Device, number: T) -> Result<Self> {
        Self::from_slice(device, &[number], [])
    }

    /// A tensor of one repeated number. It takes the memory of that number: every stride is 0.
    pub fn full<T: Element>(device: &Device, number: T, shape: impl IntoShape) -> Result<Self> {
        let shape = shape.into_shape()?;
        let scalar = Self::scalar(device, number)?;
        let layout = scalar.layout().broadcast_to(shape);
        Ok(scalar.view(layout))
    }

    /// The numbers in row-major order; blocks until the device has them.
    ///
    /// Errors: [`Error::Dtype`] if `T` is not the tensor's type; [`Error::DeviceLost`].
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let range = self.byte_range::<T>()?;
        let buffer = self.buffer()?;
        if range.1 == 0 {
            return Ok(Vec::new());
        }
        let words = self.device().read(&buffer, range.0, range.1)?;
        Ok(gather(words, self.layout(), range.0))
    }

    /// As [`to_vec`](Self::to_vec), without blocking this thread: the work is submitted now, and a helper thread of
    /// the device completes the future.
    pub fn to_vec_async<T: Element>(&self) -> Result<TensorReadback<T>> {
        let range = self.byte_range::<T>()?;
        let buffer = self.buffer()?;
        let (offset, size) = range;
        Ok(TensorReadback {
            words: match size {
                0 => Readback::of(Vec::new()),
                _ => self.device().read_async(&buffer, offset, size)?,
            },
            layout: *self.layout(),
            offset,
            element: PhantomData,
        })
    }

    /// The number of a tensor that has one element.
    ///
    /// Errors: [`Error::Shape`] if it has more or none.
    pub fn item<T: Element>(&self) -> Result<T> {
        if self.numel() != 1 {
            return Err(Error::shape(
                "item",
                format!(
                    "{:?} has {} elements, expected 1",
                    self.shape(),
                    self.numel()
                ),
            ));
        }
        Ok(self.to_vec()?[0])
    }

    /// Offset and size of the bytes that hold the elements, both widened to whole words.
    fn byte_range<T: Element>(&self) -> Result<(u64, u64)> {
        if T::DTYPE != self.dtype() {
            return Err(Error::dtype(
                "to_vec",
                format!("the tensor holds {}, asked for {}", self.dtype(), T::DTYPE),
            ));
        }
        let size = self.dtype().size();
        let start = (self.layout().offset * size) as u64;
        let end = start + (self.layout().span() * size) as u64;
        let aligned = start / 4 * 4;
        Ok((aligned, end.next_multiple_of(4) - aligned))
    }
}

/// The elements of `layout` from the words of its buffer that start at byte `offset`.
fn gather<T: Element>(words: Vec<u32>, layout: &Layout, offset: u64) -> Vec<T> {
    let first = offset as usize / T::DTYPE.size();
    let n = layout.shape.numel();
    if !layout.is_contiguous() {
        let elements: &[T] = bytemuck::cast_slice(&words);
        return layout.indices().map(|i| elements[i - first]).collect();
    }
    let start = if n == 0 { 0 } else { layout.offset - first };
    match bytemuck::try_cast_vec::<u32, T>(words) {
        // The common case costs no copy.
        Ok(elements) if start == 0 && elements.len() == n => elements,
        Ok(elements) => elements[start..start + n].to_vec(),
        // Two halves share a word.
        Err((_, words)) => bytemuck::cast_slice::<u32, T>(&words)[start..start + n].to_vec(),
    }
}

/// Numbers on their way from the device. Await it, or [`wait`](Self::wait), now or several steps later.
pub struct TensorReadback<T> {
    words: Readback,
    layout: Layout,
    offset: u64,
    element: PhantomData<fn() -> T>,
}

impl<T: Element> TensorReadback<T> {
    /// Blocks until the numbers are here.
    pub fn wait(self) -> Result<Vec<T>> {
        Ok(gather(self.words.wait()?, &self.layout, self.offset))
    }
}

impl<T: Element> Future for TensorReadback<T> {
    type Output = Result<Vec<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let words = ready!(Pin::new(&mut self.words).poll(context))?;
        Poll::Ready(Ok(gather(words, &self.layout, self.offset)))
    }
}
