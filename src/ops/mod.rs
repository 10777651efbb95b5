//! The operators. One operator, one file; each adds a method to [`Tensor`] and an [`Op`] to its family's list.
//!
//! Adding one: a Rust file here, a WGSL file of the same name below `shaders/` where composition is not enough, and
//! two lines in the family's `mod.rs`. Conformance, gradient checks and bench rows follow.
//!
//! An app's own operator is the same outside of this crate: an [`Op`] (or an [`elementwise::Elementwise`]) whose
//! kernels are picked by [`launch::choose`], recorded by [`launch::dispatch`], and whose gradient is noted by
//! [`tape::record`](crate::tape::record). [`run`] runs it and `check::trials_of` checks it; `tests/harness.rs` has some.

pub mod attention;
pub mod elementwise;
pub mod index;
pub mod launch;
pub mod linalg;
pub mod loss;
pub mod norm;
pub mod op;
pub mod optim;
pub mod plan_table;
pub mod probe;
pub mod random;
pub mod reduce;
pub mod signal;

use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::ops::op::{Attrs, Cost, Meta, Op, Role, check_inputs, same_device};
use crate::tensor::{DType, Tensor};

/// Every operator, by family.
pub fn all() -> impl Iterator<Item = &'static dyn Op> {
    [
        elementwise::OPS,
        reduce::OPS,
        norm::OPS,
        index::OPS,
        linalg::OPS,
        random::OPS,
        loss::OPS,
        optim::OPS,
        signal::OPS,
        attention::OPS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The operator of that name.
///
/// Errors: [`Error::UnknownOp`], with names that look like it.
pub fn find(name: &str) -> Result<&'static dyn Op> {
    all()
        .find(|op| op.signature().name == name)
        .ok_or_else(|| Error::UnknownOp {
            name: name.to_string(),
            similar: all()
                .map(|op| op.signature().name)
                .filter(|n| n.contains(name) || name.contains(n) || distance(n, name) <= 2)
                .collect(),
        })
}

/// Runs an operator by its signature: inputs in order, attributes by name.
///
/// Errors: whatever [`Op::infer`] refuses; [`Error::Attribute`] for unknown attributes.
pub fn run(op: &'static dyn Op, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
    let attrs = attrs.complete(op.signature())?;
    let present: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
    same_device(op.signature().name, &present)?;
    let metas: Vec<Option<Meta>> = inputs.iter().map(|t| t.map(Meta::of)).collect();
    infer(op, &metas, &attrs)?;
    op.run(inputs, &attrs)
}

/// Shapes and dtypes that a call would give, without a device.
///
/// Errors: those of [`run`].
pub fn infer(op: &dyn Op, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
    let attrs = attrs.complete(op.signature())?;
    check_inputs(op.signature(), inputs)?;
    op.infer(inputs, &attrs)
}

/// Work that no implementation of a call, or of its backward pass, can avoid.
///
/// Errors: those of [`run`].
pub fn cost(op: &dyn Op, role: Role, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Cost> {
    let attrs = attrs.complete(op.signature())?;
    let outputs = infer(op, inputs, &attrs)?;
    Ok(match role {
        Role::Forward => op.cost(inputs, &outputs, &attrs),
        Role::Vjp => op.vjp_cost(inputs, &outputs, &attrs),
    })
}

impl Device {
    /// Compiles and verifies the kernels of these operators ahead of their first use.
    ///
    /// Errors: [`Error::UnknownOp`]. A wrong kernel is no error here: its operator falls back, or says so when used.
    pub async fn prepare(&self, ops: &[&'static dyn Op]) -> Result<()> {
        for op in ops {
            launch::prepare(*op, self)?;
        }
        Ok(())
    }
}

impl Tensor {
    /// The same numbers as another dtype; the gradient comes back in this one.
    ///
    /// Edges: floats become integers by cutting off; what an integer type cannot hold is clamped or undefined as the
    /// driver does it. f32 becomes f16 by rounding, beyond 65 504 it is infinite.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let out = crate::fuse::cast(self, dtype)?;
        if !dtype.is_float() {
            return Ok(out);
        }
        let back = self.dtype();
        Ok(crate::tape::record_elementwise(
            "cast",
            &[self],
            out,
            move |dy, sink| sink.add(0, crate::fuse::cast(dy, back)?),
        ))
    }

    /// The same numbers row-major without gaps: a copy only if they are not.
    pub fn contiguous(&self) -> Result<Tensor> {
        let out = crate::fuse::contiguous(self)?;
        Ok(crate::tape::record(
            "contiguous",
            &[self],
            out,
            move |dy, sink| sink.add(0, dy.clone()),
        ))
    }

    /// The same numbers in the same order under another shape.
    ///
    /// Errors: [`Error::Shape`] if the number of elements differs.
    pub fn reshape(&self, shape: impl crate::tensor::IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if shape.numel() != self.numel() {
            return Err(Error::shape(
                "reshape",
                format!(
                    "{:?} has {} elements, {shape:?} has {}",
                    self.shape(),
                    self.numel(),
                    shape.numel()
                ),
            ));
        }
        let out = match self.layout().reshape(shape) {
            Some(layout) => self.view(layout),
            None => {
                let dense = crate::fuse::contiguous(self)?;
                let layout = dense
                    .layout()
                    .reshape(shape)
                    .expect("a contiguous tensor takes any shape");
                dense.view(layout)
            }
        };
        let back = *self.shape();
        Ok(crate::tape::record(
            "reshape",
            &[self],
            out,
            move |dy, sink| sink.add(0, dy.reshape(back)?),
        ))
    }

    /// The tensor stretched to `shape` by NumPy's rule, without copying.
    ///
    /// Errors: [`Error::Shape`] if it does not broadcast to that.
    pub fn expand(&self, shape: impl crate::tensor::IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if self.shape().broadcast(&shape) != Some(shape) {
            return Err(Error::shape(
                "expand",
                format!("{:?} does not broadcast to {shape:?}", self.shape()),
            ));
        }
        let out = self.view(self.layout().broadcast_to(shape));
        let back = *self.shape();
        Ok(crate::tape::record(
            "expand",
            &[self],
            out,
            move |dy, sink| sink.add(0, reduce::sum::sum_to(dy, back)?),
        ))
    }
}

/// Levenshtein distance, for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
