//! Numbers made on the host that a device keeps: factors, windows, filters. Knows no formulas.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::Result;
use crate::gpu::{Buffer, Device};
use crate::ops::signal::transform::Table;
use crate::tensor::{DType, IntoShape, Layout, Tensor};

/// What the numbers are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Table(Table),
    /// By the bits of its points.
    Window(Vec<u32>),
    /// By the bits of what a bank of filters is made from, and n_fft.
    Filters([u64; 7], usize),
}

/// A buffer and how it is read. A tensor would keep the device alive that keeps it.
type Held = (Arc<Buffer>, Layout);

#[derive(Default)]
struct Constants(Mutex<State>);

#[derive(Default)]
struct State {
    held: HashMap<Name, Held>,
    bytes: usize,
}

/// When the constants of a device take more than this, all are dropped: whoever sweeps over lengths uses each a few
/// times.
const MOST_BYTES: usize = 32 << 20;

impl Constants {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("looking up and inserting do not panic")
    }
}

/// The constant of that name, made and uploaded the first time.
pub(super) fn constant<S: IntoShape>(
    device: &Device,
    name: Name,
    make: impl FnOnce() -> Result<(Vec<f32>, S)>,
) -> Result<Tensor> {
    let constants = device.extension(Constants::default);
    let known = constants.state().held.get(&name).cloned();
    if let Some((buffer, layout)) = known {
        return Ok(Tensor::ready(device, DType::F32, layout, buffer));
    }
    let (numbers, shape) = make()?;
    let tensor = Tensor::from_slice(device, &numbers, shape)?;
    let held = (tensor.buffer()?, *tensor.layout());
    let mut state = constants.state();
    let bytes = 4 * numbers.len();
    if state.bytes + bytes > MOST_BYTES {
        *state = State::default();
    }
    state.bytes += bytes;
    state.held.insert(name, held);
    Ok(tensor)
}
