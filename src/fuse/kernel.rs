//! From expressions to a kernel: collecting the graph, writing WGSL, caching by structure, dispatching.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::fuse::expression::{Expression, Operand, Size, interior};
use crate::fuse::function::{Kind, Param, Variant, compute_type, instance_name};
use crate::fuse::verify;
use crate::gpu::dispatch::Binding;
use crate::gpu::pipeline::{MAX_PARAMS, Pipeline};
use crate::gpu::shader::Elem;
use crate::gpu::stream::MAX_BINDINGS;
use crate::gpu::{Caps, Device, DeviceClass, Kernel, Source};
use crate::tensor::{DType, Layout, Pending, Shape, Tensor, Value, allocate};

/// Invocations of a workgroup. Elementwise work needs no cooperation; 256 fills a compute unit everywhere and is the
/// most that the default limits allow.
const WORKGROUP: u64 = 256;
/// Words of `params` before those whose number depends on the kernel: length, start, zero.
const FIXED: usize = 3;

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
    pending: Arc<dyn Pending>,
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

/// How a leaf is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Access {
    /// Element `i` lies at `offset + i`.
    Dense,
    /// One element for all.
    Single,
    Strided,
    /// Strided, and each quad of elements lies together, from a place that is a multiple of four. By quads only.
    Rows,
    /// Strided, and one element serves a whole quad. By quads only.
    Columns,
}

impl Access {
    /// Whether places come of coordinates and strides.
    fn is_strided(self) -> bool {
        matches!(self, Access::Strided | Access::Rows | Access::Columns)
    }
}

const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];
/// Elements of an invocation that works by quads.
const QUAD: usize = 4;
/// Fewer elements than this are done one by one: the time is that of the launch, and the kernel compiles faster.
const SHORT: usize = 1 << 10;

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

/// Whether one kernel of at most `max_nodes` can compute an expression of this size and rank on such a device.
pub(crate) fn fits(
    caps: &Caps,
    size: Size,
    rank: usize,
    n_outputs: usize,
    max_nodes: usize,
) -> bool {
    let bindings = (caps.max_storage_buffers as usize).min(MAX_BINDINGS);
    // As if every leaf were strided over all axes; and params end on four words.
    let words = FIXED + n_outputs + rank + size.leaves * (1 + rank) + size.operands + 4;
    size.nodes <= max_nodes
        && size.leaves + n_outputs <= bindings
        && words * 4 <= MAX_PARAMS as usize
}

/// Axes of the index arithmetic: as few as the strided leaves allow.
#[derive(Debug, PartialEq)]
struct Axes {
    lengths: Vec<usize>,
    /// For each leaf, strides by axis; empty unless the leaf is strided.
    strides: Vec<Vec<usize>>,
}

fn access(layout: &Layout) -> Access {
    if layout.is_contiguous() {
        Access::Dense
    } else if layout
        .shape
        .iter()
        .zip(layout.strides())
        .all(|(n, s)| *n == 1 || *s == 0)
    {
        Access::Single
    } else {
        Access::Strided
    }
}

/// Merges neighbouring axes where every strided leaf steps evenly across them.
fn coalesce(shape: &Shape, leaves: &[Tensor], accesses: &[Access]) -> Axes {
    let mut axes = Axes {
        lengths: Vec::new(),
        strides: vec![Vec::new(); leaves.len()],
    };
    for axis in 0..shape.len() {
        let length = shape[axis];
        if length == 1 {
            continue;
        }
        let strided = || {
            leaves
                .iter()
                .zip(accesses)
                .enumerate()
                .filter(|(_, (_, a))| a.is_strided())
                .map(|(i, (leaf, _))| (i, leaf.layout().strides()[axis]))
        };
        let merges = !axes.lengths.is_empty()
            && strided().all(|(i, stride)| axes.strides[i].last() == Some(&(stride * length)));
        if merges {
            *axes.lengths.last_mut().expect("not empty") *= length;
            for (i, stride) in strided() {
                *axes.strides[i].last_mut().expect("not empty") = stride;
            }
        } else {
            axes.lengths.push(length);
            for (i, stride) in strided() {
                axes.strides[i].push(stride);
            }
        }
    }
    if !accesses.iter().any(|a| a.is_strided()) {
        axes.lengths.clear();
    }
    axes
}

/// How a kernel goes through its elements.
#[derive(Debug)]
pub(super) struct Reading {
    accesses: Vec<Access>,
    axes: Axes,
    /// An invocation computes four elements.
    pub quads: bool,
}

impl Reading {
    fn of(caps: &Caps, graph: &Graph, outputs: &[Tensor]) -> Self {
        let accesses: Vec<Access> = graph.leaves.iter().map(|l| access(l.layout())).collect();
        let axes = coalesce(&graph.shape, &graph.leaves, &accesses);
        match by_quads(caps, graph, &accesses, &axes, outputs) {
            Some(accesses) => Reading {
                accesses,
                axes,
                quads: true,
            },
            None => Reading {
                accesses,
                axes,
                quads: false,
            },
        }
    }

    /// The same ways of reading other leaves of another shape.
    fn again(&self, graph: &Graph) -> Self {
        Reading {
            axes: coalesce(&graph.shape, &graph.leaves, &self.accesses),
            accesses: self.accesses.clone(),
            quads: self.quads,
        }
    }

    /// Axes of the index arithmetic.
    pub fn rank(&self) -> usize {
        self.axes.lengths.len()
    }
}

/// Whether an invocation of the kernel should compute four elements, and how it then reads the leaves.
///
/// On software drivers a load costs per lane whatever its width, so quads pay. 2²⁰ elements on lavapipe, one by one and by
/// quads: abs 1.7 and 0.8 ms, add 2.2 and 1.3, gelu 3.8 and 2.6. GPUs read neighbours together as it is. No f16 takes
/// part: pairs of it share a word.
fn by_quads(
    caps: &Caps,
    graph: &Graph,
    accesses: &[Access],
    axes: &Axes,
    outputs: &[Tensor],
) -> Option<Vec<Access>> {
    let aligned = |t: &Tensor| t.layout().offset.is_multiple_of(QUAD);
    let wide = |t: &Tensor| t.dtype() != DType::F16;
    let n = graph.shape.numel();
    let suits = caps.class == DeviceClass::Cpu
        && n >= SHORT
        && n.is_multiple_of(QUAD)
        && axes.lengths.last().is_none_or(|n| n.is_multiple_of(QUAD))
        && graph.leaves.iter().all(wide)
        && outputs.iter().all(|t| wide(t) && aligned(t));
    if !suits {
        return None;
    }
    let quad = |((leaf, access), strides): ((&Tensor, &Access), &Vec<usize>)| match access {
        Access::Dense => aligned(leaf).then_some(Access::Dense),
        Access::Strided => {
            let (last, outer) = strides.split_last()?;
            let even = aligned(leaf) && outer.iter().all(|s| s.is_multiple_of(QUAD));
            Some(match last {
                1 if even => Access::Rows,
                0 => Access::Columns,
                _ => Access::Strided,
            })
        }
        other => Some(*other),
    };
    graph
        .leaves
        .iter()
        .zip(accesses)
        .zip(&axes.strides)
        .map(quad)
        .collect()
}

/// Everything that decides the text of a kernel.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Structure {
    /// Function name, variant, `T`, dtype, arguments.
    nodes: Vec<(&'static str, Variant, DType, DType, Vec<Argument>)>,
    leaves: Vec<(DType, Access)>,
    outputs: Vec<u8>,
    rank: usize,
    quads: bool,
}

/// Kernels generated on one device.
#[derive(Default)]
struct Kernels {
    by_structure: Mutex<HashMap<Structure, Made>>,
}

/// A generated kernel.
#[derive(Clone)]
struct Made {
    pipeline: Arc<Pipeline>,
    text: Arc<str>,
    /// Whether it gave right numbers here; one that did not is forgotten.
    verified: bool,
}

impl Kernels {
    fn lock(&self) -> MutexGuard<'_, HashMap<Structure, Made>> {
        self.by_structure
            .lock()
            .expect("nothing panics while kernels are locked")
    }
}

/// A layout over `shape` that a kernel reads in the same way as it reads this leaf: strided leaves become transposed and
/// stretched ones, whose axes do not merge.
pub(super) fn probe_layout(reading: &Reading, leaf: usize, shape: Shape) -> Layout {
    // The axes in reverse order, but for the last ones, which stay as they are; those that were turned are twice as long,
    // and every second element is taken, so that one axis is strided as well.
    let turned = |n_kept: usize| {
        let n_turned = shape.len() - n_kept;
        let axes: Vec<usize> = (0..n_turned).rev().chain(n_turned..shape.len()).collect();
        let wide: Vec<usize> = axes
            .iter()
            .map(|&a| if a < n_turned { 2 * shape[a] } else { shape[a] })
            .collect();
        let mut layout = Layout::contiguous(Shape::of(&wide), 0);
        for (place, &axis) in axes.iter().enumerate().take(n_turned) {
            layout = layout.slice(place, 0, shape[axis], 2);
        }
        layout.permute(&axes)
    };
    match reading.accesses[leaf] {
        Access::Dense => Layout::contiguous(shape, 0),
        Access::Single => Layout::contiguous(Shape::SCALAR, 0).broadcast_to(shape),
        Access::Strided => turned(0),
        Access::Rows => turned(1),
        Access::Columns => {
            let n = shape.len() - 1;
            turned(1).slice(n, 0, 1, 1).broadcast_to(shape)
        }
    }
}

/// Computes the outputs of `graph` and stores them. A fused kernel that is wrong on this adapter gives way to one
/// kernel per function.
pub(crate) fn run(device: &Device, graph: &Graph) -> Result<()> {
    match run_fused(device, graph) {
        Err(Error::KernelWrong { detail, .. }) if graph.nodes.len() > 1 => {
            log::warn!(
                "a fused kernel is wrong on {} and is not used: {detail}",
                device.adapter().label()
            );
            for node in &graph.nodes {
                run_fused(
                    device,
                    &Graph::of(&[(node.value.clone(), node.pending.clone())]),
                )?;
            }
            Ok(())
        }
        other => other,
    }
}

fn run_fused(device: &Device, graph: &Graph) -> Result<()> {
    // Leaves that are pending in another shape are computed first.
    for leaf in &graph.leaves {
        leaf.buffer()?;
    }
    let mut outputs = Vec::with_capacity(graph.outputs.len());
    for &node in &graph.outputs {
        let node = &graph.nodes[node as usize];
        let expression = node.expression();
        let (buffer, layout) = allocate(device, expression.dtype, expression.shape)?;
        outputs.push(Tensor::ready(device, expression.dtype, layout, buffer));
    }
    compute(device, graph, &outputs, device.mode().verify)?;
    for (&node, output) in graph.outputs.iter().zip(&outputs) {
        graph.nodes[node as usize].value.set(output.buffer()?);
    }
    Ok(())
}

/// Computes `graph` into `outputs`; with `verify`, not before its kernel is known to be right here.
fn compute(device: &Device, graph: &Graph, outputs: &[Tensor], verify: bool) -> Result<()> {
    let reading = Reading::of(device.caps(), graph, outputs);
    let structure = Structure {
        nodes: graph
            .nodes
            .iter()
            .map(|n| {
                let e = n.expression();
                (
                    e.function.name,
                    e.variant,
                    e.elem,
                    e.dtype,
                    n.arguments.clone(),
                )
            })
            .collect(),
        leaves: graph
            .leaves
            .iter()
            .zip(&reading.accesses)
            .map(|(l, a)| (l.dtype(), *a))
            .collect(),
        outputs: graph.outputs.clone(),
        rank: reading.rank(),
        quads: reading.quads,
    };
    let kernels = device.extension(Kernels::default);
    let known = kernels.lock().get(&structure).cloned();
    let made = match known {
        Some(made) if made.verified || !verify => made,
        known => {
            let (pipeline, text) = match known {
                Some(made) => (made.pipeline, made.text),
                None => compile(device, graph, &structure)?,
            };
            if verify {
                // The probe is given the pipeline: nobody else gets it before the verdict.
                if let Err(error) = verify::check(device, graph, &reading, &text, &pipeline) {
                    kernels.lock().remove(&structure);
                    return Err(error);
                }
            }
            let made = Made {
                pipeline,
                text,
                verified: verify,
            };
            kernels.lock().insert(structure, made.clone());
            made
        }
    };
    dispatch(device, graph, outputs, &reading, &made.pipeline)
}

fn compile(
    device: &Device,
    graph: &Graph,
    structure: &Structure,
) -> Result<(Arc<Pipeline>, Arc<str>)> {
    let text = write(graph, structure);
    let name = format!("fused/{:016x}", verify::hash(&text));
    let pipeline = device.pipeline(&Kernel {
        source: Source::generated(name, text.clone()),
        entry: "fused",
        constants: Vec::new(),
        elem: Elem::F32,
    })?;
    Ok((pipeline, Arc::from(text)))
}

/// Runs the kernel of one graph on another of the same structure: made-up leaves of a small shape.
pub(super) fn probe(
    device: &Device,
    graph: &Graph,
    reading: &Reading,
    outputs: &[Tensor],
    pipeline: &Pipeline,
) -> Result<()> {
    dispatch(device, graph, outputs, &reading.again(graph), pipeline)
}

/// The WGSL of every kernel generated on this device so far, sorted, before imports are resolved; the entry point is
/// `fused`.
pub fn generated(device: &Device) -> Vec<Arc<str>> {
    let kernels = device.extension(Kernels::default);
    let mut texts: Vec<Arc<str>> = kernels.lock().values().map(|m| m.text.clone()).collect();
    texts.sort();
    texts
}

fn dispatch(
    device: &Device,
    graph: &Graph,
    outputs: &[Tensor],
    reading: &Reading,
    pipeline: &Pipeline,
) -> Result<()> {
    let Reading {
        accesses,
        axes,
        quads,
    } = reading;
    let n = graph.shape.numel();
    let pairs = packs_pairs(outputs.iter().map(Tensor::dtype));
    let caps = device.caps();
    let largest = graph
        .leaves
        .iter()
        .zip(accesses)
        .filter(|(_, a)| **a == Access::Dense)
        .map(|(l, _)| l)
        .chain(outputs)
        .map(|t| Ok(t.buffer()?.size()))
        .collect::<Result<Vec<u64>>>()?
        .into_iter()
        .max()
        .unwrap_or(0);
    // Tensors beyond one binding are worked through in parts whose ends are multiples of any alignment.
    let part = if largest > caps.max_binding_bytes {
        ((caps.max_binding_bytes / 4 - 1024) / 1024 * 1024) as usize
    } else {
        n
    };
    let mut start = 0;
    while start < n {
        let length = part.min(n - start);
        let mut words: Vec<u32> = vec![length as u32, start as u32, 0];
        let mut bindings = Vec::with_capacity(graph.leaves.len() + outputs.len());
        let mut bind = |tensor: &Tensor, dense: bool| -> Result<u32> {
            let buffer = tensor.buffer()?;
            let offset = tensor.layout().offset;
            if part == n || !dense {
                bindings.push(Binding::whole(&buffer));
                return Ok(offset as u32);
            }
            let size = tensor.dtype().size();
            let first = ((offset + start) * size) as u64;
            let aligned = first / caps.binding_align * caps.binding_align;
            let end = (((offset + start + length) * size) as u64).next_multiple_of(4);
            bindings.push(Binding {
                buffer,
                range: Some((aligned, end - aligned)),
            });
            Ok(((first - aligned) / size as u64) as u32)
        };
        let leaf_offsets = graph
            .leaves
            .iter()
            .zip(accesses)
            .map(|(l, a)| bind(l, *a == Access::Dense))
            .collect::<Result<Vec<u32>>>()?;
        for output in outputs {
            let offset = bind(output, true)?;
            words.push(offset);
        }
        words.extend(leaf_offsets);
        words.extend(axes.lengths.iter().map(|n| *n as u32));
        for strides in &axes.strides {
            words.extend(strides.iter().map(|s| *s as u32));
        }
        for node in &graph.nodes {
            let expression = node.expression();
            words.extend(&expression.params);
            words.extend(expression.operands.iter().filter_map(|o| match o {
                Operand::Scalar(bits) => Some(*bits),
                _ => None,
            }));
        }
        words.resize(words.len().next_multiple_of(4), 0);
        let elements = match (*quads, pairs) {
            (true, _) => QUAD,
            (_, true) => 2,
            _ => 1,
        };
        let invocations = length.div_ceil(elements);
        device.dispatch(
            pipeline,
            &bindings,
            bytemuck::cast_slice(&words),
            (invocations as u64).div_ceil(WORKGROUP),
        )?;
        start += length;
    }
    Ok(())
}

/// Two f16 share a word, so the invocation that writes one must write the other.
fn packs_pairs(mut outputs: impl Iterator<Item = DType>) -> bool {
    outputs.any(|d| d == DType::F16)
}

/// The text of the kernel. Words of `params`, in order: length, start, zero, an offset per output, an offset per leaf, axis
/// lengths, strides of each strided leaf, then parameters and scalars node by node.
fn write(graph: &Graph, structure: &Structure) -> String {
    let mut out =
        String::from("#import shared/index\n#import shared/special\n#import shared/half\n");
    let mut instances: Vec<(&str, &str)> = Vec::new();
    for node in &graph.nodes {
        let e = node.expression();
        let elem = compute_type(e.elem);
        if !instances.contains(&(e.function.name, elem)) {
            instances.push((e.function.name, elem));
            out.push_str(&e.function.instance(elem));
        }
    }
    let mut body = String::new();
    let mut next_word = FIXED;
    let mut word = |n: usize| {
        let first = next_word;
        next_word += n;
        move |k: usize| {
            let at = first + k;
            format!("params.words[{}].{}", at / 4, COMPONENTS[at % 4])
        }
    };
    let out_offset = word(structure.outputs.len());
    let leaf_offset = word(structure.leaves.len());
    let lengths = word(structure.rank);
    for axis in (0..structure.rank).rev() {
        if axis == 0 {
            let _ = writeln!(body, "    let c0 = rest{};", structure.rank - 1);
        } else {
            let from = structure.rank - 1 - axis;
            let _ = writeln!(body, "    let c{axis} = rest{from} % {};", lengths(axis));
            let _ = writeln!(
                body,
                "    let rest{} = rest{from} / {};",
                from + 1,
                lengths(axis)
            );
        }
    }
    if structure.rank > 0 {
        body.insert_str(0, "    let rest0 = start + i;\n");
    }
    // By quads: what each of the four elements takes of each leaf.
    let mut taken: Vec<[String; QUAD]> = Vec::new();
    for (leaf, (dtype, access)) in structure.leaves.iter().enumerate() {
        let offset = leaf_offset(leaf);
        let strides = access.is_strided().then(|| word(structure.rank));
        let at = match (access, &strides) {
            (Access::Dense, _) => format!("{offset} + i"),
            (_, Some(strides)) => (0..structure.rank).fold(offset, |at, axis| {
                format!("{at} + c{axis} * {}", strides(axis))
            }),
            _ => offset,
        };
        let _ = writeln!(body, "    let at{leaf} = {at};");
        if structure.quads {
            let load = match access {
                Access::Dense | Access::Rows => format!("leaf{leaf}[at{leaf} / 4u]"),
                _ => format!("leaf{leaf}[at{leaf}]"),
            };
            let _ = writeln!(body, "    let q{leaf} = {load};");
            taken.push(std::array::from_fn(|e| match (access, &strides) {
                (Access::Dense | Access::Rows, _) => format!("q{leaf}.{}", COMPONENTS[e]),
                (Access::Strided, Some(strides)) if e > 0 => {
                    let last = strides(structure.rank - 1);
                    format!("leaf{leaf}[at{leaf} + {e}u * {last}]")
                }
                _ => format!("q{leaf}"),
            }));
            continue;
        }
        let load = match dtype {
            DType::F16 => {
                let _ = writeln!(
                    body,
                    "    let pair{leaf} = unpack2x16float(leaf{leaf}[at{leaf} / 2u]);"
                );
                format!("select(pair{leaf}.x, pair{leaf}.y, at{leaf} % 2u == 1u)")
            }
            _ => format!("leaf{leaf}[at{leaf}]"),
        };
        let _ = writeln!(body, "    let x{leaf} = {load};");
    }
    let mut loads = String::new();
    if structure.quads {
        loads = std::mem::take(&mut body);
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        let e = node.expression();
        let elem = compute_type(e.elem);
        let params = word(e.params.len());
        let n_scalars = e
            .operands
            .iter()
            .filter(|o| matches!(o, Operand::Scalar(_)))
            .count();
        let scalars = word(n_scalars);
        let mut scalar = 0;
        let mut call: Vec<String> = Vec::new();
        let kinds = e.function.arguments(e.variant);
        for (argument, (_, kind)) in node.arguments.iter().zip(&kinds) {
            let wanted = match kind {
                Kind::Flag => "u32",
                Kind::Elem | Kind::Any => elem,
            };
            call.push(match argument {
                Argument::Node(n) => format!("y{n}"),
                Argument::Leaf(l) => format!("x{l}"),
                Argument::Unused => format!("{wanted}(0)"),
                Argument::Scalar => {
                    scalar += 1;
                    let word = scalars(scalar - 1);
                    match wanted {
                        "u32" => word,
                        _ => format!("bitcast<{wanted}>({word})"),
                    }
                }
            });
        }
        if e.function.output == Kind::Any {
            // A cast: WGSL's own conversion, then the copy that names it.
            call[0] = format!("{elem}({})", call[0]);
        }
        if !e.params.is_empty() {
            let fields: Vec<String> = e
                .function
                .params
                .iter()
                .enumerate()
                .map(|(k, (_, kind))| match kind {
                    Param::F32 => format!("bitcast<f32>({})", params(k)),
                    Param::U32 => params(k),
                })
                .collect();
            call.push(format!(
                "{}({})",
                instance_name(&format!("{}Params", e.function.name), elem),
                fields.join(", ")
            ));
        }
        if e.function.indexed {
            call.push(
                if structure.quads {
                    "index"
                } else {
                    "start + i"
                }
                .to_string(),
            );
        }
        let call = format!(
            "{}({})",
            instance_name(&e.function.wgsl_name(e.variant), elem),
            call.join(", ")
        );
        // Compilers contract a product and a sum that meet into one operation with one rounding, and then a chain has
        // other bits fused than one by one, or in a checkpoint. Neither WGSL nor naga can forbid it; a detour over
        // integers that the compiler cannot see through does. It costs one operation.
        let meets = graph.nodes[i + 1..]
            .iter()
            .any(|n| n.arguments.contains(&Argument::Node(i as u8)));
        let _ = match elem {
            "f32" if meets && e.function.output != Kind::Flag => writeln!(
                body,
                "    let y{i} = bitcast<f32>(bitcast<u32>({call}) ^ params.words[0].z);"
            ),
            _ => writeln!(body, "    let y{i} = {call};"),
        };
    }
    let dtypes: Vec<DType> = structure
        .outputs
        .iter()
        .map(|&n| structure.nodes[n as usize].3)
        .collect();
    let pairs = packs_pairs(dtypes.iter().copied());
    for (k, (&node, dtype)) in structure.outputs.iter().zip(&dtypes).enumerate() {
        let offset = out_offset(k);
        if structure.quads {
            break;
        }
        let _ = match dtype {
            // An assignment to a component by a computed index is beyond some compilers.
            DType::F16 => writeln!(
                body,
                "    pair_out{k} = select(vec2(pair_out{k}.x, y{node}), vec2(y{node}, 0.0f), e == 0u);"
            ),
            _ => writeln!(body, "    out{k}[{offset} + i] = y{node};"),
        };
    }

    let _ = writeln!(
        out,
        "struct Params {{\n    words: array<vec4<u32>, {}>,\n}}",
        next_word.div_ceil(4)
    );
    let stored = |dtype: DType| match dtype {
        DType::F16 => "u32",
        other => other.name(),
    };
    let quad = |dtype: DType| format!("vec4<{}>", stored(dtype));
    for (i, (dtype, access)) in structure.leaves.iter().enumerate() {
        let element = match access {
            Access::Dense | Access::Rows if structure.quads => quad(*dtype),
            _ => stored(*dtype).to_string(),
        };
        let _ = writeln!(
            out,
            "@group(0) @binding({i}) var<storage, read> leaf{i}: array<{element}>;"
        );
    }
    for (k, dtype) in dtypes.iter().enumerate() {
        let element = match structure.quads {
            true => quad(*dtype),
            false => stored(*dtype).to_string(),
        };
        let _ = writeln!(
            out,
            "@group(0) @binding({}) var<storage, read_write> out{k}: array<{element}>;",
            structure.leaves.len() + k
        );
    }
    if structure.quads {
        // Everything that one element needs is a function of its own, called four times.
        let fields: Vec<String> = dtypes
            .iter()
            .enumerate()
            .map(|(k, dtype)| format!("    v{k}: {},\n", stored(*dtype)))
            .collect();
        let arguments: Vec<String> = structure
            .leaves
            .iter()
            .enumerate()
            .map(|(leaf, (dtype, _))| format!(", x{leaf}: {}", stored(*dtype)))
            .collect();
        let values: Vec<String> = structure.outputs.iter().map(|n| format!("y{n}")).collect();
        let _ = write!(
            out,
            "struct Element {{\n{}}}\nfn element(index: u32{}) -> Element {{\n{body}    return Element({});\n}}\n",
            fields.concat(),
            arguments.concat(),
            values.join(", ")
        );
    }
    let _ = write!(
        out,
        "@group(1) @binding(0) var<uniform> params: Params;\n
@compute @workgroup_size({WORKGROUP})
fn fused(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {{
    let invocation = linear_invocation(workgroup, workgroups, local, {WORKGROUP}u);
    let length = params.words[0].x;
    let start = params.words[0].y;
"
    );
    if structure.quads {
        let _ = write!(
            out,
            "    let i = invocation * 4u;\n    if i >= length {{\n        return;\n    }}\n{loads}"
        );
        for e in 0..QUAD {
            let arguments: Vec<String> = taken.iter().map(|t| format!(", {}", t[e])).collect();
            let _ = writeln!(
                out,
                "    let e{e} = element(start + i + {e}u{});",
                arguments.concat()
            );
        }
        for (k, dtype) in dtypes.iter().enumerate() {
            let offset = out_offset(k);
            let _ = writeln!(
                out,
                "    out{k}[({offset} + i) / 4u] = {}(e0.v{k}, e1.v{k}, e2.v{k}, e3.v{k});",
                quad(*dtype)
            );
        }
        out.push_str("}\n");
        return out;
    }
    if !pairs {
        let _ = write!(
            out,
            "    let i = invocation;\n    if i >= length {{\n        return;\n    }}\n{body}}}\n"
        );
        return out;
    }
    let _ = write!(
        out,
        "    if invocation * 2u >= length {{\n        return;\n    }}\n"
    );
    for (k, dtype) in dtypes.iter().enumerate() {
        if *dtype == DType::F16 {
            let _ = writeln!(out, "    var pair_out{k} = vec2<f32>();");
        }
    }
    let indented: String = body
        .lines()
        .map(|l| format!("        {}\n", l.trim_start()))
        .collect();
    let _ = write!(
        out,
        "    for (var e = 0u; e < 2u; e++) {{
        let i = invocation * 2u + e;
        if i >= length {{
            break;
        }}
{indented}    }}\n"
    );
    for (k, dtype) in dtypes.iter().enumerate() {
        if *dtype == DType::F16 {
            let offset = out_offset(k);
            let _ = writeln!(
                out,
                "    out{k}[{offset} / 2u + invocation] = pack_f16(pair_out{k});"
            );
        }
    }
    out.push_str("}\n");
    out
}
