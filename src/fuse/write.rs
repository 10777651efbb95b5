//! The text of a generated kernel.

use std::fmt::Write as _;
use std::ops::Range;

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
    /// Function name, variant, `T`, dtype, arguments, choices.
    pub nodes: Vec<(&'static str, Variant, DType, DType, Vec<Argument>, Vec<u32>)>,
    pub leaves: Vec<(DType, Access)>,
    pub outputs: Vec<u8>,
    pub rank: usize,
    pub quads: usize,
}

/// Two f16 share a word, so the invocation that writes one must write the other.
pub(super) fn packs_pairs(mut outputs: impl Iterator<Item = DType>) -> bool {
    outputs.any(|d| d == DType::F16)
}

/// The text of the kernel.
pub(super) fn write(graph: &Graph, structure: &Structure) -> String {
    Writer {
        graph,
        structure,
        words: Words::of(graph, structure),
    }
    .text()
}

/// The words of `params` as the kernel names them, in their order. By quads the offsets of outputs and of dense leaves
/// count quads.
struct Words {
    length: String,
    start: String,
    zero: String,
    out_offsets: Vec<String>,
    leaf_offsets: Vec<String>,
    lengths: Vec<String>,
    /// Of each leaf; none unless it is strided.
    strides: Vec<Vec<String>>,
    /// Parameters and scalars of each node.
    values: Vec<[Vec<String>; 2]>,
    /// Words of four.
    n_blocks: usize,
}

impl Words {
    fn of(graph: &Graph, structure: &Structure) -> Self {
        let mut taken = 0;
        let mut take = |n: usize| -> Vec<String> {
            let first = taken;
            taken += n;
            (first..taken)
                .map(|at| format!("w{}.{}", at / 4, COMPONENTS[at % 4]))
                .collect()
        };
        let [length, start, zero]: [String; FIXED] =
            take(FIXED).try_into().expect("as many as asked for");
        let out_offsets = take(structure.outputs.len());
        let leaf_offsets = take(structure.leaves.len());
        let lengths = take(structure.rank);
        let strides = structure
            .leaves
            .iter()
            .map(|(_, access)| match access.is_strided() {
                true => take(structure.rank),
                false => Vec::new(),
            })
            .collect();
        let values = graph
            .nodes
            .iter()
            .map(|node| {
                let e = node.expression();
                let is_scalar = |o: &&Operand| matches!(o, Operand::Scalar(_));
                let params = take(e.uniforms().count());
                let scalars = take(e.operands.iter().filter(is_scalar).count());
                [params, scalars]
            })
            .collect();
        Words {
            length,
            start,
            zero,
            out_offsets,
            leaf_offsets,
            lengths,
            strides,
            values,
            n_blocks: taken.div_ceil(4),
        }
    }
}

/// What a text is written of.
struct Writer<'a> {
    graph: &'a Graph,
    structure: &'a Structure,
    words: Words,
}

impl Writer<'_> {
    fn text(&self) -> String {
        let length = &self.words.length;
        let mut out = functions(self.graph);
        out.push_str(&bindings(
            self.structure,
            &self.dtypes(),
            self.words.n_blocks,
        ));
        // All words are read before the first branch: behind it a software driver reads them lane by lane. For a chain
        // of ten on 2²⁰ elements that was .25 of 1.8 ms.
        for block in 0..self.words.n_blocks {
            let _ = writeln!(out, "    let w{block} = params.words[{block}];");
        }
        let _ = writeln!(
            out,
            "    let invocation = linear_invocation(workgroup, workgroups, local, {WORKGROUP}u);"
        );
        if self.structure.quads == 0 && packs_pairs(self.dtypes().into_iter()) {
            out.push_str(&self.pair());
        } else {
            let n = (self.structure.quads * QUAD).max(1);
            let _ = write!(
                out,
                "    let i = invocation * {n}u;\n    if i >= {length} {{\n        return;\n    }}\n{}",
                self.elements()
            );
        }
        out.push_str("}\n");
        out
    }

    fn dtypes(&self) -> Vec<DType> {
        let node = |&n: &u8| self.structure.nodes[n as usize].3;
        self.structure.outputs.iter().map(node).collect()
    }

    /// Two elements in turn, whose f16 values then share a word.
    fn pair(&self) -> String {
        let length = &self.words.length;
        let dtypes = self.dtypes();
        let pairs = || (0..dtypes.len()).filter(|k| dtypes[*k] == DType::F16);
        let mut out = format!("    if invocation * 2u >= {length} {{\n        return;\n    }}\n");
        for k in pairs() {
            let _ = writeln!(out, "    var pair_out{k} = vec2<f32>();");
        }
        let indented: String = self
            .elements()
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
            let offset = &self.words.out_offsets[k];
            let _ = writeln!(
                out,
                "    out{k}[{offset} / 2u + invocation] = pack_f16(pair_out{k});"
            );
        }
        out
    }

    /// Everything from the element `i` on that an invocation computes.
    fn elements(&self) -> String {
        let mut out = coordinates(&self.words.lengths, &self.words.start);
        match self.structure.quads {
            0 => self.side_by_side(&mut out, 0..1),
            quads => {
                for quad in 0..quads {
                    self.side_by_side(&mut out, quad * QUAD..(quad + 1) * QUAD);
                }
            }
        }
        out
    }

    /// Loads, functions and stores of a single element or of a quad. A quad's elements are computed step by step side by
    /// side: one after the other they would wait for their own results.
    fn side_by_side(&self, out: &mut String, elements: Range<usize>) {
        let structure = self.structure;
        let leaves: Vec<LeafText> = (0..structure.leaves.len())
            .map(|leaf| match structure.quads {
                0 => self.load_one(leaf),
                _ => self.load_quad(leaf, elements.start / QUAD),
            })
            .collect();
        for leaf in &leaves {
            out.push_str(&leaf.load);
        }
        for i in 0..self.graph.nodes.len() {
            for (place, element) in elements.clone().enumerate() {
                let call = self.call(i, element, |leaf| {
                    leaves[leaf as usize].elements[place].clone()
                });
                let y = self.value(i as u8, element);
                let _ = match self.is_apart(i) {
                    true => writeln!(
                        out,
                        "    let {y} = bitcast<f32>(bitcast<u32>({call}) ^ {});",
                        self.words.zero
                    ),
                    false => writeln!(out, "    let {y} = {call};"),
                };
            }
        }
        for (k, (&node, dtype)) in structure.outputs.iter().zip(self.dtypes()).enumerate() {
            let offset = &self.words.out_offsets[k];
            let _ = match (structure.quads, dtype) {
                // An assignment to a component by a computed index is beyond some compilers.
                (0, DType::F16) => writeln!(
                    out,
                    "    pair_out{k} = select(vec2(pair_out{k}.x, y{node}), vec2(y{node}, 0.0f), e == 0u);"
                ),
                (0, _) => writeln!(out, "    out{k}[{offset} + i] = y{node};"),
                _ => {
                    let at = self.quad_at(offset, elements.start / QUAD);
                    let values: Vec<String> =
                        elements.clone().map(|e| self.value(node, e)).collect();
                    writeln!(
                        out,
                        "    out{k}[{at}] = vec4<{}>({});",
                        stored(dtype),
                        values.join(", ")
                    )
                }
            };
        }
    }

    /// Whether what a node gives must be kept apart from what takes it.
    ///
    /// Compilers contract a product and a sum that meet into one operation with one rounding, and then a chain has other
    /// bits fused than one by one, or in a checkpoint. Neither WGSL nor naga can forbid it; a detour over integers that
    /// the compiler cannot see through does. It costs one operation, which no driver here shows.
    fn is_apart(&self, node: usize) -> bool {
        let e = self.graph.nodes[node].expression();
        let meets = self.graph.nodes[node + 1..]
            .iter()
            .any(|n| n.arguments.contains(&Argument::Node(node as u8)));
        compute_type(e.elem) == "f32" && meets && e.function.output != Kind::Flag
    }

    fn load_one(&self, leaf: usize) -> LeafText {
        let (dtype, access) = self.structure.leaves[leaf];
        let at = match access {
            Access::Dense => format!("{} + i", self.words.leaf_offsets[leaf]),
            _ => self.strided(leaf),
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

    fn load_quad(&self, leaf: usize, quad: usize) -> LeafText {
        let (_, access) = self.structure.leaves[leaf];
        let at = match access {
            Access::Dense => self.quad_at(&self.words.leaf_offsets[leaf], quad),
            Access::Rows => format!("({}) / {QUAD}u + {quad}u", self.strided(leaf)),
            Access::Single | Access::Columns | Access::Strided => self.strided(leaf),
        };
        let name = format!("{leaf}_{quad}");
        let load = match access {
            Access::Strided => format!("    let at{name} = {at};\n"),
            _ => format!("    let q{name} = leaf{leaf}[{at}];\n"),
        };
        let elements = (0..QUAD)
            .map(|e| match (access, self.words.strides[leaf].last()) {
                (Access::Dense | Access::Rows, _) => format!("q{name}.{}", COMPONENTS[e]),
                (Access::Strided, Some(last)) => {
                    format!("leaf{leaf}[at{name} + {}u * {last}]", quad * QUAD + e)
                }
                _ => format!("q{name}"),
            })
            .collect();
        LeafText { load, elements }
    }

    /// The place of a quad of the invocation in an array of quads that lie together.
    fn quad_at(&self, offset: &str, quad: usize) -> String {
        match self.structure.quads {
            1 => format!("{offset} + invocation"),
            quads => format!("{offset} + invocation * {quads}u + {quad}u"),
        }
    }

    /// The place in a leaf of the element at the coordinates.
    fn strided(&self, leaf: usize) -> String {
        let offset = self.words.leaf_offsets[leaf].clone();
        self.words.strides[leaf]
            .iter()
            .enumerate()
            .fold(offset, |at, (axis, stride)| {
                format!("{at} + c{axis} * {stride}")
            })
    }

    /// The name of what a node gives for an element of the invocation.
    fn value(&self, node: u8, element: usize) -> String {
        match self.structure.quads {
            0 => format!("y{node}"),
            _ => format!("y{node}_{element}"),
        }
    }

    /// The call of a node's function for an element of the invocation; `leaf` names what leaves give.
    fn call(&self, i: usize, element: usize, leaf: impl Fn(u8) -> String) -> String {
        let node = &self.graph.nodes[i];
        let [params, scalars] = &self.words.values[i];
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
                Argument::Node(n) => self.value(*n, element),
                Argument::Leaf(l) => leaf(*l),
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
            arguments.push(match element {
                0 => format!("{} + i", self.words.start),
                _ => format!("{} + i + {element}u", self.words.start),
            });
        }
        format!(
            "{}({})",
            instance_name(&e.function.wgsl_name(e.variant), elem),
            arguments.join(", ")
        )
    }
}

/// A leaf in the text: statements that load it, and what each element takes of it.
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
    let element = |dtype: DType, quad: bool| match quad && structure.quads > 0 {
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
