//! Checks a generated kernel on its adapter before its numbers are trusted.
//!
//! The kernel runs on made-up leaves of a small shape that gives the same structure, and is compared with the same
//! functions composed in f64. The bound follows each rounding through the graph ([`bound`]), so a chain that cancels
//! gets the room it needs and no more.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::error::Result;
use crate::fuse::bound::{self, Bounded, TINY, U};
use crate::fuse::expression::Operand;
use crate::fuse::function::{Function, Kind, Param, Variant};
use crate::fuse::graph::{Argument, Graph, GraphNode};
use crate::fuse::kernel;
use crate::fuse::reading::{Reading, probe_layout};
use crate::gpu::Device;
use crate::gpu::pipeline::Pipeline;
use crate::tensor::{DType, Layout, Shape, Tensor};
use crate::verdict::{Verdict, Verdicts, compare, trial_key};

pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Whether the numbers are right here: the remembered verdict, or that of a probe, which is run now.
pub(super) fn verdict(
    device: &Device,
    graph: &Graph,
    reading: &Reading,
    text: &str,
    pipeline: &Pipeline,
) -> Result<Verdict> {
    let verdicts = Verdicts::of(device);
    let mut key = format!("{}/{:016x}", kernel::FUSED, hash(text));
    if let Some(spoiled) = kernel::spoiled(device, graph) {
        key = trial_key(spoiled, &key);
    }
    if let Some(verdict) = verdicts.get(&key) {
        return Ok(verdict);
    }
    let verdict = match probe(device, graph, reading, pipeline)? {
        None => Verdict::Right,
        Some(detail) => Verdict::Wrong(detail),
    };
    verdicts.put(key, verdict.clone());
    Ok(verdict)
}

/// Lengths of the made-up axes: more than two workgroups, or more than one that works by quads; nothing a power of two.
fn lengths(reading: &Reading) -> Vec<usize> {
    let lengths: &[usize] = match (reading.rank(), reading.quads > 0) {
        (0 | 1, false) => &[523],
        (2, false) => &[17, 31],
        (3, false) => &[5, 7, 15],
        (4, false) => &[3, 5, 7, 5],
        (5, false) => &[3, 2, 3, 5, 6],
        (_, false) => &[2, 3, 2, 5, 3, 3],
        (0 | 1, true) => &[1052],
        (2, true) => &[31, 36],
        (3, true) => &[9, 11, 12],
        (4, true) => &[3, 5, 7, 12],
        (5, true) => &[3, 2, 3, 5, 12],
        (_, true) => &[2, 3, 2, 3, 3, 12],
    };
    let mut lengths = lengths.to_vec();
    *lengths.last_mut().expect("at least one axis") *= reading.quads.max(1);
    lengths
}

/// A made-up leaf: numbers as stored, and where element `i` of the kernel finds its own.
struct Leaf {
    numbers: Vec<f64>,
    places: Vec<usize>,
}

fn probe(
    device: &Device,
    graph: &Graph,
    reading: &Reading,
    pipeline: &Pipeline,
) -> Result<Option<String>> {
    let shape = Shape::of(&lengths(reading));
    let n = shape.numel();
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut layouts: Vec<Layout> = Vec::new();
    let flags = flag_leaves(graph);
    for (i, tensor) in graph.leaves.iter().enumerate() {
        let layout = probe_layout(reading, i, shape);
        let places: Vec<usize> = layout.indices().collect();
        let size = layout.span();
        let numbers = (0..size)
            .map(|k| made_up(tensor.dtype(), flags[i], i, k))
            .collect();
        layouts.push(layout);
        leaves.push(Leaf { numbers, places });
    }
    settle(graph, &mut leaves, n);
    let mut expected = vec![Vec::with_capacity(n); graph.outputs.len()];
    let mut bounds = vec![Vec::with_capacity(n); graph.outputs.len()];
    for element in 0..n {
        let found = evaluate(graph, &leaves, element, Derivatives::Numeric);
        for (k, &node) in graph.outputs.iter().enumerate() {
            let dtype = graph.nodes[node as usize].expression().dtype;
            let (value, error) = match found.amiss.is_empty() {
                true => found.nodes[node as usize],
                // A leaf would have to be the value of two calls.
                false => (f64::NAN, f64::NAN),
            };
            expected[k].push(value);
            // 4: the analysis of derivatives is of first order; that of values would do without.
            bounds[k].push(bound::stored(dtype, (value, 4.0 * error)).1);
        }
    }
    let quiet = device.with_mode(crate::gpu::Mode {
        verify: false,
        guard: false,
        ..device.mode()
    });
    let tensors = leaves
        .iter()
        .zip(&layouts)
        .zip(&graph.leaves)
        .map(|((leaf, layout), tensor)| {
            let stored = upload(&quiet, tensor.dtype(), &leaf.numbers)?;
            Ok(stored.view(*layout))
        })
        .collect::<Result<Vec<Tensor>>>()?;
    let outputs = graph
        .outputs
        .iter()
        .map(|&node| {
            let dtype = graph.nodes[node as usize].expression().dtype;
            Tensor::empty(&quiet, dtype, shape)
        })
        .collect::<Result<Vec<Tensor>>>()?;
    let probe = Graph {
        nodes: graph.nodes.clone(),
        leaves: tensors,
        outputs: graph.outputs.clone(),
        shape,
    };
    kernel::probe(&quiet, &probe, reading, &outputs, pipeline)?;
    for (k, output) in outputs.iter().enumerate() {
        let mut got = download(output)?;
        for (i, got) in got.iter_mut().enumerate() {
            // Outside of a function's domain WGSL promises nothing, and an overflow may clamp or not.
            let unclear = !expected[k][i].is_finite()
                || !bounds[k][i].is_finite()
                || expected[k][i].abs() > 1e37;
            if unclear {
                *got = 0.0;
                expected[k][i] = 0.0;
                bounds[k][i] = 0.0;
            }
        }
        if let Err(mismatch) = compare(&got, &expected[k], |i| bounds[k][i]) {
            let names: Vec<&str> = graph
                .nodes
                .iter()
                .map(|n| n.expression().function.name)
                .collect();
            return Ok(Some(format!("{}: {mismatch}", names.join(" "))));
        }
    }
    Ok(None)
}

/// Which leaves are looked at as conditions.
fn flag_leaves(graph: &Graph) -> Vec<bool> {
    let mut flags = vec![false; graph.leaves.len()];
    for node in &graph.nodes {
        let e = node.expression();
        let kinds = e.function.arguments(e.variant);
        for (argument, (_, kind)) in node.arguments.iter().zip(kinds) {
            if let (Argument::Leaf(l), Kind::Flag) = (argument, kind) {
                flags[*l as usize] = true;
            }
        }
    }
    flags
}

/// Half of the elements are positive, so that logarithms and roots are looked at too.
fn made_up(dtype: DType, flag: bool, leaf: usize, k: usize) -> f64 {
    let mut bits = (leaf as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(k as u64);
    bits = (bits ^ (bits >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    bits ^= bits >> 32;
    let unit = (bits % 8192) as f64 / 8192.0;
    match dtype {
        _ if flag => (bits % 2) as f64,
        DType::U32 => (bits % 8) as f64,
        DType::I32 => (bits % 8) as f64 - if k % 2 == 0 { 0.0 } else { 4.0 },
        // Multiples of 2⁻¹⁰ below 2: exact in f16 as well.
        DType::F32 | DType::F16 => {
            let x = if k % 2 == 0 {
                0.25 + 1.75 * unit
            } else {
                4.0 * unit - 2.0
            };
            (x * 1024.0).round() / 1024.0
        }
    }
}

/// Gives each leaf that a derivative is handed as the value of its function that value, whoever else looks at it. What one
/// leaf is set to may be the argument of a function whose value is another one.
fn settle(graph: &Graph, leaves: &mut [Leaf], n: usize) {
    let is_value_of_call = |node: &GraphNode| {
        let e = node.expression();
        let y = node.arguments.get(e.function.inputs.len());
        e.variant != Variant::Value && matches!(y, Some(Argument::Leaf(_)))
    };
    if !graph.nodes.iter().any(is_value_of_call) {
        return;
    }
    for element in 0..n {
        for _ in 0..=graph.nodes.len() {
            let found = evaluate(graph, leaves, element, Derivatives::Left);
            if found.amiss.is_empty() {
                break;
            }
            for (leaf, place, value) in found.amiss {
                leaves[leaf].numbers[place] = value;
            }
        }
    }
}

/// What to do about derivatives.
#[derive(Clone, Copy, PartialEq)]
enum Derivatives {
    Numeric,
    /// They are 1: no argument of a function depends on them.
    Left,
}

struct Evaluated {
    /// Value and error bound of every node.
    nodes: Vec<Bounded>,
    /// Leaves that are not yet what a derivative takes them for: which, the place in it, and what it should be.
    amiss: Vec<(usize, usize, f64)>,
}

/// Evaluates the graph at one element.
fn evaluate(graph: &Graph, leaves: &[Leaf], element: usize, derivatives: Derivatives) -> Evaluated {
    let mut nodes: Vec<Bounded> = Vec::with_capacity(graph.nodes.len());
    let mut arguments_of: Vec<Vec<Bounded>> = Vec::with_capacity(graph.nodes.len());
    let mut amiss = Vec::new();
    for node in &graph.nodes {
        let e = node.expression();
        let mut params: Vec<f64> = e
            .function
            .params
            .iter()
            .zip(&e.params)
            .map(|((_, kind), bits)| match kind {
                Param::F32 => f64::from(f32::from_bits(*bits)),
                Param::U32 | Param::Choice => f64::from(*bits),
            })
            .collect();
        if e.function.indexed {
            params.push(element as f64);
        }
        let n_inputs = e.function.inputs.len();
        // The value that a derivative is handed, and the call that it is of.
        let y = node.arguments.get(n_inputs).copied();
        let call = match y {
            Some(Argument::Node(n)) => {
                let of = graph.nodes[n as usize].expression();
                let is_call = of.variant == Variant::Value && of.function.name == e.function.name;
                is_call.then_some(n as usize)
            }
            _ => None,
        };
        let mut arguments: Vec<Bounded> = Vec::new();
        for (i, (argument, operand)) in node.arguments.iter().zip(&e.operands).enumerate() {
            let bounded = match argument {
                Argument::Node(n) => nodes[*n as usize],
                Argument::Leaf(l) => {
                    let leaf = &leaves[*l as usize];
                    let place = leaf.places[element];
                    let number = leaf.numbers[place];
                    if i == n_inputs {
                        let of = |arguments: &[Bounded]| {
                            let x: Vec<f64> = arguments.iter().map(|a| a.0).collect();
                            (e.function.twin)(&x, &params)
                        };
                        let mut value = of(&arguments);
                        if !value.is_finite() {
                            // Outside of the domain: arguments that nobody has given may be others.
                            for (x, given) in arguments.iter_mut().zip(&node.arguments) {
                                if *given == Argument::Unused {
                                    x.0 = x.0.abs();
                                }
                            }
                            value = of(&arguments);
                        }
                        let stored = round_to(graph.leaves[*l as usize].dtype(), value);
                        if stored != number && !(stored.is_nan() && number.is_nan()) {
                            amiss.push((*l as usize, place, stored));
                        }
                        (number, (value - number).abs())
                    } else {
                        (number, 0.0)
                    }
                }
                Argument::Scalar => match operand {
                    Operand::Scalar(bits) => (scalar(*bits, e.elem), 0.0),
                    _ => unreachable!("a scalar argument has a scalar operand"),
                },
                // A derivative that does not look at x may look at y = f(x): that x, or any if y is still to be made.
                Argument::Unused => match (call, y) {
                    (Some(call), _) => arguments_of[call][i],
                    (None, Some(Argument::Leaf(l))) => any(leaves[l as usize].places[element]),
                    _ => any(element),
                },
            };
            arguments.push(bounded);
        }
        let dtype = |argument: &Argument| match argument {
            Argument::Node(n) => graph.nodes[*n as usize].expression().dtype,
            Argument::Leaf(l) => graph.leaves[*l as usize].dtype(),
            Argument::Scalar | Argument::Unused => e.elem,
        };
        nodes.push(match e.variant {
            Variant::Value if e.function.output == Kind::Any => {
                bound::cast(arguments[0], dtype(&node.arguments[0]), e.elem)
            }
            Variant::Value => bound::value(e.function, &arguments, &params, e.elem),
            Variant::Derivative(_) if derivatives == Derivatives::Left => (1.0, 0.0),
            Variant::Derivative(i) => derivative(e.function, i as usize, &arguments, &params),
        });
        arguments_of.push(arguments);
    }
    Evaluated { nodes, amiss }
}

/// An argument that nobody has given: above 0 in half of the places, where every function has a value, and below in the
/// others, where many have one too.
fn any(place: usize) -> Bounded {
    let x = 0.375 + (place % 7) as f64 * 0.25;
    (if place / 7 % 2 == 0 { x } else { -x }, 0.0)
}

/// The upstream gradient times the numeric derivative. At a kink, where the two one-sided derivatives differ, nothing
/// is expected.
fn derivative(function: &Function, input: usize, arguments: &[Bounded], params: &[f64]) -> Bounded {
    let n_inputs = function.inputs.len();
    if arguments.iter().any(|a| a.1.is_nan()) {
        return (f64::NAN, f64::NAN);
    }
    let mut x: Vec<f64> = arguments[..n_inputs].iter().map(|a| a.0).collect();
    let dy = arguments[n_inputs + 1];
    let y = (function.twin)(&x, params);
    // Of fourth order, with its difference to the second order as a measure of what is still missing near poles.
    let slope = |x: &mut Vec<f64>, h: f64| {
        let middle = x[input];
        let mut at = |place: f64| {
            x[input] = place;
            (function.twin)(x, params)
        };
        let (up, down, here) = (at(middle + h), at(middle - h), at(middle));
        let near = (up - down) / (2.0 * h);
        let far = (at(middle + 2.0 * h) - at(middle - 2.0 * h)) / (4.0 * h);
        x[input] = middle;
        let d = (4.0 * near - far) / 3.0;
        (d, (up - 2.0 * here + down) / h, 0.1 * (d - near).abs())
    };
    let h = 1e-5 * x[input].abs().max(1.0);
    let (d, kink, truncation) = slope(&mut x, h);
    // A jump between h and 2 h shows in the difference of the orders alone.
    let size = d.abs().max(1.0);
    if kink.abs() > 1e-2 * size || truncation > 1e-3 * size {
        return (f64::NAN, f64::NAN);
    }
    let mut spread_of_d = 1e-9 * d.abs().max(1.0) + truncation;
    for (i, &(middle, spread)) in arguments[..n_inputs].iter().enumerate() {
        if spread > 0.0 {
            for side in [middle - spread, middle + spread] {
                x[i] = side;
                spread_of_d += (slope(&mut x, h).0 - d).abs();
            }
            x[i] = middle;
        }
    }
    // Terms that cancel inside a derivative (1 − y², x − x³) are of the size of its arguments.
    let terms = x
        .iter()
        .fold(d.abs().max(1.0).max(y.abs()), |m, x| m.max(x.abs()));
    let rounding = (function.ulps + 4.0) * U * terms * dy.0.abs();
    // What is made of y may be a power of it: an error counts by its size beside y.
    let y_error = match arguments[n_inputs].1 {
        0.0 => 0.0,
        error => error * (1.0 / y.abs()).max(1.0) * dy.0.abs() * terms,
    };
    let error = rounding + y_error + dy.0.abs() * spread_of_d + dy.1 * (d.abs() + spread_of_d);
    (dy.0 * d, error + TINY)
}

fn scalar(bits: u32, elem: DType) -> f64 {
    match elem {
        DType::F32 | DType::F16 => f64::from(f32::from_bits(bits)),
        DType::I32 => f64::from(bits as i32),
        DType::U32 => f64::from(bits),
    }
}

fn round_to(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => half::f16::from_f64(x).to_f64(),
        DType::I32 | DType::U32 => x,
    }
}

fn upload(device: &Device, dtype: DType, numbers: &[f64]) -> Result<Tensor> {
    let shape = [numbers.len()];
    match dtype {
        DType::F32 => {
            let data: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
            Tensor::from_slice(device, &data, shape)
        }
        DType::F16 => {
            let data: Vec<half::f16> = numbers.iter().map(|x| half::f16::from_f64(*x)).collect();
            Tensor::from_slice(device, &data, shape)
        }
        DType::I32 => {
            let data: Vec<i32> = numbers.iter().map(|x| *x as i32).collect();
            Tensor::from_slice(device, &data, shape)
        }
        DType::U32 => {
            let data: Vec<u32> = numbers.iter().map(|x| *x as u32).collect();
            Tensor::from_slice(device, &data, shape)
        }
    }
}

fn download(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        DType::F32 => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F16 => tensor
            .to_vec::<half::f16>()?
            .into_iter()
            .map(half::f16::to_f64)
            .collect(),
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::U32 => tensor.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
    })
}
