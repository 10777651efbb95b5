//! The tape: what ran, and how gradients flow back through it.
//!
//! A tensor that needs a gradient carries a node. An operator records its inputs and a closure that maps the upstream
//! gradient to theirs. [`Tensor::backward`] walks the nodes in reverse order of creation; an operator *writes* a
//! gradient, the tape *adds* those that meet. First derivatives only.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::fuse::materialise_all;
use crate::gpu::Device;
use crate::tensor::{DType, Node, Shape, Tensor};

/// Maps the upstream gradient to those of the inputs, which it gives to the [`Sink`].
type Backward = Box<dyn FnOnce(&Tensor, &mut Sink) -> Result<()> + Send>;

enum Kind {
    /// A parameter: gradients end here.
    Leaf,
    /// A gradient: differentiating it is refused.
    Gradient,
    /// Stands for an input that needs no gradient.
    Nothing,
    Operator {
        name: &'static str,
        inputs: Vec<Tensor>,
        /// Whether its gradients wait to be fused with those of its neighbours, so that nothing is computed for it alone.
        elementwise: bool,
        /// `None` once the walk has used it.
        backward: Mutex<Option<Backward>>,
    },
}

struct TapeNode {
    order: u64,
    kind: Kind,
}

impl Node for TapeNode {
    fn order(&self) -> u64 {
        self.order
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl Drop for TapeNode {
    /// A long chain of nodes is taken apart in a loop: the compiler's own recursion would overflow the stack.
    fn drop(&mut self) {
        let mut queue: Vec<Tensor> = match &mut self.kind {
            Kind::Operator {
                inputs, backward, ..
            } => {
                // The closure may own the same inputs, so it goes while they keep the nodes alive.
                if let Ok(closure) = backward.get_mut() {
                    drop(closure.take());
                }
                std::mem::take(inputs)
            }
            _ => return,
        };
        while let Some(tensor) = queue.pop() {
            let Some(node) = tensor.into_node() else {
                continue;
            };
            let any: Arc<dyn Any + Send + Sync> = node.into_any();
            if let Ok(node) = any.downcast::<TapeNode>() {
                if let Some(mut node) = Arc::into_inner(node) {
                    if let Kind::Operator {
                        inputs, backward, ..
                    } = &mut node.kind
                    {
                        if let Ok(closure) = backward.get_mut() {
                            drop(closure.take());
                        }
                        queue.append(inputs);
                    }
                }
            }
        }
    }
}

fn node(kind: Kind) -> Arc<dyn Node> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Arc::new(TapeNode {
        order: NEXT.fetch_add(1, Ordering::Relaxed),
        kind,
    })
}

thread_local! {
    static PAUSED: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work` without recording. May be nested; a panic inside ends it properly.
pub fn no_grad<R>(work: impl FnOnce() -> R) -> R {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            PAUSED.set(PAUSED.get() - 1);
        }
    }
    PAUSED.set(PAUSED.get() + 1);
    let _guard = Guard;
    work()
}

/// Runs `work` with recording on, whatever surrounds it.
pub(crate) fn with_grad<R>(work: impl FnOnce() -> R) -> R {
    struct Guard(u32);
    impl Drop for Guard {
        fn drop(&mut self) {
            PAUSED.set(self.0);
        }
    }
    let _guard = Guard(PAUSED.replace(0));
    work()
}

/// Whether an operator on these inputs is to be recorded.
pub fn records(inputs: &[&Tensor]) -> bool {
    PAUSED.get() == 0 && inputs.iter().any(|t| t.node().is_some())
}

/// Gives `output` a node: `backward` is called at most once, with the gradient of `output`.
///
/// The closure owns what it needs of inputs and output in detached form; a node among it would be a cycle.
pub fn record(
    name: &'static str,
    inputs: &[&Tensor],
    output: Tensor,
    backward: impl FnOnce(&Tensor, &mut Sink) -> Result<()> + Send + 'static,
) -> Tensor {
    if !records(inputs) {
        return output;
    }
    with_operator(name, inputs, output, false, Box::new(backward))
}

/// As [`record`], for an operator whose `backward` makes pending gradients of a pending one.
pub(crate) fn record_elementwise(
    name: &'static str,
    inputs: &[&Tensor],
    output: Tensor,
    backward: impl FnOnce(&Tensor, &mut Sink) -> Result<()> + Send + 'static,
) -> Tensor {
    if !records(inputs) {
        return output;
    }
    with_operator(name, inputs, output, true, Box::new(backward))
}

fn with_operator(
    name: &'static str,
    inputs: &[&Tensor],
    output: Tensor,
    elementwise: bool,
    backward: Backward,
) -> Tensor {
    // Only the nodes of the inputs matter to the walk; holding the tensors would keep their memory.
    let inputs = inputs.iter().map(|t| t.shell()).collect();
    output.with_node(Some(node(Kind::Operator {
        name,
        inputs,
        elementwise,
        backward: Mutex::new(Some(backward)),
    })))
}

/// Sums what broadcasting from a shape has stretched; `ops` brings it, as the tape knows no operator.
type SumTo = fn(&Tensor, Shape) -> Result<Tensor>;

/// A gradient under way.
struct Slot {
    node: Arc<dyn Node>,
    shape: Shape,
    /// What has been added up so far.
    gradient: Option<Tensor>,
    /// Whether a kernel made it for this slot alone, so that another kernel may add to it in place.
    owned: bool,
    /// What comes next, in this order, some of it before its sum: these sums wait until what they sum can be computed
    /// together.
    later: Vec<(Tensor, Option<SumTo>)>,
}

impl Slot {
    fn new(node: Arc<dyn Node>, shape: Shape) -> Self {
        Slot {
            node,
            shape,
            gradient: None,
            owned: false,
            later: Vec::new(),
        }
    }

    fn add(&mut self, gradient: Tensor, owned: bool) -> Result<()> {
        if !self.later.is_empty() {
            self.later.push((gradient, None));
            return Ok(());
        }
        // The tape adds with the function that `fuse` brings; it knows no operators.
        (self.gradient, self.owned) = match self.gradient.take() {
            None => (Some(gradient), owned),
            Some(sum) => (Some(crate::fuse::add(&sum, &gradient)?), false),
        };
        Ok(())
    }

    /// Makes the sums that waited.
    fn settle(&mut self) -> Result<()> {
        for (gradient, sum_to) in std::mem::take(&mut self.later) {
            match sum_to {
                Some(sum_to) => self.add(sum_to(&gradient, self.shape)?, false)?,
                None => self.add(gradient, false)?,
            }
        }
        Ok(())
    }
}

type Slots = BTreeMap<u64, Slot>;

/// Where an operator puts the gradients of its inputs.
pub struct Sink<'a> {
    inputs: &'a [Tensor],
    slots: &'a mut Slots,
    name: &'static str,
}

impl Sink<'_> {
    /// Whether anybody wants the gradient of an input.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs[input].node().is_some()
    }

    /// Adds to the gradient of an input.
    pub fn add(&mut self, input: usize, gradient: Tensor) -> Result<()> {
        self.put(input, gradient, false)
    }

    /// As [`add`](Self::add), for a tensor that a kernel has just made and nobody else has.
    pub fn give(&mut self, input: usize, gradient: Tensor) -> Result<()> {
        self.put(input, gradient, true)
    }

    fn put(&mut self, input: usize, gradient: Tensor, owned: bool) -> Result<()> {
        debug_assert_eq!(
            gradient.shape(),
            self.inputs[input].shape(),
            "{}: gradient of input {input}",
            self.name
        );
        match self.slot(input) {
            Some(slot) => slot.add(gradient, owned),
            None => Ok(()),
        }
    }

    /// As [`add`](Self::add), for the gradient of an input that was broadcast: it has the stretched shape, and
    /// `sum_to` will sum it to that of the input.
    pub(crate) fn add_summed(
        &mut self,
        input: usize,
        gradient: Tensor,
        sum_to: SumTo,
    ) -> Result<()> {
        if gradient.shape() == self.inputs[input].shape() {
            return self.add(input, gradient);
        }
        let Some(slot) = self.slot(input) else {
            return Ok(());
        };
        match slot.later.last_mut() {
            // Two of one shape are added first: adding is part of the kernel, and summing is not.
            Some((last, Some(_))) if last.shape() == gradient.shape() => {
                *last = crate::fuse::add(last, &gradient)?;
            }
            _ => slot.later.push((gradient, Some(sum_to))),
        }
        Ok(())
    }

    /// The gradient of an input so far, if a kernel may add to it in place (`ACCUMULATE`).
    pub fn accumulator(&self, input: usize) -> Option<Tensor> {
        let order = self.inputs[input].node()?.order();
        let slot = self.slots.get(&order)?;
        (slot.owned && slot.later.is_empty())
            .then(|| slot.gradient.clone())
            .flatten()
    }

    fn slot(&mut self, input: usize) -> Option<&mut Slot> {
        let input = &self.inputs[input];
        let node = input.node()?;
        Some(slot(self.slots, node, *input.shape()))
    }
}

fn slot<'a>(slots: &'a mut Slots, node: &Arc<dyn Node>, shape: Shape) -> &'a mut Slot {
    slots
        .entry(node.order())
        .or_insert_with(|| Slot::new(node.clone(), shape))
}

/// Gradients by tensor.
#[derive(Debug, Default)]
pub struct Gradients {
    by_order: BTreeMap<u64, Tensor>,
}

impl Gradients {
    /// The gradient of a tensor that [`requires_grad`](Tensor::requires_grad); `None` if the loss does not depend
    /// on it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.by_order.get(&tensor.node()?.order())
    }

    /// Number of tensors that have a gradient.
    pub fn len(&self) -> usize {
        self.by_order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }
}

impl Tensor {
    /// The same numbers as a leaf of the tape: [`backward`](Self::backward) gives its gradient.
    ///
    /// Errors: [`Error::Gradient`] for integers.
    pub fn requires_grad(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::Gradient {
                message: format!("a tensor of {} has no gradient", self.dtype()),
            });
        }
        Ok(self.detach().with_node(Some(node(Kind::Leaf))))
    }

    /// Whether a gradient flows through this tensor.
    pub fn has_grad(&self) -> bool {
        self.node().is_some()
    }

    /// The gradients of this one number by every leaf it depends on. The graph is freed.
    ///
    /// Errors: [`Error::Gradient`] if this is not a single number, depends on no leaf, was walked before, or depends
    /// on a gradient.
    pub fn backward(&self) -> Result<Gradients> {
        if self.numel() != 1 {
            return Err(Error::Gradient {
                message: format!(
                    "backward starts from one number, this has shape {:?}; give the upstream gradient to backward_from",
                    self.shape()
                ),
            });
        }
        let one = match self.dtype() {
            DType::F16 => Tensor::full(self.device(), half::f16::ONE, self.shape())?,
            _ => Tensor::full(self.device(), 1.0f32, self.shape())?,
        };
        self.backward_from(&one)
    }

    /// As [`backward`](Self::backward), from the gradient `dy` of some scalar by this tensor.
    ///
    /// Errors: as there; [`Error::Shape`] or [`Error::Dtype`] if `dy` is not like this tensor.
    pub fn backward_from(&self, dy: &Tensor) -> Result<Gradients> {
        if dy.shape() != self.shape() {
            return Err(Error::shape(
                "backward",
                format!(
                    "dy has shape {:?}, expected {:?}, that of the tensor",
                    dy.shape(),
                    self.shape()
                ),
            ));
        }
        if dy.dtype() != self.dtype() {
            return Err(Error::dtype(
                "backward",
                format!("dy is {}, expected {}", dy.dtype(), self.dtype()),
            ));
        }
        let Some(root) = self.node() else {
            return Err(Error::Gradient {
                message: "the tensor depends on nothing that requires a gradient".to_string(),
            });
        };
        let mut slots = Slots::new();
        slot(&mut slots, root, *self.shape()).add(dy.detach(), false)?;
        let by_order = no_grad(|| walk(self.device(), slots))?;
        Ok(Gradients {
            by_order: by_order
                .into_iter()
                .map(|(order, g)| (order, g.with_node(Some(node(Kind::Gradient)))))
                .collect(),
        })
    }

    /// Runs `segment` without keeping its intermediates; the backward walk runs it a second time.
    ///
    /// `segment` must compute the same thing twice: random operators take their key and counter as values, so it does.
    pub fn checkpoint(
        &self,
        segment: impl Fn(&Tensor) -> Result<Tensor> + Send + 'static,
    ) -> Result<Tensor> {
        let output = no_grad(|| segment(self))?;
        // The result must not wait: a pending one would hold what this is meant to let go.
        output.buffer()?;
        if PAUSED.get() > 0 {
            return Ok(output);
        }
        let input = self.clone();
        // Parameters inside the segment need gradients even where the input does not, so there is a node in any case.
        let entry = match self.node() {
            Some(_) => self.clone(),
            None => self.clone().with_node(Some(node(Kind::Nothing))),
        };
        // It hands its gradient on, pending or not.
        Ok(record_elementwise(
            "checkpoint",
            &[&entry],
            output,
            move |dy, sink| {
                // The new nodes are younger than all that the walk has left, and refer to the nodes the segment was
                // first given: the walk goes on with them as if they had been there, and adds in the same order.
                let again = with_grad(|| segment(&input))?;
                match again.node() {
                    Some(root) => slot(sink.slots, root, *again.shape()).add(dy.detach(), false),
                    None => Ok(()),
                }
            },
        ))
    }
}

type ByOrder = BTreeMap<u64, Tensor>;

/// Empties `slots` from the newest node to the oldest; the gradients of leaves stay.
fn walk(device: &Device, mut slots: Slots) -> Result<ByOrder> {
    let mut leaves = Slots::new();
    while let Some((order, mut slot)) = slots.pop_last() {
        let node = slot.node.clone();
        let node = node
            .as_any()
            .downcast_ref::<TapeNode>()
            .expect("the tape makes all nodes");
        match &node.kind {
            Kind::Leaf => {
                leaves.insert(order, slot);
            }
            Kind::Nothing => {}
            Kind::Gradient => {
                return Err(Error::Gradient {
                    message: "the loss depends on a gradient; only first derivatives are computed"
                        .to_string(),
                });
            }
            Kind::Operator {
                name,
                inputs,
                elementwise,
                backward,
            } => {
                let backward = backward
                    .lock()
                    .expect("taking a closure does not panic")
                    .take()
                    .ok_or_else(|| Error::Gradient {
                        message: format!(
                            "{name}: its graph was freed by an earlier walk; record the forward pass again"
                        ),
                    })?;
                // Whatever follows an elementwise operator can share its kernel. Before anything else the sums that
                // wait are made: they would keep alive all that they sum.
                if !elementwise || !slot.later.is_empty() {
                    let here = std::iter::once(&mut slot);
                    settle(device, here, slots.values_mut().chain(leaves.values_mut()))?;
                }
                let gradient = slot.gradient.expect("settling leaves a gradient");
                let mut sink = Sink {
                    inputs,
                    slots: &mut slots,
                    name,
                };
                backward(&gradient, &mut sink)?;
            }
        }
    }
    settle(device, leaves.values_mut(), std::iter::empty())?;
    let by_order: ByOrder = leaves
        .into_iter()
        .map(|(order, slot)| (order, slot.gradient.expect("settling leaves a gradient")))
        .collect();
    materialise_all(device, by_order.values())?;
    Ok(by_order)
}

/// Makes the sums that wait, after computing together what they sum and what is `needed` now.
fn settle<'a>(
    device: &Device,
    needed: impl Iterator<Item = &'a mut Slot>,
    others: impl Iterator<Item = &'a mut Slot>,
) -> Result<()> {
    let mut slots: Vec<(&mut Slot, bool)> = needed
        .map(|s| (s, true))
        .chain(others.map(|s| (s, false)))
        .filter(|(s, needed)| *needed || !s.later.is_empty())
        .collect();
    if slots.iter().all(|(s, _)| s.later.is_empty()) {
        return Ok(());
    }
    let values = slots.iter().flat_map(|(s, needed)| {
        let sums = s.later.iter().filter(|(_, sum_to)| sum_to.is_some());
        let gradient = s.gradient.iter().filter(|_| *needed && s.later.is_empty());
        gradient.chain(sums.map(|(t, _)| t))
    });
    materialise_all(device, values)?;
    slots.iter_mut().try_for_each(|(s, _)| s.settle())
}
