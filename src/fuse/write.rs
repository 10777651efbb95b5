//! The text of a generated kernel.

use std::fmt::Write as _;

use crate::fuse::expression::Operand;
use crate::fuse::function::{Kind, Param, Variant, compute_type, instance_name};
use crate::fuse::graph::{Argument, Graph, GraphNode};
use crate::fuse::reading::{Access, QUAD};
use crate::tensor::DType;

/// Invocations of a workgroup. Elementwise work needs no cooperation; 256 fills a compute unit everywhere and is the
/// most that the default limits allow.
pub(super) const WORKGROUP: u64 = 256;
/// Words of `params` before those whose number depends on the kernel: length, start, zero.
pub(super) const FIXED: usize = 3;
const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// Everything that decides the text of a kernel.
#[derive(PartialEq, Eq, Hash, Clone)]
pub(super) struct Structure {
    /// Function name, variant, `T`, dtype, arguments, choices.
    pub nodes: Vec<(&'static str, Variant, DType, DType, Vec<Argument>, Vec<u32>)>,
    pub leaves: Vec<(DType, Access)>,
    pub outputs: Vec<u8>,
    pub rank: usize,
    pub quads: bool,
}

/// Two f16 share a word, so the invocation that writes one must write the other.
pub(super) fn packs_pairs(mut outputs: impl Iterator<Item = DType>) -> bool {
    outputs.any(|d| d == DType::F16)
}

/// The text of the kernel. Words of `params`, in order: length, start, zero, an offset per output, an offset per leaf, axis
/// lengths, strides of each strided leaf, then parameters and scalars node by node. By quads the offsets of outputs and
/// dense leaves count quads.
pub(super) fn write(graph: &Graph, structure: &Structure) -> String {
    let mut words = Words(0);
    let (length, start, zero) = words.fixed();
    let out_offsets = words.take(structure.outputs.len());
    let leaf_offsets = words.take(structure.leaves.len());
    let lengths = words.take(structure.rank);
    let dtypes: Vec<DType> = structure
        .outputs
        .iter()
        .map(|&n| structure.nodes[n as usize].3)
        .collect();

    let mut body = coordinates(&lengths, &start);
    let mut leaves: Vec<LeafText> = Vec::new();
    for (leaf, (dtype, access)) in structure.leaves.iter().enumerate() {
        let strides = words.take(if access.is_strided() {
            structure.rank
        } else {
            0
        });
        let text = match structure.quads {
            true => load_quad(leaf, *access, &leaf_offsets[leaf], &strides),
            false => load_one(leaf, *dtype, *access, &leaf_offsets[leaf], &strides),
        };
        body.push_str(&text.load);
        leaves.push(text);
    }
    // Four elements are computed step by step side by side: one after the other they would wait for their own results.
    let elements = if structure.quads { QUAD } else { 1 };
    for (i, node) in graph.nodes.iter().enumerate() {
        let e = node.expression();
        let params = words.take(e.uniforms().count());
        let scalars = words.take(
            e.operands
                .iter()
                .filter(|o| matches!(o, Operand::Scalar(_)))
                .count(),
        );
        // Compilers contract a product and a sum that meet into one operation with one rounding, and then a chain has
        // other bits fused than one by one, or in a checkpoint. Neither WGSL nor naga can forbid it; a detour over
        // integers that the compiler cannot see through does. It costs one operation.
        let meets = graph.nodes[i + 1..]
            .iter()
            .any(|n| n.arguments.contains(&Argument::Node(i as u8)));
        let apart = compute_type(e.elem) == "f32" && meets && e.function.output != Kind::Flag;
        for element in 0..elements {
            let place = match structure.quads {
                true => format!("{start} + i + {element}u"),
                false => format!("{start} + i"),
            };
            let call = call(node, &params, &scalars, &place, |argument| match argument {
                Argument::Node(n) => value(structure, n, element),
                Argument::Leaf(l) => leaves[l as usize].elements[element].clone(),
                _ => unreachable!("the call writes scalars itself"),
            });
            let y = value(structure, i as u8, element);
            let _ = match apart {
                true => writeln!(
                    body,
                    "    let {y} = bitcast<f32>(bitcast<u32>({call}) ^ {zero});"
                ),
                false => writeln!(body, "    let {y} = {call};"),
            };
        }
    }
    for (k, (&node, dtype)) in structure.outputs.iter().zip(&dtypes).enumerate() {
        let offset = &out_offsets[k];
        let _ = match (structure.quads, dtype) {
            (true, _) => {
                let values: Vec<String> = (0..QUAD).map(|e| value(structure, node, e)).collect();
                writeln!(
                    body,
                    "    out{k}[{offset} + invocation] = vec4<{}>({});",
                    stored(*dtype),
                    values.join(", ")
                )
            }
            // An assignment to a component by a computed index is beyond some compilers.
            (false, DType::F16) => writeln!(
                body,
                "    pair_out{k} = select(vec2(pair_out{k}.x, y{node}), vec2(y{node}, 0.0f), e == 0u);"
            ),
            (false, _) => writeln!(body, "    out{k}[{offset} + i] = y{node};"),
        };
    }

    let mut out = functions(graph);
    out.push_str(&bindings(structure, &dtypes, words.blocks()));
    // All words are read before the first branch: behind it a software driver reads them lane by lane. For a chain of
    // ten on 2²⁰ elements that was .25 of 1.8 ms.
    for block in 0..words.blocks() {
        let _ = writeln!(out, "    let w{block} = params.words[{block}];");
    }
    let _ = writeln!(
        out,
        "    let invocation = linear_invocation(workgroup, workgroups, local, {WORKGROUP}u);"
    );
    if structure.quads {
        let _ = write!(
            out,
            "    let i = invocation * {QUAD}u;\n    if i >= {length} {{\n        return;\n    }}\n{body}}}\n"
        );
        return out;
    }
    if !packs_pairs(dtypes.iter().copied()) {
        let _ = write!(
            out,
            "    let i = invocation;\n    if i >= {length} {{\n        return;\n    }}\n{body}}}\n"
        );
        return out;
    }
    let _ = write!(
        out,
        "    if invocation * 2u >= {length} {{\n        return;\n    }}\n"
    );
    let pairs = || {
        dtypes
            .iter()
            .enumerate()
            .filter(|(_, dtype)| **dtype == DType::F16)
            .map(|(k, _)| k)
    };
    for k in pairs() {
        let _ = writeln!(out, "    var pair_out{k} = vec2<f32>();");
    }
    let indented: String = body
        .lines()
        .map(|l| format!("        {}\n", l.trim_start()))
        .collect();
    let _ = write!(
        out,
        "    for (var e = 0u; e < 2u; e++) {{
        let i = invocation * 2u + e;
        if i >= {length} {{
            break;
        }}
{indented}    }}\n"
    );
    for k in pairs() {
        let offset = &out_offsets[k];
        let _ = writeln!(
            out,
            "    out{k}[{offset} / 2u + invocation] = pack_f16(pair_out{k});"
        );
    }
    out.push_str("}\n");
    out
}

/// Numbers the words of `params`; this many are taken.
struct Words(usize);

impl Words {
    /// The next `n` words as the kernel names them.
    fn take(&mut self, n: usize) -> Vec<String> {
        let first = self.0;
        self.0 += n;
        (first..self.0)
            .map(|at| format!("w{}.{}", at / 4, COMPONENTS[at % 4]))
            .collect()
    }

    /// Length, start and zero.
    fn fixed(&mut self) -> (String, String, String) {
        let words: [String; FIXED] = self.take(FIXED).try_into().expect("as many as asked for");
        words.into()
    }

    fn blocks(&self) -> usize {
        self.0.div_ceil(4)
    }
}

/// A leaf in the text: statements that load it, and what each element of the invocation takes of it.
struct LeafText {
    load: String,
    elements: Vec<String>,
}

/// The coordinates `c0`, `c1`, … of the invocation's first element.
fn coordinates(lengths: &[String], start: &str) -> String {
    let mut out = String::new();
    let rank = lengths.len();
    if rank > 0 {
        let _ = writeln!(out, "    let rest0 = {start} + i;");
    }
    for axis in (0..rank).rev() {
        let from = rank - 1 - axis;
        if axis == 0 {
            let _ = writeln!(out, "    let c0 = rest{from};");
        } else {
            let length = &lengths[axis];
            let _ = writeln!(out, "    let c{axis} = rest{from} % {length};");
            let _ = writeln!(out, "    let rest{} = rest{from} / {length};", from + 1);
        }
    }
    out
}

/// The place of the element at the coordinates.
fn strided(offset: &str, strides: &[String]) -> String {
    strides
        .iter()
        .enumerate()
        .fold(offset.to_string(), |at, (axis, stride)| {
            format!("{at} + c{axis} * {stride}")
        })
}

fn load_one(
    leaf: usize,
    dtype: DType,
    access: Access,
    offset: &str,
    strides: &[String],
) -> LeafText {
    let at = match access {
        Access::Dense => format!("{offset} + i"),
        _ => strided(offset, strides),
    };
    let mut load = format!("    let at{leaf} = {at};\n");
    let _ = match dtype {
        DType::F16 => write!(
            load,
            "    let pair{leaf} = unpack2x16float(leaf{leaf}[at{leaf} / 2u]);
    let x{leaf} = select(pair{leaf}.x, pair{leaf}.y, at{leaf} % 2u == 1u);\n"
        ),
        _ => writeln!(load, "    let x{leaf} = leaf{leaf}[at{leaf}];"),
    };
    LeafText {
        load,
        elements: vec![format!("x{leaf}")],
    }
}

fn load_quad(leaf: usize, access: Access, offset: &str, strides: &[String]) -> LeafText {
    let at = match access {
        Access::Dense => format!("{offset} + invocation"),
        Access::Rows => format!("({}) / {QUAD}u", strided(offset, strides)),
        _ => strided(offset, strides),
    };
    let mut load = format!("    let at{leaf} = {at};\n");
    if access != Access::Strided {
        let _ = writeln!(load, "    let q{leaf} = leaf{leaf}[at{leaf}];");
    }
    let elements = (0..QUAD)
        .map(|e| match (access, strides.last()) {
            (Access::Dense | Access::Rows, _) => format!("q{leaf}.{}", COMPONENTS[e]),
            (Access::Strided, Some(last)) => format!("leaf{leaf}[at{leaf} + {e}u * {last}]"),
            _ => format!("q{leaf}"),
        })
        .collect();
    LeafText { load, elements }
}

/// The name of what a node gives for an element of the invocation.
fn value(structure: &Structure, node: u8, element: usize) -> String {
    match structure.quads {
        true => format!("y{node}{}", COMPONENTS[element]),
        false => format!("y{node}"),
    }
}

/// The call of a node's function for the element at `place`; `operand` names nodes and leaves.
fn call(
    node: &GraphNode,
    params: &[String],
    scalars: &[String],
    place: &str,
    operand: impl Fn(Argument) -> String,
) -> String {
    let e = node.expression();
    let elem = compute_type(e.elem);
    let mut scalars = scalars.iter();
    let mut arguments: Vec<String> = Vec::new();
    let kinds = e.function.arguments(e.variant);
    for (argument, (_, kind)) in node.arguments.iter().zip(&kinds) {
        let wanted = match kind {
            Kind::Flag => "u32",
            Kind::Elem | Kind::Any => elem,
        };
        arguments.push(match argument {
            Argument::Node(_) | Argument::Leaf(_) => operand(*argument),
            Argument::Unused => format!("{wanted}(0)"),
            Argument::Scalar => {
                let word = scalars.next().expect("as many words as scalars");
                match wanted {
                    "u32" => word.clone(),
                    _ => format!("bitcast<{wanted}>({word})"),
                }
            }
        });
    }
    if e.function.output == Kind::Any {
        // A cast: WGSL's own conversion, then the copy that names it.
        arguments[0] = format!("{elem}({})", arguments[0]);
    }
    if !e.params.is_empty() {
        let mut words = params.iter();
        let mut word = || words.next().expect("as many words as uniforms").clone();
        let fields: Vec<String> = e
            .function
            .params
            .iter()
            .zip(&e.params)
            .map(|((_, kind), value)| match kind {
                Param::F32 => format!("bitcast<f32>({})", word()),
                Param::U32 => word(),
                Param::Choice => format!("{value}u"),
            })
            .collect();
        arguments.push(format!(
            "{}({})",
            instance_name(&format!("{}Params", e.function.name), elem),
            fields.join(", ")
        ));
    }
    if e.function.indexed {
        arguments.push(place.to_string());
    }
    format!(
        "{}({})",
        instance_name(&e.function.wgsl_name(e.variant), elem),
        arguments.join(", ")
    )
}

/// Imports and the functions that the nodes call, each once.
fn functions(graph: &Graph) -> String {
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
    out
}

/// The type that a buffer holds.
fn stored(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "u32",
        other => other.name(),
    }
}

/// Parameters, leaves, outputs, and the head of the entry point.
fn bindings(structure: &Structure, dtypes: &[DType], blocks: usize) -> String {
    let mut out = format!("struct Params {{\n    words: array<vec4<u32>, {blocks}>,\n}}\n");
    let element = |dtype: DType, quad: bool| match quad && structure.quads {
        true => format!("vec4<{}>", stored(dtype)),
        false => stored(dtype).to_string(),
    };
    for (i, (dtype, access)) in structure.leaves.iter().enumerate() {
        let quad = matches!(access, Access::Dense | Access::Rows);
        let _ = writeln!(
            out,
            "@group(0) @binding({i}) var<storage, read> leaf{i}: array<{}>;",
            element(*dtype, quad)
        );
    }
    for (k, dtype) in dtypes.iter().enumerate() {
        let _ = writeln!(
            out,
            "@group(0) @binding({}) var<storage, read_write> out{k}: array<{}>;",
            structure.leaves.len() + k,
            element(*dtype, true)
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
"
    );
    out
}
