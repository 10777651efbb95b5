//! The text of a generated kernel.

use std::fmt::Write as _;

use crate::fuse::expression::Operand;
use crate::fuse::function::{Kind, Param, Variant, compute_type, instance_name};
use crate::fuse::graph::{Argument, Graph};
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
    /// Function name, variant, `T`, dtype, arguments.
    pub nodes: Vec<(&'static str, Variant, DType, DType, Vec<Argument>)>,
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
/// lengths, strides of each strided leaf, then parameters and scalars node by node.
pub(super) fn write(graph: &Graph, structure: &Structure) -> String {
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
