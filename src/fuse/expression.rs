//! Expressions: a function, its operands, and the rules by which they grow or end.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::fuse::function::{ADD, CAST, Function, Param, Variant};
use crate::fuse::graph::Graph;
use crate::fuse::kernel;
use crate::gpu::Device;
use crate::tensor::{DType, Layout, Pending, Shape, Tensor, Value, check_count};

/// Most functions in one kernel. Registers grow with it, and so does what a second use recomputes.
pub(crate) const MAX_NODES: usize = 32;
/// Most kernels that wait for each other. Views and broadcasts of what waits are computed by kernels of their own, and
/// a chain of them is as deep as the recursion that computes or drops it.
const MAX_WAITING: usize = 8;

/// What a function is applied to.
#[derive(Clone)]
pub(crate) enum Operand {
    /// A tensor whose layout is stretched to the shape of the expression.
    Tensor(Tensor),
    /// A number from the host, as the bits of the type it is used as. It travels as a uniform.
    Scalar(u32),
    /// An argument that the function does not look at.
    Unused,
}

/// One function application.
pub(crate) struct Expression {
    pub function: &'static Function,
    pub variant: Variant,
    pub operands: Vec<Operand>,
    pub params: Vec<u32>,
    /// Stands for `T`.
    pub elem: DType,
    pub dtype: DType,
    pub shape: Shape,
    size: OnceLock<Size>,
}

/// How large the kernel of an expression is: at most, as what is used twice may be counted twice.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub nodes: usize,
    pub leaves: usize,
    /// Parameters and operands of all nodes, each a word of `params` at most.
    pub operands: usize,
    /// Kernels that must run one after the other before this one can.
    pub waiting: usize,
}

impl Size {
    /// Adds up what an operand brings.
    fn add(&mut self, operand: &Operand) {
        self.operands += 1;
        let Operand::Tensor(tensor) = operand else {
            return;
        };
        let inner = match tensor.value().pending() {
            Some(pending) => size_of(&pending),
            None => Size::default(),
        };
        if interior(tensor).is_some() {
            self.nodes += inner.nodes;
            self.leaves += inner.leaves;
            self.operands += inner.operands;
            self.waiting = self.waiting.max(inner.waiting);
        } else {
            self.leaves += 1;
            self.waiting = self.waiting.max(inner.waiting + inner.nodes.min(1));
        }
    }
}

fn size_of(pending: &Arc<dyn Pending>) -> Size {
    let expression = pending.as_any().downcast_ref::<Expression>();
    expression
        .and_then(|e| e.size.get().copied())
        .unwrap_or_default()
}

impl Pending for Expression {
    fn materialise(&self, value: &Arc<Value>, device: &Device) -> Result<()> {
        let root = value.pending();
        let Some(root) = root else { return Ok(()) };
        kernel::run(device, &Graph::of(&[(value.clone(), root)]))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Notes `function(operands)` as a pending tensor of `shape`.
///
/// Operands that would make the kernel too large are computed first, largest expression first.
pub(crate) fn apply(
    device: &Device,
    function: &'static Function,
    variant: Variant,
    operands: Vec<Operand>,
    params: Vec<u32>,
    elem: DType,
    dtype: DType,
    shape: Shape,
) -> Result<Tensor> {
    device.check_lost()?;
    check_count(shape.numel())?;
    let operands = operands
        .into_iter()
        .map(|operand| match operand {
            Operand::Tensor(t) => {
                let layout = t.layout().broadcast_to(shape);
                // A pending tensor that is stretched cannot be part of the kernel and is a leaf of it.
                Operand::Tensor(if layout == *t.layout() {
                    t.detach()
                } else {
                    t.view(layout)
                })
            }
            other => other,
        })
        .collect();
    let expression = Arc::new(Expression {
        function,
        variant,
        operands,
        params,
        elem,
        dtype,
        shape,
        size: OnceLock::new(),
    });
    let out = Tensor::pending(device, dtype, shape, expression.clone());
    if !device.mode().fuse {
        out.buffer()?;
        return Ok(out);
    }
    let size = expression.settle(&out, device)?;
    expression.size.set(size).expect("the expression is new");
    Ok(out)
}

impl Expression {
    /// The words of the parameters that travel as uniforms.
    pub(super) fn uniforms(&self) -> impl Iterator<Item = u32> {
        self.params_that(|kind| kind.is_uniform())
    }

    /// The values of those that stand in the text.
    pub(super) fn choices(&self) -> Vec<u32> {
        self.params_that(|kind| !kind.is_uniform()).collect()
    }

    fn params_that(&self, which: impl Fn(Param) -> bool) -> impl Iterator<Item = u32> {
        let kinds = self.function.params.iter().map(|(_, kind)| *kind);
        kinds
            .zip(&self.params)
            .filter(move |(kind, _)| which(*kind))
            .map(|(_, word)| *word)
    }

    /// Computes operands, largest first, until one kernel can compute the rest; says how large that is.
    fn settle(self: &Arc<Self>, out: &Tensor, device: &Device) -> Result<Size> {
        loop {
            let mut size = Size {
                nodes: 1,
                operands: self.params.len(),
                ..Size::default()
            };
            for operand in &self.operands {
                size.add(operand);
            }
            if size.waiting > MAX_WAITING {
                for operand in &self.operands {
                    if let Operand::Tensor(tensor) = operand {
                        tensor.buffer()?;
                    }
                }
                continue;
            }
            if kernel::fits(device.caps(), size, self.shape.len(), 1, MAX_NODES) {
                return Ok(size);
            }
            // Counted too much, perhaps: by the graph it is exact.
            let graph = Graph::of(&[(out.value().clone(), self.clone() as Arc<dyn Pending>)]);
            let exact = Size {
                waiting: size.waiting,
                ..graph.size()
            };
            if kernel::fits(device.caps(), exact, self.shape.len(), 1, MAX_NODES) {
                return Ok(exact);
            }
            let largest = self
                .operands
                .iter()
                .filter_map(|operand| match operand {
                    Operand::Tensor(t) => Some((size_of(&interior(t)?).nodes, t)),
                    _ => None,
                })
                .max_by_key(|(nodes, _)| *nodes);
            match largest {
                Some((_, tensor)) => tensor.buffer()?,
                // Nothing is left to compute first: the function alone fits any device.
                None => return Ok(exact),
            };
        }
    }
}

/// The expression behind an operand, if it can be computed inside the kernel that uses it: still pending, and looked
/// at element by element in its own order.
pub(crate) fn interior(tensor: &Tensor) -> Option<Arc<dyn Pending>> {
    let pending = tensor.value().pending()?;
    let expression = pending.as_any().downcast_ref::<Expression>()?;
    let own = Layout::contiguous(expression.shape, tensor.layout().offset);
    (own == *tensor.layout()).then_some(pending)
}

/// The same numbers, row-major without gaps.
pub(crate) fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    if tensor.layout().is_contiguous() {
        return Ok(tensor.detach());
    }
    let out = cast(tensor, tensor.dtype())?;
    out.buffer()?;
    Ok(out)
}

/// The numbers in another dtype.
pub(crate) fn cast(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    apply(
        tensor.device(),
        &CAST,
        Variant::Value,
        vec![Operand::Tensor(tensor.detach())],
        Vec::new(),
        dtype,
        dtype,
        *tensor.shape(),
    )
}

/// The sum of two tensors of one shape and dtype.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    apply(
        a.device(),
        &ADD,
        Variant::Value,
        vec![Operand::Tensor(a.detach()), Operand::Tensor(b.detach())],
        Vec::new(),
        a.dtype(),
        a.dtype(),
        *a.shape(),
    )
}

/// Computes several pending tensors, those of one shape in as few kernels as the device's limits allow.
pub(crate) fn materialise_all<'a>(
    device: &Device,
    tensors: impl IntoIterator<Item = &'a Tensor>,
) -> Result<()> {
    type Group = Vec<(Arc<Value>, Arc<dyn Pending>)>;
    let mut groups: Vec<(Shape, Group)> = Vec::new();
    let mut place: HashMap<Shape, usize> = HashMap::new();
    for tensor in tensors {
        let value = tensor.value();
        let Some(pending) = value.pending() else {
            continue;
        };
        let Some(expression) = pending.as_any().downcast_ref::<Expression>() else {
            tensor.buffer()?;
            continue;
        };
        let shape = expression.shape;
        let at = *place.entry(shape).or_insert_with(|| {
            groups.push((shape, Vec::new()));
            groups.len() - 1
        });
        let group = &mut groups[at].1;
        if group.iter().any(|(v, _)| v.id() == value.id()) {
            continue;
        }
        group.push((value.clone(), pending));
        // Twice the nodes of one expression: the outputs of a group share most of theirs.
        let fits = |group: &Group| {
            let size = Graph::of(group).size();
            kernel::fits(device.caps(), size, shape.len(), group.len(), 2 * MAX_NODES)
        };
        if group.len() > 1 && !fits(group) {
            let last = group.pop().expect("one was just pushed");
            let full = std::mem::replace(group, vec![last]);
            kernel::run(device, &Graph::of(&full))?;
        }
    }
    for (_, mut group) in groups {
        // Some may have been computed meanwhile, as leaves of another group.
        group.retain(|(value, _)| value.pending().is_some());
        if !group.is_empty() {
            kernel::run(device, &Graph::of(&group))?;
        }
    }
    Ok(())
}
