//! What is computed together: expressions that wait, as a graph.

use std::collections::HashMap;
use std::sync::Arc;

use crate::fuse::expression::{Expression, Operand, Size, interior};
use crate::tensor::{Pending, Shape, Tensor, Value};

/// An argument of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Argument {
    Node(u8),
    Leaf(u8),
    /// A uniform; the words are numbered in the order of use.
    Scalar,
    Unused,
}

#[derive(Clone)]
pub(crate) struct GraphNode {
    pub value: Arc<Value>,
    pub pending: Arc<dyn Pending>,
    pub arguments: Vec<Argument>,
}

impl GraphNode {
    pub fn expression(&self) -> &Expression {
        self.pending
            .as_any()
            .downcast_ref()
            .expect("only expressions are collected")
    }
}

/// Expressions to be computed together: nodes in an order in which operands come first.
pub(crate) struct Graph {
    pub nodes: Vec<GraphNode>,
    pub leaves: Vec<Tensor>,
    /// The nodes whose values are stored.
    pub outputs: Vec<u8>,
    pub shape: Shape,
}

impl Graph {
    pub fn of(roots: &[(Arc<Value>, Arc<dyn Pending>)]) -> Self {
        let mut graph = Graph {
            nodes: Vec::new(),
            leaves: Vec::new(),
            outputs: Vec::new(),
            shape: Shape::SCALAR,
        };
        let mut seen = HashMap::new();
        for (value, pending) in roots {
            let node = graph.visit(value, pending, &mut seen);
            graph.outputs.push(node);
        }
        graph.shape = graph.nodes[0].expression().shape;
        graph
    }

    /// Depth is at most the number of nodes an expression may have, so recursion is safe.
    fn visit(
        &mut self,
        value: &Arc<Value>,
        pending: &Arc<dyn Pending>,
        seen: &mut HashMap<u64, u8>,
    ) -> u8 {
        if let Some(&node) = seen.get(&value.id()) {
            return node;
        }
        let expression = pending
            .as_any()
            .downcast_ref::<Expression>()
            .expect("only expressions are pending");
        let arguments = expression
            .operands
            .iter()
            .map(|operand| match operand {
                Operand::Tensor(tensor) => match interior(tensor) {
                    Some(inner) => Argument::Node(self.visit(tensor.value(), &inner, seen)),
                    None => Argument::Leaf(self.leaf(tensor)),
                },
                Operand::Scalar(_) => Argument::Scalar,
                Operand::Unused => Argument::Unused,
            })
            .collect();
        let node = self.nodes.len() as u8;
        self.nodes.push(GraphNode {
            value: value.clone(),
            pending: pending.clone(),
            arguments,
        });
        seen.insert(value.id(), node);
        node
    }

    fn leaf(&mut self, tensor: &Tensor) -> u8 {
        let known = self.leaves.iter().position(|l| {
            l.value().id() == tensor.value().id()
                && l.layout() == tensor.layout()
                && l.dtype() == tensor.dtype()
        });
        let at = known.unwrap_or_else(|| {
            self.leaves.push(tensor.clone());
            self.leaves.len() - 1
        });
        at as u8
    }

    pub fn size(&self) -> Size {
        let operands = |n: &GraphNode| n.expression().params.len() + n.arguments.len();
        Size {
            nodes: self.nodes.len(),
            leaves: self.leaves.len(),
            operands: self.nodes.iter().map(operands).sum(),
            waiting: 0,
        }
    }
}
