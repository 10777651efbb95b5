//! Writes the register-blocked matmul kernels: constants in, plain WGSL out. Knows no device.
//!
//! Local arrays cannot be sized by an override and `subgroupBroadcast` takes constant lanes only, so a block of
//! accumulators is unrolled into named variables here. Everything that needs no unrolling (shape, fold, epilogue)
//! is in `shared/matmul.wgsl`.

use std::fmt::Write as _;

const AXES: [&str; 4] = ["x", "y", "z", "w"];

/// How four consecutive elements of an operand reach a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quad {
    /// One `vec4` along the inner axis, which has stride 1 (`a` as stored, `b` transposed).
    Inner,
    /// One `vec4` along the output axis, which has stride 1 (`a` transposed, `b` as stored).
    Outer,
    /// Four scalar loads, any strides.
    Single,
}

/// Where the lanes of a workgroup stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// Every invocation owns a block and loads its own operands. Needs no features.
    Vec4,
    /// A workgroup is one subgroup of this many lanes and owns one block: a lane loads its share of `a` for
    /// everyone and broadcasts it, and keeps its columns of `b` to itself.
    Subgroup { lanes: u32 },
}

/// `base + n`, or `base` alone.
fn plus(base: &str, n: u32) -> String {
    if n == 0 {
        base.to_string()
    } else {
        format!("{base} + {n}u")
    }
}

/// One kernel. `rows` × `4·col_quads` is the block of accumulators that an invocation keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulConstants {
    pub rung: Rung,
    /// A multiple of 4.
    pub rows: u32,
    pub col_quads: u32,
    /// Inner steps between two visits of an accumulator, a multiple of 4.
    pub inner_step: u32,
    pub a: Quad,
    pub b: Quad,
    /// Rows of `out` start on a multiple of four elements, so it is stored by `vec4`.
    pub out_quads: bool,
    /// Writes bare `Acc` sums for `matmul_reduce` instead of finished elements.
    pub partial: bool,
}

impl MatmulConstants {
    /// Name of the kernel's one entry point.
    pub fn entry(&self) -> &'static str {
        match self.rung {
            Rung::Vec4 => "matmul_vec4",
            Rung::Subgroup { .. } => "matmul_subgroup",
        }
    }

    /// Rows and columns of `out` that one workgroup of `wg_rows` × `wg_cols` invocations covers.
    /// A subgroup is always one row of lanes.
    pub fn tile(&self, wg_rows: u32, wg_cols: u32) -> (u32, u32) {
        match self.rung {
            Rung::Vec4 => (self.rows * wg_rows, 4 * self.col_quads * wg_cols),
            Rung::Subgroup { lanes } => (self.rows, 4 * self.col_quads * lanes),
        }
    }

    /// The kernel's source, to be resolved by the loader like a file under `shaders/`.
    pub fn wgsl(&self) -> String {
        assert!(self.rows % 4 == 0 && self.inner_step % 4 == 0 && self.col_quads > 0);
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a String cannot fail");
        text
    }

    fn write(&self, w: &mut String) -> std::fmt::Result {
        self.write_header(w)?;
        self.write_bindings(w)?;
        self.write_loads(w)?;
        self.write_store(w)?;
        self.write_entry(w)
    }

    fn write_header(&self, w: &mut String) -> std::fmt::Result {
        let Self {
            rows,
            col_quads,
            inner_step,
            ..
        } = *self;
        writeln!(
            w,
            "// out[.., i, j] = act(Σ_k a[.., i, k] · b[.., k, j] + bias[j])"
        )?;
        writeln!(w, "//")?;
        match self.rung {
            Rung::Vec4 => writeln!(
                w,
                "// One invocation per block of {rows} × {} elements, kept in registers; {inner_step} inner steps at a time.",
                4 * col_quads
            )?,
            Rung::Subgroup { lanes } => {
                writeln!(
                    w,
                    "// One subgroup of {lanes} lanes per block of {rows} × {} elements. A lane keeps {} columns; rows of `a` are",
                    4 * col_quads * lanes,
                    4 * col_quads
                )?;
                writeln!(
                    w,
                    "// loaded once by the lanes together and broadcast; {inner_step} inner steps at a time."
                )?;
            }
        }
        writeln!(
            w,
            "// Loads past an edge are clamped to the last row or column, whose sums are not stored."
        )?;
        writeln!(w, "#import shared/matmul\n")
    }

    fn write_bindings(&self, w: &mut String) -> std::fmt::Result {
        let array = |quads: bool, scalar: &str| {
            if quads {
                format!("array<vec4<{scalar}>>")
            } else {
                format!("array<{scalar}>")
            }
        };
        let out = if self.partial { "Acc" } else { "Elem" };
        match self.rung {
            Rung::Vec4 => writeln!(
                w,
                "override WG_ROWS: u32 = 1u;\noverride WG_COLS: u32 = 8u;\n"
            )?,
            Rung::Subgroup { lanes } => writeln!(w, "const LANES = {lanes}u;\n")?,
        }
        writeln!(
            w,
            "@group(0) @binding(0) var<storage, read> a: {};",
            array(self.a != Quad::Single, "Elem")
        )?;
        writeln!(
            w,
            "@group(0) @binding(1) var<storage, read> b: {};",
            array(self.b != Quad::Single, "Elem")
        )?;
        // Declared by partial sums too, so that all kernels bind alike.
        writeln!(
            w,
            "@group(0) @binding(2) var<storage, read> bias: array<Elem>;"
        )?;
        writeln!(
            w,
            "@group(0) @binding(3) var<storage, read_write> out: {};\n",
            array(self.out_quads, out)
        )
    }

    /// `load_a(at, k)` and `load_b(at, k)`: four elements, starting at inner step `k`.
    fn write_loads(&self, w: &mut String) -> std::fmt::Result {
        writeln!(
            w,
            "\
// The last step of a ragged inner axis reads an element that exists and multiplies by zero.
fn inner_at(k: u32) -> u32 {{
    if (RAGGED) {{
        return min(k, params.inner - 1u);
    }}
    return k;
}}

fn keep_inner(k: u32, quad: vec4<Acc>) -> vec4<Acc> {{
    if (RAGGED) {{
        return select(vec4<Acc>(), quad, vec4(k, k + 1u, k + 2u, k + 3u) < vec4(params.inner));
    }}
    return quad;
}}

fn keep_outer(k: u32, quad: vec4<Acc>) -> vec4<Acc> {{
    if (RAGGED) {{
        return select(vec4<Acc>(), quad, k < params.inner);
    }}
    return quad;
}}
"
        )?;
        for (name, quad, inner_stride) in [("a", self.a, "a_col"), ("b", self.b, "b_row")] {
            match quad {
                Quad::Inner => writeln!(
                    w,
                    "\
fn load_{name}(at: u32, k: u32) -> vec4<Acc> {{
    let last = (params.inner - 1u) / 4u;
    return keep_inner(k, vec4<Acc>({name}[at + select(k / 4u, min(k / 4u, last), RAGGED)]));
}}
"
                )?,
                Quad::Outer => writeln!(
                    w,
                    "\
fn load_{name}(at: u32, k: u32) -> vec4<Acc> {{
    return keep_outer(k, vec4<Acc>({name}[at + inner_at(k) * (params.{inner_stride} / 4u)]));
}}
"
                )?,
                Quad::Single => writeln!(
                    w,
                    "\
fn load_{name}(at: u32, k: u32) -> vec4<Acc> {{
    let x = Acc({name}[at + inner_at(k) * params.{inner_stride}]);
    let y = Acc({name}[at + inner_at(k + 1u) * params.{inner_stride}]);
    let z = Acc({name}[at + inner_at(k + 2u) * params.{inner_stride}]);
    let w = Acc({name}[at + inner_at(k + 3u) * params.{inner_stride}]);
    return keep_inner(k, vec4(x, y, z, w));
}}
"
                )?,
            }
        }
        Ok(())
    }

    fn write_store(&self, w: &mut String) -> std::fmt::Result {
        let Self {
            out_quads, partial, ..
        } = *self;
        if !partial {
            writeln!(
                w,
                "\
fn finish(sum: Acc, held: Acc, col: u32) -> Acc {{
    var x = sum;
    if (ACCUMULATE) {{
        x += held;
    }}
    if (BIAS) {{
        x += Acc(bias[params.bias_offset + min(col, params.cols - 1u) * params.bias_stride]);
    }}
    return activate(x);
}}
"
            )?;
        }
        writeln!(
            w,
            "fn store(start: u32, row: u32, col: u32, sum: vec4<Acc>) {{"
        )?;
        let outside = if out_quads {
            "row >= params.rows || col >= params.cols"
        } else {
            "row >= params.rows"
        };
        writeln!(w, "    if ({outside}) {{\n        return;\n    }}")?;
        writeln!(w, "    let at = start + row * params.cols + col;")?;
        if out_quads {
            if partial {
                writeln!(w, "    out[at / 4u] = sum;")?;
            } else {
                writeln!(w, "    var held = vec4<Acc>();")?;
                writeln!(
                    w,
                    "    if (ACCUMULATE) {{\n        held = vec4<Acc>(out[at / 4u]);\n    }}"
                )?;
                writeln!(w, "    out[at / 4u] = vec4<Elem>(vec4(")?;
                for (c, axis) in (0..).zip(AXES) {
                    writeln!(
                        w,
                        "        finish(sum.{axis}, held.{axis}, {}),",
                        plus("col", c)
                    )?;
                }
                writeln!(w, "    ));")?;
            }
        } else {
            for (c, axis) in (0..).zip(AXES) {
                let (at, col) = (plus("at", c), plus("col", c));
                writeln!(w, "    if ({col} < params.cols) {{")?;
                if partial {
                    writeln!(w, "        out[{at}] = sum.{axis};")?;
                } else {
                    writeln!(w, "        var held = Acc();")?;
                    writeln!(
                        w,
                        "        if (ACCUMULATE) {{\n            held = Acc(out[{at}]);\n        }}"
                    )?;
                    writeln!(
                        w,
                        "        out[{at}] = Elem(finish(sum.{axis}, held, {col}));"
                    )?;
                }
                writeln!(w, "    }}")?;
            }
        }
        writeln!(w, "}}\n")
    }

    fn write_entry(&self, w: &mut String) -> std::fmt::Result {
        let (size, tile, lane) = match self.rung {
            Rung::Vec4 => (
                "WG_COLS, WG_ROWS".to_string(),
                format!(
                    "{}u * WG_ROWS, {}u * WG_COLS",
                    self.rows,
                    4 * self.col_quads
                ),
                "    @builtin(local_invocation_id) lane: vec3<u32>,",
            ),
            Rung::Subgroup { .. } => (
                "LANES".to_string(),
                format!("{}u, {}u * LANES", self.rows, 4 * self.col_quads),
                "    @builtin(subgroup_invocation_id) lane: u32,",
            ),
        };
        writeln!(w, "@compute @workgroup_size({size})")?;
        writeln!(w, "fn {}(", self.entry())?;
        writeln!(w, "    @builtin(workgroup_id) group: vec3<u32>,")?;
        writeln!(w, "    @builtin(num_workgroups) n_groups: vec3<u32>,")?;
        writeln!(w, "{lane}\n) {{")?;
        writeln!(w, "    let linear = linear_workgroup(group, n_groups);")?;
        writeln!(
            w,
            "    if (linear >= params.tiles) {{\n        return;\n    }}"
        )?;
        writeln!(w, "    let tile = tile_of(linear, {tile});")?;
        writeln!(w, "    let first = tile.split * params.chunk;")?;
        writeln!(w, "    let end = min(first + params.chunk, params.inner);")?;
        writeln!(
            w,
            "    let a_start = params.a_offset + batch_start(tile.batch, params.a_batch);"
        )?;
        writeln!(
            w,
            "    let b_start = params.b_offset + batch_start(tile.batch, params.b_batch);"
        )?;
        let col_step = match self.rung {
            Rung::Vec4 => {
                writeln!(w, "    let row = tile.row + lane.y * {}u;", self.rows)?;
                writeln!(w, "    let col = tile.col + lane.x * 4u;")?;
                "4u * WG_COLS"
            }
            Rung::Subgroup { .. } => {
                writeln!(w, "    let row = tile.row;")?;
                writeln!(w, "    let col = tile.col + lane * 4u;")?;
                "4u * LANES"
            }
        };
        for slot in 0..self.a_slots() {
            let index = self.a_slot_row(slot);
            let at = match self.a {
                Quad::Inner => {
                    format!("(a_start + min({index}, params.rows - 1u) * params.a_row) / 4u")
                }
                Quad::Outer => format!("a_start / 4u + min({index}, params.rows - 1u) / 4u"),
                Quad::Single => format!("a_start + min({index}, params.rows - 1u) * params.a_row"),
            };
            writeln!(w, "    let a_at_{slot} = {at};")?;
        }
        for v in 0..self.col_quads {
            let col = if v == 0 {
                "col".to_string()
            } else {
                format!("col + {v}u * {col_step}")
            };
            match self.b {
                Quad::Outer => writeln!(
                    w,
                    "    let b_at_{v} = b_start / 4u + min({col}, params.cols - 1u) / 4u;"
                )?,
                Quad::Inner | Quad::Single => {
                    let (open, close) = if self.b == Quad::Inner {
                        ("(", ") / 4u")
                    } else {
                        ("", "")
                    };
                    for c in 0..4 {
                        writeln!(
                            w,
                            "    let b_at_{v}_{c} = {open}b_start + min({}, params.cols - 1u) * params.b_col{close};",
                            plus(&col, c)
                        )?;
                    }
                }
            }
        }
        for r in 0..self.rows {
            for v in 0..self.col_quads {
                writeln!(w, "    var sum_{r}_{v} = vec4<Acc>();")?;
            }
        }
        writeln!(w, "    var k = first;")?;
        // The test stands at the end: a software driver runs the body once more, masked off, for a test at the top.
        writeln!(w, "    loop {{")?;
        self.write_step(w)?;
        writeln!(w, "        continuing {{")?;
        writeln!(w, "            k += {}u;", self.inner_step)?;
        writeln!(w, "            break if k >= end;")?;
        writeln!(w, "        }}\n    }}")?;
        writeln!(w, "    let start = out_start(tile);")?;
        // Four rows are stored and the others move up: the epilogue is compiled once per four rows, not once per row.
        writeln!(w, "    for (var r = 0u; r < {}u; r += 4u) {{", self.rows)?;
        for r in 0..4 {
            for v in 0..self.col_quads {
                let col = if v == 0 {
                    "col".to_string()
                } else {
                    format!("col + {v}u * {col_step}")
                };
                writeln!(
                    w,
                    "        store(start, {}, {col}, sum_{r}_{v});",
                    plus("row + r", r)
                )?;
            }
        }
        for r in 4..self.rows {
            for v in 0..self.col_quads {
                writeln!(w, "        sum_{}_{v} = sum_{r}_{v};", r - 4)?;
            }
        }
        writeln!(w, "    }}")?;
        writeln!(w, "}}")
    }

    /// Distinct places from which an invocation loads `a` at one inner step.
    fn a_slots(&self) -> u32 {
        let rows_per_slot = match (self.rung, self.a) {
            (Rung::Vec4, Quad::Outer) => 4,
            (Rung::Vec4, _) => 1,
            (Rung::Subgroup { lanes }, Quad::Outer) => 4 * lanes,
            (Rung::Subgroup { lanes }, _) => lanes,
        };
        self.rows.div_ceil(rows_per_slot)
    }

    fn a_slot_row(&self, slot: u32) -> String {
        match (self.rung, self.a) {
            (Rung::Vec4, Quad::Outer) => plus("row", 4 * slot),
            (Rung::Vec4, _) => plus("row", slot),
            (Rung::Subgroup { lanes }, Quad::Outer) => plus("row + 4u * lane", 4 * lanes * slot),
            (Rung::Subgroup { lanes }, _) => plus("row + lane", lanes * slot),
        }
    }

    fn write_step(&self, w: &mut String) -> std::fmt::Result {
        let quads = self.inner_step / 4;
        for q in 0..quads {
            for slot in 0..self.a_slots() {
                match self.a {
                    Quad::Outer => {
                        for k in 4 * q..4 * q + 4 {
                            writeln!(
                                w,
                                "        let a_{k}_{slot} = load_a(a_at_{slot}, {});",
                                plus("k", k)
                            )?;
                        }
                    }
                    Quad::Inner | Quad::Single => {
                        writeln!(
                            w,
                            "        let a_{q}_{slot} = load_a(a_at_{slot}, {});",
                            plus("k", 4 * q)
                        )?;
                    }
                }
            }
            for v in 0..self.col_quads {
                match self.b {
                    Quad::Outer => {
                        for k in 4 * q..4 * q + 4 {
                            writeln!(
                                w,
                                "        let b_{k}_{v} = load_b(b_at_{v}, {});",
                                plus("k", k)
                            )?;
                        }
                    }
                    Quad::Inner | Quad::Single => {
                        for c in 0..4 {
                            writeln!(
                                w,
                                "        let bt_{q}_{v}_{c} = load_b(b_at_{v}_{c}, {});",
                                plus("k", 4 * q)
                            )?;
                        }
                        for (i, axis) in AXES.iter().enumerate() {
                            let k = 4 * q as usize + i;
                            writeln!(
                                w,
                                "        let b_{k}_{v} = vec4(bt_{q}_{v}_0.{axis}, bt_{q}_{v}_1.{axis}, bt_{q}_{v}_2.{axis}, bt_{q}_{v}_3.{axis});"
                            )?;
                        }
                    }
                }
            }
        }
        for r in 0..self.rows {
            let mut factors = Vec::new();
            for q in 0..quads {
                match (self.rung, self.a) {
                    (Rung::Vec4, Quad::Outer) => {
                        for k in 4 * q..4 * q + 4 {
                            factors.push(format!("a_{k}_{}.{}", r / 4, AXES[r as usize % 4]));
                        }
                    }
                    (Rung::Vec4, _) => factors.extend(AXES.map(|axis| format!("a_{q}_{r}.{axis}"))),
                    (Rung::Subgroup { lanes }, Quad::Outer) => {
                        let (slot, lane) = (r / (4 * lanes), r / 4 % lanes);
                        for k in 4 * q..4 * q + 4 {
                            // One broadcast carries four rows.
                            if r % 4 == 0 {
                                writeln!(
                                    w,
                                    "        let x_{k}_{} = subgroupBroadcast(a_{k}_{slot}, {lane}u);",
                                    r / 4
                                )?;
                            }
                            factors.push(format!("x_{k}_{}.{}", r / 4, AXES[r as usize % 4]));
                        }
                    }
                    (Rung::Subgroup { lanes }, _) => {
                        writeln!(
                            w,
                            "        let x_{q}_{r} = subgroupBroadcast(a_{q}_{}, {}u);",
                            r / lanes,
                            r % lanes
                        )?;
                        factors.extend(AXES.map(|axis| format!("x_{q}_{r}.{axis}")));
                    }
                }
            }
            for v in 0..self.col_quads {
                let terms: Vec<_> = factors
                    .iter()
                    .enumerate()
                    .map(|(k, factor)| format!("{factor} * b_{k}_{v}"))
                    .collect();
                writeln!(
                    w,
                    "        sum_{r}_{v} = sum_{r}_{v} + {};",
                    terms.join(" + ")
                )?;
            }
        }
        Ok(())
    }
}
