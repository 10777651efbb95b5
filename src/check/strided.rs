//! The same numbers in an awkward place: axes reversed in memory, every second element unused, from the middle of a
//! buffer, with poison between.

use crate::error::Result;
use crate::gpu::Device;
use crate::ops::op::Array;
use crate::ops::probe;
use crate::tensor::{DType, Layout, Shape, Tensor};

pub(super) fn upload(device: &Device, array: &Array, dtype: DType) -> Result<Tensor> {
    let rank = array.shape.len();
    let reversed: Vec<usize> = (0..rank).rev().collect();
    let lengths: Vec<usize> = reversed.iter().map(|&a| array.shape[a]).collect();
    // One more element per axis than the gaps need, so that the view starts inside.
    let wide: Vec<usize> = lengths.iter().map(|n| 2 * n + 1).collect();
    let mut layout = Layout::contiguous(Shape::of(&wide), 0);
    for (axis, &n) in lengths.iter().enumerate() {
        layout = layout.slice(axis, 1, n, 2);
    }
    let layout = layout.permute(&reversed);
    let unused = if dtype.is_float() { f64::NAN } else { 77.0 };
    let mut data = vec![unused; wide.iter().product()];
    for (place, x) in layout.indices().zip(&array.data) {
        data[place] = *x;
    }
    let all = probe::upload(device, &Array::new(Shape::of(&wide), data), dtype)?;
    let mut layout = layout;
    layout.offset += all.layout().offset;
    Ok(all.view(layout))
}

/// The numbers with one axis made constant and stretched by stride 0, as `expand` leaves them. Which axis is up to
/// `turn`; without an axis longer than 1 they stay as they are.
pub(super) fn stretch(
    device: &Device,
    array: &mut Array,
    dtype: DType,
    turn: usize,
) -> Result<Tensor> {
    let long: Vec<usize> = (0..array.shape.len())
        .filter(|&a| array.shape[a] > 1)
        .collect();
    if long.is_empty() || array.data.is_empty() {
        return probe::upload(device, array, dtype);
    }
    let axis = long[turn % long.len()];
    let narrow = Array::from_fn(array.shape.with(axis, 1), |at| array.at(at));
    *array = Array::from_fn(array.shape, |at| {
        let mut place = at.to_vec();
        place[axis] = 0;
        narrow.at(&place)
    });
    let stored = probe::upload(device, &narrow, dtype)?;
    Ok(stored.view(stored.layout().broadcast_to(array.shape)))
}
