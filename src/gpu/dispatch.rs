//! How many workgroups, in which shape, over which part of which buffers.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::memory::Buffer;

/// A buffer as one binding of a dispatch.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub buffer: Arc<Buffer>,
    /// Bytes; the whole buffer unless a tensor larger than one binding is worked through in parts.
    pub range: Option<(u64, u64)>,
}

impl Binding {
    pub fn whole(buffer: &Arc<Buffer>) -> Self {
        Binding {
            buffer: buffer.clone(),
            range: None,
        }
    }
}

/// Folds a linear count of workgroups into x and y, each at most `max_per_axis`.
///
/// The fold is even, so the last row wastes little: 65 536 groups become 32 768 × 2 and not 65 535 × 2.
pub(crate) fn fold(groups: u64, max_per_axis: u32) -> Result<[u32; 3]> {
    let max = u64::from(max_per_axis);
    let rows = groups.div_ceil(max).max(1);
    if rows > max {
        return Err(Error::Limit {
            what: "workgroups in one dispatch",
            requested: groups,
            limit: max * max,
        });
    }
    let cols = groups.div_ceil(rows);
    Ok([cols as u32, rows as u32, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_covers_every_group_and_wastes_less_than_a_row() {
        for groups in [
            0u64, 1, 7, 65_534, 65_535, 65_536, 65_537, 131_071, 10_000_019,
        ] {
            let [x, y, z] = fold(groups, 65_535).unwrap();
            let covered = u64::from(x) * u64::from(y);
            assert!(x <= 65_535 && y <= 65_535 && z == 1);
            assert!(
                covered >= groups && covered < groups + u64::from(y),
                "{groups}"
            );
        }
        assert!(fold(65_535 * 65_535, 65_535).is_ok());
        assert!(matches!(
            fold(65_535 * 65_535 + 1, 65_535),
            Err(Error::Limit { .. })
        ));
    }
}
