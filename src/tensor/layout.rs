//! Where the elements of a tensor lie in its buffer: shape, strides and offset, all counted in elements.

use crate::tensor::shape::{MAX_RANK, Shape};

/// Element `[i, j, …]` lies at `offset + i * strides[0] + j * strides[1] + …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub shape: Shape,
    strides: [usize; MAX_RANK],
    pub offset: usize,
}

impl Layout {
    /// Row-major, without gaps.
    pub fn contiguous(shape: Shape, offset: usize) -> Self {
        let mut strides = [0; MAX_RANK];
        let mut stride = 1;
        for axis in (0..shape.len()).rev() {
            strides[axis] = stride;
            stride *= shape[axis].max(1);
        }
        Layout {
            shape,
            strides,
            offset,
        }
    }

    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.shape.len()]
    }

    /// Whether the elements lie row-major without gaps; the stride of an axis of length 1 does not matter.
    pub fn is_contiguous(&self) -> bool {
        let dense = Layout::contiguous(self.shape, 0);
        self.shape.numel() == 0
            || (0..self.shape.len())
                .all(|a| self.shape[a] == 1 || self.strides[a] == dense.strides[a])
    }

    /// Elements from the first to the last, both included.
    pub fn span(&self) -> usize {
        if self.shape.numel() == 0 {
            return 0;
        }
        1 + self
            .shape
            .iter()
            .zip(self.strides())
            .map(|(n, s)| (n - 1) * s)
            .sum::<usize>()
    }

    /// Axis `i` of the result is axis `axes[i]` of this one; `axes` is a permutation.
    pub(crate) fn permute(&self, axes: &[usize]) -> Self {
        let mut out = *self;
        for (i, &axis) in axes.iter().enumerate() {
            out.shape = out.shape.with(i, self.shape[axis]);
            out.strides[i] = self.strides[axis];
        }
        out
    }

    /// Stretches axes of length 1 by stride 0. `shape` is what the tensor's shape broadcasts to.
    pub(crate) fn broadcast_to(&self, shape: Shape) -> Self {
        let mut out = Layout {
            shape,
            strides: [0; MAX_RANK],
            offset: self.offset,
        };
        let shift = shape.len() - self.shape.len();
        for axis in 0..self.shape.len() {
            if self.shape[axis] == shape[axis + shift] {
                out.strides[axis + shift] = self.strides[axis];
            }
        }
        out
    }

    /// The same elements in the same order as `shape`, if strides can say that.
    pub(crate) fn reshape(&self, shape: Shape) -> Option<Self> {
        debug_assert_eq!(self.shape.numel(), shape.numel());
        if self.is_contiguous() {
            return Some(Layout::contiguous(shape, self.offset));
        }
        // Walks both shapes from the right; a group of old axes that is evenly strided serves a group of new ones.
        let mut out = Layout::contiguous(shape, self.offset);
        let old: Vec<(usize, usize)> = self
            .shape
            .iter()
            .copied()
            .zip(self.strides().iter().copied())
            .filter(|(n, _)| *n != 1)
            .collect();
        let mut new_axis = shape.len();
        let mut old_axis = old.len();
        while old_axis > 0 {
            let mut have = old[old_axis - 1].0;
            let stride = old[old_axis - 1].1;
            old_axis -= 1;
            let mut covered = 1;
            let mut first = new_axis;
            while covered < have {
                first = first.checked_sub(1)?;
                covered *= shape[first];
                while covered > have {
                    let (n, s) = *old.get(old_axis.checked_sub(1)?)?;
                    if s != stride * have {
                        return None;
                    }
                    have *= n;
                    old_axis -= 1;
                }
            }
            let mut step = stride;
            for axis in (first..new_axis).rev() {
                out.strides[axis] = step;
                step *= shape[axis];
            }
            new_axis = first;
        }
        Some(out)
    }

    /// `length` elements of an axis from `start`, every `step`-th.
    pub(crate) fn slice(&self, axis: usize, start: usize, length: usize, step: usize) -> Self {
        let mut out = *self;
        out.shape = self.shape.with(axis, length);
        if length > 0 {
            out.offset += start * self.strides[axis];
        }
        out.strides[axis] *= step;
        out
    }

    /// The layout with an axis of length 1 put before `axis`.
    pub(crate) fn unsqueeze(&self, axis: usize) -> Self {
        let mut dims = self.shape.to_vec();
        dims.insert(axis, 1);
        let mut out = Layout {
            shape: Shape::of(&dims),
            strides: [0; MAX_RANK],
            offset: self.offset,
        };
        let mut strides = self.strides().to_vec();
        strides.insert(axis, 0);
        out.strides[..strides.len()].copy_from_slice(&strides);
        out
    }

    /// Every element's place in the buffer, in row-major order. For hosts and tests.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.shape.numel()).map(move |flat| {
            let mut rest = flat;
            let mut place = self.offset;
            for axis in (0..self.shape.len()).rev() {
                place += rest % self.shape[axis] * self.strides[axis];
                rest /= self.shape[axis];
            }
            place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_of_views_keeps_the_order_or_says_no() {
        let base = Layout::contiguous(Shape::of(&[2, 3, 4]), 5);
        let views = [
            base,
            base.permute(&[1, 0, 2]),
            base.permute(&[2, 1, 0]),
            base.slice(2, 1, 2, 2),
            base.slice(0, 1, 1, 1),
            base.slice(1, 0, 2, 1).permute(&[0, 2, 1]),
            Layout::contiguous(Shape::of(&[3, 1]), 0).broadcast_to(Shape::of(&[2, 3, 4])),
        ];
        let mut served = 0;
        for view in views {
            let n = view.shape.numel();
            for a in 1..=n {
                for b in 1..=n {
                    if n % (a * b) != 0 {
                        continue;
                    }
                    let shape = Shape::of(&[a, b, n / a / b]);
                    if let Some(reshaped) = view.reshape(shape) {
                        served += 1;
                        assert!(
                            reshaped.indices().eq(view.indices()),
                            "{view:?} as {shape:?} gave {reshaped:?}"
                        );
                    }
                }
            }
        }
        assert!(served > 30, "{served}");
    }
}
