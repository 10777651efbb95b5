//! Generated kernels: caching by structure, verification, dispatching.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::fuse::expression::{Operand, Size};
use crate::fuse::graph::Graph;
use crate::fuse::reading::{Access, QUAD, Reading};
use crate::fuse::verify;
use crate::fuse::write::{FIXED, Structure, WORKGROUP, packs_pairs, write};
use crate::gpu::dispatch::Binding;
use crate::gpu::pipeline::{MAX_PARAMS, Pipeline};
use crate::gpu::shader::Elem;
use crate::gpu::stream::MAX_BINDINGS;
use crate::gpu::{Caps, Device, Kernel, Source};
use crate::tensor::{Tensor, allocate};
use crate::verdict::{self, Verdict};

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

/// Entry point of every generated kernel, and what [`Mode::corrupt`](crate::gpu::Mode) calls those of several functions.
/// Those of one function, which take over where a fused one is wrong, are called by the function's name.
pub const FUSED: &str = "fused";

/// Kernels generated on one device.
#[derive(Default)]
struct Kernels {
    by_structure: Mutex<HashMap<Key, Made>>,
    /// What was found of fused kernels that gave way to kernels of one function since somebody asked.
    given_way: Mutex<BTreeSet<String>>,
}

/// A structure, and what its kernels are spoiled as on purpose, if they are.
type Key = (Structure, Option<&'static str>);

/// A generated kernel.
#[derive(Clone)]
struct Made {
    pipeline: Arc<Pipeline>,
    text: Arc<str>,
    fit: Fit,
}

/// What is known of a generated kernel.
#[derive(Clone, PartialEq)]
enum Fit {
    /// Nobody has looked at its numbers.
    Untried,
    Right,
    Wrong(String),
}

impl Kernels {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Made>> {
        self.by_structure
            .lock()
            .expect("nothing panics while kernels are locked")
    }

    fn given_way(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.given_way
            .lock()
            .expect("nothing panics while what gave way is locked")
    }
}

/// What was found of fused kernels that gave way on this device since the last call, each in one line.
#[cfg(feature = "bench")]
pub(crate) fn take_given_way(device: &Device) -> Vec<String> {
    let kernels = device.extension(Kernels::default);
    let taken = std::mem::take(&mut *kernels.given_way());
    taken.into_iter().collect()
}

/// The name under which the kernel of this graph is spoiled, if the handle asks for that.
pub(super) fn spoiled(device: &Device, graph: &Graph) -> Option<&'static str> {
    let name = match graph.nodes.as_slice() {
        [one] => one.expression().function.name,
        _ => FUSED,
    };
    device.mode().corrupt.filter(|corrupt| *corrupt == name)
}

/// Computes the outputs of `graph` and stores them. A fused kernel that is wrong on this adapter gives way to one
/// kernel per function.
pub(crate) fn run(device: &Device, graph: &Graph) -> Result<()> {
    match run_fused(device, graph) {
        Err(Error::KernelWrong { detail, .. }) if graph.nodes.len() > 1 => {
            let kernels = device.extension(Kernels::default);
            let first = kernels.given_way().insert(format!("{FUSED}: {detail}"));
            if first {
                log::warn!(
                    "a fused kernel is wrong on {} and is not used: {detail}",
                    device.adapter().label()
                );
            }
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
                    e.choices(),
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
    let key = (structure, spoiled(device, graph));
    let known = kernels.lock().get(&key).cloned();
    let is_known = known.is_some();
    let mut made = match known {
        Some(made) => made,
        None => {
            let (pipeline, text) = compile(device, graph, &key.0)?;
            Made {
                pipeline,
                text,
                fit: Fit::Untried,
            }
        }
    };
    let judge = verify && made.fit == Fit::Untried;
    if judge {
        // The probe is given the pipeline: nobody else gets it before the verdict.
        made.fit = match verify::verdict(device, graph, &reading, &made.text, &made.pipeline)? {
            Verdict::Right => Fit::Right,
            Verdict::Wrong(detail) => Fit::Wrong(detail),
        };
    }
    if judge || !is_known {
        kernels.lock().insert(key, made.clone());
    }
    match made.fit {
        Fit::Wrong(detail) => Err(Error::KernelWrong {
            op: graph.nodes[graph.outputs[0] as usize]
                .expression()
                .function
                .name,
            adapter: device.adapter().label(),
            detail,
        }),
        Fit::Right | Fit::Untried => dispatch(device, graph, outputs, &reading, &made.pipeline),
    }
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
        entry: FUSED,
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
    texts.dedup();
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
    let in_parts = largest > caps.max_binding_bytes;
    let part = match in_parts {
        true => ((caps.max_binding_bytes / 4 - 1024) / 1024 * 1024) as usize,
        false => n,
    };
    let mut start = 0;
    while start < n {
        let length = part.min(n - start);
        let mut words: Vec<u32> = vec![length as u32, start as u32, 0];
        let mut bindings = Vec::with_capacity(graph.leaves.len() + outputs.len());
        let mut bind = |tensor: &Tensor, dense: bool| -> Result<u32> {
            let buffer = tensor.buffer()?;
            let offset = tensor.layout().offset;
            if !(in_parts && dense) {
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
        // By quads these count quads.
        let per_offset = if *quads > 0 { QUAD as u32 } else { 1 };
        let leaf_offsets = graph
            .leaves
            .iter()
            .zip(accesses)
            .map(|(l, a)| match a {
                Access::Dense => Ok(bind(l, true)? / per_offset),
                _ => bind(l, false),
            })
            .collect::<Result<Vec<u32>>>()?;
        for output in outputs {
            words.push(bind(output, true)? / per_offset);
        }
        words.extend(leaf_offsets);
        words.extend(axes.lengths.iter().map(|n| *n as u32));
        for strides in &axes.strides {
            words.extend(strides.iter().map(|s| *s as u32));
        }
        for node in &graph.nodes {
            let expression = node.expression();
            words.extend(expression.uniforms());
            words.extend(expression.operands.iter().filter_map(|o| match o {
                Operand::Scalar(bits) => Some(*bits),
                _ => None,
            }));
        }
        words.resize(words.len().next_multiple_of(4), 0);
        let elements = match (*quads, pairs) {
            (0, true) => 2,
            (0, false) => 1,
            (quads, _) => quads * QUAD,
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
    if spoiled(device, graph).is_some() {
        for output in outputs {
            spoil(device, output)?;
        }
    }
    Ok(())
}

fn spoil(device: &Device, output: &Tensor) -> Result<()> {
    let offset = output.layout().offset * output.dtype().size();
    verdict::spoil(device, &output.buffer()?, offset)
}
