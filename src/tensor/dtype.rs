//! Element types.

use std::fmt;

use crate::gpu::shader::Elem;

/// Type of the elements of a tensor. `F16` stores; arithmetic is done in `F32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    F32,
    F16,
    I32,
    U32,
}

impl DType {
    pub const ALL: [DType; 4] = [DType::F32, DType::F16, DType::I32, DType::U32];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16)
    }

    /// Name in messages and JSON: `f32`, `f16`, `i32`, `u32`.
    pub fn name(self) -> &'static str {
        self.elem().wgsl()
    }

    /// What kernels of this storage type are compiled for.
    pub fn elem(self) -> Elem {
        match self {
            DType::F32 => Elem::F32,
            DType::F16 => Elem::F16,
            DType::I32 => Elem::I32,
            DType::U32 => Elem::U32,
        }
    }

    /// Half the distance from 1 to the next number; 0 for integers.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            DType::F32 => (-24f64).exp2(),
            DType::F16 => (-11f64).exp2(),
            DType::I32 | DType::U32 => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that a tensor can hold.
pub trait Element: bytemuck::Pod + Send + Sync + 'static {
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for i32 {
    const DTYPE: DType = DType::I32;
}

impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
