//! Shapes of at most six axes, held without allocation.

use std::fmt;
use std::ops::Deref;

use crate::error::{Error, Result};

/// Most axes a tensor can have.
pub const MAX_RANK: usize = 6;

/// The lengths of a tensor's axes. Reads as a slice: `shape[0]`, `shape.len()`, `shape.iter()`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    pub const SCALAR: Shape = Shape {
        rank: 0,
        dims: [1; MAX_RANK],
    };

    /// Errors: [`Error::Rank`] for more than [`MAX_RANK`] axes, [`Error::Limit`] for more elements than kernels count.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(Error::rank(
                "shape",
                format!("{dims:?} has {} axes, at most {MAX_RANK}", dims.len()),
            ));
        }
        // Axes of length 0 count as 1, so that strides fit as well.
        let elements = dims
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul((*d).max(1)))
            .unwrap_or(usize::MAX);
        check_count(elements)?;
        Ok(Self::of(dims))
    }

    /// A shape known to fit.
    pub(crate) fn of(dims: &[usize]) -> Self {
        let mut out = Shape::SCALAR;
        out.rank = dims.len() as u8;
        out.dims[..dims.len()].copy_from_slice(dims);
        out
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        // Three shapes that broadcast can pass 2⁶⁴; whoever makes a tensor of that is told.
        self.iter().fold(1, |n: usize, d| n.saturating_mul(*d))
    }

    /// The shape both broadcast to, by NumPy's rule: align at the right, an axis of length 1 stretches.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.len().max(other.len());
        let mut out = Shape::of(&[1; MAX_RANK][..rank]);
        for i in 0..rank {
            let a = self.from_right(i);
            let b = other.from_right(i);
            out.dims[rank - 1 - i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(out)
    }

    /// Length of the axis that is `i` from the right; 1 beyond the left end.
    fn from_right(&self, i: usize) -> usize {
        if i < self.len() {
            self[self.len() - 1 - i]
        } else {
            1
        }
    }

    /// The shape with one axis changed.
    pub(crate) fn with(&self, axis: usize, length: usize) -> Shape {
        let mut out = *self;
        out.dims[axis] = length;
        out
    }

    /// An axis counted from the left, or from the right if negative.
    pub(crate) fn axis(&self, op: &'static str, axis: i64) -> Result<usize> {
        let rank = self.len() as i64;
        let index = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&index) {
            Ok(index as usize)
        } else {
            Err(Error::attribute(
                op,
                format!("axis {axis} of a tensor of rank {rank}, {self:?}"),
            ))
        }
    }
}

/// Errors: [`Error::Limit`] for more elements than kernels, which count in `u32`, can see; views take no memory, so
/// the size of buffers does not say so.
pub(crate) fn check_count(elements: usize) -> Result<()> {
    match u32::try_from(elements) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Limit {
            what: "elements of one tensor",
            requested: elements as u64,
            limit: u64::from(u32::MAX),
        }),
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What can be given where a shape is asked for: `[2, 3]`, a slice, a `Vec`, a [`Shape`].
pub trait IntoShape {
    fn into_shape(self) -> Result<Shape>;
}

impl IntoShape for Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(self)
    }
}

impl IntoShape for &Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(*self)
    }
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_is_numpys() {
        let s = |d: &[usize]| Shape::of(d);
        assert_eq!(s(&[2, 1, 3]).broadcast(&s(&[4, 1])), Some(s(&[2, 4, 3])));
        assert_eq!(s(&[]).broadcast(&s(&[0])), Some(s(&[0])));
        assert_eq!(s(&[1]).broadcast(&s(&[0])), Some(s(&[0])));
        assert_eq!(s(&[2]).broadcast(&s(&[3])), None);
        assert_eq!(s(&[0]).broadcast(&s(&[2])), None);
    }

    #[test]
    fn too_many_axes_and_overflow_are_errors() {
        assert!(matches!([1; 7].into_shape(), Err(Error::Rank { .. })));
        assert!(matches!(
            [usize::MAX, 2].into_shape(),
            Err(Error::Limit { .. })
        ));
        assert!([1 << 16, (1 << 16) - 1].into_shape().is_ok());
        assert!(matches!(
            [1 << 16, 1 << 16, 0].into_shape(),
            Err(Error::Limit { .. })
        ));
    }
}
