//! What softmax and log_softmax have in common: rows of `x` to rows of `y`, and back from `y` and `dy` to `dx`.

use crate::error::Result;
use crate::fuse::{cast, contiguous};
use crate::gpu::Source;
use crate::ops::launch;
use crate::ops::norm::{self, aligned, groups, ladder};
use crate::ops::op::{Case, Domain, Entry, Op, Role};
use crate::tensor::{DType, Tensor};

/// Entry points by rung: an invocation per row, the same by quads, a workgroup per row.
type Rungs = [&'static str; 3];

/// The kernels of an operator.
pub(super) struct Rows {
    pub op: &'static dyn Op,
    /// What a row that is too long is refused with.
    pub steps: &'static str,
    pub forward: Rungs,
    pub vjp: Rungs,
    pub source: fn(&str) -> Source,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    rows: u32,
    cols: u32,
    /// Of dx in the backward pass.
    x_offset: u32,
    y_offset: u32,
    dy_offset: u32,
    padding: [u32; 3],
}

impl Rows {
    /// `y` of the shape and dtype of `x`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let stored = contiguous(&launch::storage(x.device(), x)?)?;
        let y = Tensor::empty(x.device(), stored.dtype(), *x.shape())?;
        let offset = |t: &Tensor| t.layout().offset as u32;
        self.run(self.forward, &[&stored], &y, |p| Params {
            x_offset: offset(&stored),
            y_offset: offset(&y),
            ..p
        })?;
        restore(y, x.dtype())
    }

    /// `dx` of the shape and dtype of `y`.
    pub fn vjp(&self, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let device = y.device();
        let stored = contiguous(&launch::storage(device, y)?)?;
        let upstream = contiguous(&launch::storage(device, dy)?)?;
        let dx = Tensor::empty(device, stored.dtype(), *y.shape())?;
        let offset = |t: &Tensor| t.layout().offset as u32;
        self.run(self.vjp, &[&stored, &upstream], &dx, |p| Params {
            x_offset: offset(&dx),
            y_offset: offset(&stored),
            dy_offset: offset(&upstream),
            ..p
        })?;
        restore(dx, y.dtype())
    }

    fn run(
        &self,
        rungs: Rungs,
        inputs: &[&Tensor],
        out: &Tensor,
        placed: impl FnOnce(Params) -> Params,
    ) -> Result<()> {
        let device = out.device();
        let cols = *out.shape().last().expect("rank is at least 1");
        let rows = out.numel().checked_div(cols).unwrap_or(0);
        if rows == 0 {
            return Ok(());
        }
        launch::check_steps(device, self.steps, norm::steps("_workgroup", cols))?;
        let aligned = aligned(cols, inputs) && aligned(cols, &[out]);
        let candidates = ladder(device.caps(), cols, aligned, rungs);
        let elem = out.dtype().elem();
        let chosen = launch::choose_for(self.op, device, elem, &[rows, cols], &candidates)?;
        let (entry, _) = candidates[chosen];
        let params = placed(Params {
            rows: rows as u32,
            cols: cols as u32,
            x_offset: 0,
            y_offset: 0,
            dy_offset: 0,
            padding: [0; 3],
        });
        let kernel = norm::kernel((self.source)(entry), entry, elem);
        launch::dispatch(
            device,
            &kernel,
            inputs,
            &[out],
            &params,
            groups(entry, rows),
        )
    }

    pub fn entries(&self) -> Vec<Entry> {
        let listed = |names: Rungs, role| {
            let rungs = ["row", "vec4", "workgroup"];
            let entry = move |(name, rung)| norm::entry((self.source)(name), name, role, rung);
            names.into_iter().zip(rungs).map(entry)
        };
        listed(self.forward, Role::Forward)
            .chain(listed(self.vjp, Role::Vjp))
            .collect()
    }
}

/// Two workgroups of rows with a rest, two strides of a workgroup's lanes with a rest, in quads where the entry point
/// needs that.
pub(super) fn verify_case(entry: &Entry) -> Case {
    let cols = match entry.name().ends_with("_vec4") {
        true => 132,
        false => 131,
    };
    Case::new("verify").f32(&[67, cols], Domain::Uniform(-3.0, 3.0))
}

/// Whether conformance should try an entry point on a case.
pub(super) fn tries(entry: &Entry, case: &Case) -> bool {
    // Without the attribute the rows are the last axis.
    let shape = case.inputs[0].as_ref().map(|x| x.shape);
    shape.is_none_or(|x| x.last().is_none_or(|cols| norm::tries(entry, *cols)))
}

fn restore(tensor: Tensor, dtype: DType) -> Result<Tensor> {
    match tensor.dtype() == dtype {
        true => Ok(tensor),
        false => cast(&tensor, dtype),
    }
}
