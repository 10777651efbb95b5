//! Writes the register-blocked kernels of window attention: constants in, plain WGSL out. Knows no device.
//!
//! An invocation keeps a block of queries (or, for the gradients of keys and values, of keys) in registers and walks
//! over the other side of the window, one token at a time. Local arrays cannot be indexed by a computed number, so the
//! block is unrolled into named variables here; the geometry is in `shared/window.wgsl`.
//!
//! Biases depend on the difference of positions alone, so along a row of the window they slide: one number is loaded
//! per step and the others move up by one name. Sums for the table of biases slide the same way.

use std::fmt::Write as _;

/// One kernel's constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockConstants {
    pub head_dim: u32,
    /// Everything starts on a multiple of four elements, so it is read and written by `vec4`.
    pub quads: bool,
    /// Tokens of a block down and across the window.
    pub rows: u32,
    pub cols: u32,
}

/// What a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    Forward,
    /// Gradients of queries, and partial sums of those of the table.
    Query,
    /// Gradients of keys and values.
    Key,
}

impl Pass {
    /// Name of the kernel's one entry point.
    pub fn entry(self) -> &'static str {
        match self {
            Pass::Forward => "window_attention_block",
            Pass::Query => "window_attention_vjp_query_block",
            Pass::Key => "window_attention_vjp_key_block",
        }
    }
}

/// The number `n` as WGSL, or nothing for 0.
fn plus(base: &str, n: u32) -> String {
    if n == 0 {
        base.to_string()
    } else {
        format!("{base} + {n}u")
    }
}

impl BlockConstants {
    /// The kernel's source, to be resolved by the loader like a file under `shaders/`.
    pub fn wgsl(&self, pass: Pass) -> String {
        let mut text = String::new();
        let written = match pass {
            Pass::Forward => self.forward(&mut text),
            Pass::Query => self.query(&mut text),
            Pass::Key => self.key(&mut text),
        };
        written.expect("writing to a String cannot fail");
        text
    }

    fn n_quads(&self) -> u32 {
        self.head_dim.div_ceil(4)
    }

    /// Numbers of the block's tokens: row and column.
    fn block(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (rows, cols) = (self.rows, self.cols);
        (0..rows).flat_map(move |a| (0..cols).map(move |c| (a, c)))
    }

    /// Four elements of `buffer`, the `i`-th quad from `base`, with zeros after the last channel.
    fn load(&self, buffer: &str, base: &str, i: u32) -> String {
        if self.quads {
            return format!("vec4<Acc>({buffer}[{}])", plus(base, i));
        }
        let element = |n: u32| {
            if n < self.head_dim {
                format!("Acc({buffer}[{}])", plus(base, n))
            } else {
                "0.0f".to_string()
            }
        };
        let elements: Vec<String> = (4 * i..4 * i + 4).map(element).collect();
        format!("vec4<Acc>({})", elements.join(", "))
    }

    /// The statement that stores what [`load`](Self::load) loads.
    fn store(&self, buffer: &str, base: &str, i: u32, value: &str) -> String {
        if self.quads {
            return format!("{buffer}[{}] = vec4<Elem>({value});", plus(base, i));
        }
        (4 * i..(4 * i + 4).min(self.head_dim))
            .zip(["x", "y", "z", "w"])
            .map(|(n, axis)| format!("{buffer}[{}] = Elem(({value}).{axis});", plus(base, n)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// A number of elements as an index of the buffer's elements or quads.
    fn unit(&self, elements: &str) -> String {
        if self.quads {
            format!("({elements}) / 4u")
        } else {
            elements.to_string()
        }
    }

    /// Σ of the products of two sets of quads, `left_0, left_1, …` and `right_0, …`.
    fn dot(&self, left: &str, right: &str) -> String {
        let terms: Vec<String> = (0..self.n_quads())
            .map(|i| format!("{left}_{i} * {right}_{i}"))
            .collect();
        format!("dot({}, vec4(1.0f))", terms.join(" + "))
    }

    fn header(
        &self,
        w: &mut String,
        lines: &[&str],
        bindings: &[(&str, bool, &str)],
    ) -> std::fmt::Result {
        for line in lines {
            writeln!(w, "// {line}")?;
        }
        writeln!(w, "#import shared/window\n\noverride WG: u32 = 64u;\n")?;
        writeln!(w, "const HEAD_DIM = {}u;", self.head_dim)?;
        writeln!(w, "const ROWS = {}u;", self.rows)?;
        writeln!(w, "const COLS = {}u;\n", self.cols)?;
        let elem = if self.quads { "vec4<Elem>" } else { "Elem" };
        for (number, (name, written, of)) in bindings.iter().enumerate() {
            let access = if *written { "read_write" } else { "read" };
            let of = if *of == "quads" { elem } else { of };
            writeln!(
                w,
                "@group(0) @binding({number}) var<storage, {access}> {name}: array<{of}>;"
            )?;
        }
        writeln!(
            w,
            "
// The bias of a head, from the start of a row of the table. A place outside of the row belongs to no pair.
fn bias_at(row: u32, col: u32, head: u32) -> f32 {{
    if (BIAS) {{
        let at = row + min(col, 2u * params.window_width - 2u);
        return Acc(bias[params.bias_offset + at * params.heads + head]);
    }}
    return 0.0f;
}}
"
        )
    }

    fn open(&self, w: &mut String, entry: &str) -> std::fmt::Result {
        writeln!(
            w,
            "@compute @workgroup_size(WG)
fn {entry}(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {{
    let invocation = linear_invocation(workgroup, workgroups, local, WG);
    let blocks_across = (params.window_width + COLS - 1u) / COLS;
    let blocks_down = (params.window_height + ROWS - 1u) / ROWS;
    let last_row = params.window_height - 1u;
    let last_col = params.window_width - 1u;"
        )
    }

    /// One invocation per block, head and window.
    fn open_per_block(&self, w: &mut String, entry: &str) -> std::fmt::Result {
        self.open(w, entry)?;
        writeln!(
            w,
            "    let n_blocks = blocks_across * blocks_down;
    if invocation >= params.batch * windows_per_item() * params.heads * n_blocks {{
        return;
    }}
    let block_col = invocation % blocks_across * COLS;
    let block_row = invocation / blocks_across % blocks_down * ROWS;
    let head = invocation / n_blocks % params.heads;
    let window = window_of(invocation / n_blocks / params.heads);"
        )
    }

    /// Where the block's tokens are; those past the window's edge stand for its last row or column.
    fn places(&self, w: &mut String) -> std::fmt::Result {
        for a in 0..self.rows {
            writeln!(
                w,
                "    let row_{a} = min({}, last_row);",
                plus("block_row", a)
            )?;
            writeln!(w, "    let cut_row_{a} = cut_row(window, row_{a});")?;
            writeln!(w, "    let line_{a} = stored_row(window, row_{a});")?;
        }
        for c in 0..self.cols {
            writeln!(
                w,
                "    let col_of_{c} = min({}, last_col);",
                plus("block_col", c)
            )?;
            writeln!(w, "    let cut_col_{c} = cut_col(window, col_of_{c});")?;
            writeln!(w, "    let place_{c} = stored_col(window, col_of_{c});")?;
        }
        for (a, c) in self.block() {
            writeln!(w, "    let token_{a}_{c} = line_{a} + place_{c};")?;
        }
        Ok(())
    }

    /// `name_a_c_i`: quads of the block's tokens from part `part` of qkv.
    fn load_block(&self, w: &mut String, name: &str, part: u32, scaled: bool) -> std::fmt::Result {
        let scale = if scaled { "params.scale * " } else { "" };
        for (a, c) in self.block() {
            let at = format!(
                "params.qkv_offset + (token_{a}_{c} * 3u + {part}u) * params.channels + head * HEAD_DIM"
            );
            writeln!(w, "    let {name}_at_{a}_{c} = {};", self.unit(&at))?;
            for i in 0..self.n_quads() {
                let quad = self.load("qkv", &format!("{name}_at_{a}_{c}"), i);
                writeln!(w, "    let {name}_{a}_{c}_{i} = {scale}{quad};")?;
            }
        }
        Ok(())
    }

    /// `name_i`: quads of the token `other` from part `part` of qkv.
    fn load_other(&self, w: &mut String, name: &str, other: &str, part: u32) -> std::fmt::Result {
        let at = format!(
            "params.qkv_offset + ({other} * 3u + {part}u) * params.channels + head * HEAD_DIM"
        );
        writeln!(w, "    let {name}_at = {};", self.unit(&at))?;
        for i in 0..self.n_quads() {
            writeln!(
                w,
                "    let {name}_{i} = {};",
                self.load("qkv", &format!("{name}_at"), i)
            )?;
        }
        Ok(())
    }

    /// Declares sums of quads `name_a_c_i`.
    fn sums(&self, w: &mut String, name: &str) -> std::fmt::Result {
        for (a, c) in self.block() {
            for i in 0..self.n_quads() {
                writeln!(w, "    var {name}_{a}_{c}_{i} = vec4<Acc>();")?;
            }
        }
        Ok(())
    }

    /// `name_a_c_i = f(name_a_c_i)` stored at part `part` of dqkv where the token is inside of the window.
    fn store_block(&self, w: &mut String, name: &str, part: u32, scaled: bool) -> std::fmt::Result {
        let scale = if scaled { "params.scale * " } else { "" };
        for (a, c) in self.block() {
            writeln!(
                w,
                "    if {} <= last_row && {} <= last_col {{",
                plus("block_row", a),
                plus("block_col", c)
            )?;
            let at = format!(
                "params.dqkv_offset + (token_{a}_{c} * 3u + {part}u) * params.channels + head * HEAD_DIM"
            );
            writeln!(w, "        let at = {};", self.unit(&at))?;
            for i in 0..self.n_quads() {
                let value = format!("{scale}{name}_{a}_{c}_{i}");
                writeln!(w, "        {}", self.store("dqkv", "at", i, &value))?;
            }
            writeln!(w, "    }}")?;
        }
        Ok(())
    }

    /// Opens the loop over the rows of the other side, and what holds for a row. The test stands at the end: a software
    /// driver runs the body once more, masked off, for a test at the top.
    fn open_rows(&self, w: &mut String) -> std::fmt::Result {
        writeln!(w, "    var row = 0u;\n    loop {{")?;
        writeln!(w, "    let line = stored_row(window, row);")?;
        writeln!(w, "    let cut_row_here = cut_row(window, row);")?;
        for a in 0..self.rows {
            writeln!(w, "    let apart_{a} = cut_row_here != cut_row_{a};")?;
        }
        Ok(())
    }

    fn close_loop(&self, w: &mut String, name: &str, end: &str) -> std::fmt::Result {
        writeln!(
            w,
            "    continuing {{
        {name} += 1u;
        break if {name} >= {end};
    }}
    }}"
        )
    }

    /// Declares the sliding biases of a row of queries against row `row` of keys, as they are before the first key:
    /// `g_a_c` will belong to the query in column `c` of the block.
    fn slide_queries(&self, w: &mut String) -> std::fmt::Result {
        for a in 0..self.rows {
            writeln!(w, "    let table_{a} = bias_row(row_{a}, row);")?;
            for c in 0..self.cols {
                if c + 1 < self.cols {
                    let col = format!("block_col + {}u + last_col", c + 1);
                    writeln!(w, "    var g_{a}_{c} = bias_at(table_{a}, {col}, head);")?;
                } else {
                    writeln!(w, "    var g_{a}_{c} = 0.0f;")?;
                }
            }
        }
        Ok(())
    }

    /// Moves the sliding biases on to the next token of the other side; `first` is the place in the table's row of the
    /// one that enters.
    fn slide_on(&self, w: &mut String, first: &str) -> std::fmt::Result {
        for a in 0..self.rows {
            for c in (1..self.cols).rev() {
                writeln!(w, "    g_{a}_{c} = g_{a}_{};", c - 1)?;
            }
            writeln!(w, "    g_{a}_0 = bias_at(table_{a}, {first}, head);")?;
        }
        Ok(())
    }

    fn forward(&self, w: &mut String) -> std::fmt::Result {
        let Self { rows, cols, .. } = *self;
        self.header(
            w,
            &[
                "y[i] = Σⱼ softmaxⱼ(scale · qᵢ·kⱼ + bias[i − j]) vⱼ, and the logarithm of the softmax's sum",
                "",
                &format!("One invocation per block of {rows} × {cols} queries; one key at a time. The sums shrink when the largest"),
                "score grows (Milakov & Gimelshein 2018).",
            ],
            &[
                ("qkv", false, "quads"),
                ("bias", false, "Elem"),
                ("y", true, "quads"),
                ("lse", true, "f32"),
            ],
        )?;
        self.open_per_block(w, Pass::Forward.entry())?;
        self.places(w)?;
        self.load_block(w, "q", 0, true)?;
        self.sums(w, "y")?;
        for (a, c) in self.block() {
            writeln!(w, "    var largest_{a}_{c} = LOWEST;")?;
            writeln!(w, "    var sum_{a}_{c} = 0.0f;")?;
        }
        self.open_rows(w)?;
        self.slide_queries(w)?;
        writeln!(w, "    var col = 0u;\n    loop {{")?;
        self.slide_on(w, "block_col + last_col - col")?;
        writeln!(w, "    let cut_col_here = cut_col(window, col);")?;
        writeln!(w, "    let key = line + stored_col(window, col);")?;
        self.load_other(w, "k", "key", 1)?;
        self.load_other(w, "v", "key", 2)?;
        for (a, c) in self.block() {
            let score = self.dot(&format!("q_{a}_{c}"), "k");
            writeln!(
                w,
                "    let out_{a}_{c} = apart_{a} || (cut_col_here != cut_col_{c});"
            )?;
            writeln!(
                w,
                "    let s_{a}_{c} = select({score} + g_{a}_{c}, LOWEST, out_{a}_{c});"
            )?;
            writeln!(w, "    let m_{a}_{c} = max(largest_{a}_{c}, s_{a}_{c});")?;
            writeln!(
                w,
                "    let shrink_{a}_{c} = exp(largest_{a}_{c} - m_{a}_{c});"
            )?;
            writeln!(w, "    largest_{a}_{c} = m_{a}_{c};")?;
            // What exp makes of a very negative number is small, not always 0; an excluded key has weight 0.
            writeln!(
                w,
                "    let e_{a}_{c} = select(exp(s_{a}_{c} - m_{a}_{c}), 0.0f, out_{a}_{c});"
            )?;
            writeln!(
                w,
                "    sum_{a}_{c} = sum_{a}_{c} * shrink_{a}_{c} + e_{a}_{c};"
            )?;
            for i in 0..self.n_quads() {
                writeln!(
                    w,
                    "    y_{a}_{c}_{i} = y_{a}_{c}_{i} * shrink_{a}_{c} + e_{a}_{c} * v_{i};"
                )?;
            }
        }
        self.close_loop(w, "col", "params.window_width")?;
        self.close_loop(w, "row", "params.window_height")?;
        for (a, c) in self.block() {
            writeln!(
                w,
                "    if {} <= last_row && {} <= last_col {{",
                plus("block_row", a),
                plus("block_col", c)
            )?;
            let at = format!("params.y_offset + token_{a}_{c} * params.channels + head * HEAD_DIM");
            writeln!(w, "        let at = {};", self.unit(&at))?;
            writeln!(w, "        let r = 1.0f / sum_{a}_{c};")?;
            for i in 0..self.n_quads() {
                writeln!(
                    w,
                    "        {}",
                    self.store("y", "at", i, &format!("y_{a}_{c}_{i} * r"))
                )?;
            }
            writeln!(
                w,
                "        lse[params.lse_offset + token_{a}_{c} * params.heads + head] = largest_{a}_{c} + log(sum_{a}_{c});"
            )?;
            writeln!(w, "    }}")?;
        }
        writeln!(w, "}}")
    }

    fn query(&self, w: &mut String) -> std::fmt::Result {
        let Self { rows, cols, .. } = *self;
        self.header(
            w,
            &[
                "dqᵢ = scale Σⱼ dSᵢⱼ kⱼ with dSᵢⱼ = Pᵢⱼ (dyᵢ·vⱼ − δᵢ), δᵢ = dyᵢ·yᵢ; sums of dSᵢⱼ over pairs equally far apart",
                "",
                &format!("One invocation per part, head and column of blocks of {rows} × {cols} queries. It goes through the rows of"),
                "blocks of its part and keeps its sums for the table to itself: Partials are written, added to by their owner",
                "alone, and reduced by another kernel.",
            ],
            &[
                ("qkv", false, "quads"),
                ("bias", false, "Elem"),
                ("y", false, "quads"),
                ("dy", false, "quads"),
                ("lse", false, "f32"),
                ("dqkv", true, "quads"),
                ("stats", true, "vec2<f32>"),
                ("partials", true, "f32"),
            ],
        )?;
        self.open(w, Pass::Query.entry())?;
        writeln!(
            w,
            "    if invocation >= params.n_parts * params.heads * blocks_across {{
        return;
    }}
    let block_col = invocation % blocks_across * COLS;
    let head = invocation / blocks_across % params.heads;
    let part = invocation / blocks_across / params.heads;
    let slots = params.window_width + COLS - 1u;
    let table_rows = 2u * params.window_height - 1u;
    let mine = params.partials_offset + invocation * table_rows * slots;
    if (BIAS) {{
        for (var i = 0u; i < table_rows * slots; i++) {{
            partials[mine + i] = 0.0f;
        }}
    }}
    let end = min((part + 1u) * params.part, params.batch * windows_per_item() * blocks_down);
    var block = part * params.part;
    loop {{
    let window = window_of(block / blocks_down);
    let block_row = block % blocks_down * ROWS;"
        )?;
        self.places(w)?;
        self.load_block(w, "q", 0, true)?;
        for (a, c) in self.block() {
            let inside = format!(
                "{} <= last_row && {} <= last_col",
                plus("block_row", a),
                plus("block_col", c)
            );
            let at = format!("token_{a}_{c} * params.channels + head * HEAD_DIM");
            let (y_at, dy_at) = (
                self.unit(&format!("params.y_offset + {at}")),
                self.unit(&format!("params.dy_offset + {at}")),
            );
            writeln!(w, "    let y_at_{a}_{c} = {y_at};")?;
            writeln!(w, "    let dy_at_{a}_{c} = {dy_at};")?;
            // Queries past the edge have no upstream gradient, so that they add nothing to the table's.
            writeln!(w, "    let here_{a}_{c} = select(0.0f, 1.0f, {inside});")?;
            for i in 0..self.n_quads() {
                let dy = self.load("dy", &format!("dy_at_{a}_{c}"), i);
                writeln!(w, "    let dy_{a}_{c}_{i} = here_{a}_{c} * {dy};")?;
                let y = self.load("y", &format!("y_at_{a}_{c}"), i);
                writeln!(w, "    let y_{a}_{c}_{i} = {y};")?;
            }
            let delta = self.dot(&format!("dy_{a}_{c}"), &format!("y_{a}_{c}"));
            writeln!(w, "    let delta_{a}_{c} = {delta};")?;
            writeln!(
                w,
                "    let at_{a}_{c} = token_{a}_{c} * params.heads + head;"
            )?;
            writeln!(
                w,
                "    let lse_{a}_{c} = lse[params.lse_offset + at_{a}_{c}];"
            )?;
            writeln!(w, "    if {inside} {{")?;
            writeln!(
                w,
                "        stats[params.stats_offset / 2u + at_{a}_{c}] = vec2(lse_{a}_{c}, delta_{a}_{c});"
            )?;
            writeln!(w, "    }}")?;
        }
        self.sums(w, "dq")?;
        self.open_rows(w)?;
        self.slide_queries(w)?;
        for (a, c) in self.block() {
            writeln!(w, "    var d_{a}_{c} = 0.0f;")?;
        }
        for a in 0..rows {
            writeln!(
                w,
                "    let mine_{a} = mine + (row_{a} + last_row - row) * slots;"
            )?;
        }
        writeln!(w, "    var col = 0u;\n    loop {{")?;
        self.slide_on(w, "block_col + last_col - col")?;
        writeln!(w, "    let cut_col_here = cut_col(window, col);")?;
        writeln!(w, "    let key = line + stored_col(window, col);")?;
        self.load_other(w, "k", "key", 1)?;
        self.load_other(w, "v", "key", 2)?;
        for (a, c) in self.block() {
            let score = self.dot(&format!("q_{a}_{c}"), "k");
            let dp = self.dot(&format!("dy_{a}_{c}"), "v");
            writeln!(
                w,
                "    let out_{a}_{c} = apart_{a} || (cut_col_here != cut_col_{c});"
            )?;
            writeln!(
                w,
                "    let p_{a}_{c} = select(exp({score} + g_{a}_{c} - lse_{a}_{c}), 0.0f, out_{a}_{c});"
            )?;
            writeln!(
                w,
                "    let ds_{a}_{c} = p_{a}_{c} * ({dp} - delta_{a}_{c});"
            )?;
            writeln!(w, "    d_{a}_{c} += ds_{a}_{c};")?;
            for i in 0..self.n_quads() {
                writeln!(w, "    dq_{a}_{c}_{i} += ds_{a}_{c} * k_{i};")?;
            }
        }
        writeln!(w, "    if (BIAS) {{")?;
        for a in 0..rows {
            writeln!(
                w,
                "        partials[mine_{a} + slots - 1u - col] += d_{a}_{};",
                cols - 1
            )?;
        }
        writeln!(w, "    }}")?;
        for a in 0..rows {
            for c in (1..cols).rev() {
                writeln!(w, "    d_{a}_{c} = d_{a}_{};", c - 1)?;
            }
            writeln!(w, "    d_{a}_0 = 0.0f;")?;
        }
        self.close_loop(w, "col", "params.window_width")?;
        writeln!(w, "    if (BIAS) {{")?;
        for (a, c) in self.block().filter(|(_, c)| *c > 0) {
            writeln!(
                w,
                "        partials[{}] += d_{a}_{c};",
                plus(&format!("mine_{a}"), c - 1)
            )?;
        }
        writeln!(w, "    }}")?;
        self.close_loop(w, "row", "params.window_height")?;
        self.store_block(w, "dq", 0, true)?;
        self.close_loop(w, "block", "end")?;
        writeln!(w, "}}")
    }

    fn key(&self, w: &mut String) -> std::fmt::Result {
        let Self { rows, cols, .. } = *self;
        self.header(
            w,
            &[
                "dkⱼ = scale Σᵢ dSᵢⱼ qᵢ and dvⱼ = Σᵢ Pᵢⱼ dyᵢ with dSᵢⱼ = Pᵢⱼ (dyᵢ·vⱼ − δᵢ)",
                "",
                &format!("One invocation per block of {rows} × {cols} keys; one query at a time. stats holds log-sum-exp and δ."),
            ],
            &[
                ("qkv", false, "quads"),
                ("bias", false, "Elem"),
                ("dy", false, "quads"),
                ("stats", false, "vec2<f32>"),
                ("dqkv", true, "quads"),
            ],
        )?;
        self.open_per_block(w, Pass::Key.entry())?;
        self.places(w)?;
        self.load_block(w, "k", 1, true)?;
        self.load_block(w, "v", 2, false)?;
        self.sums(w, "dk")?;
        self.sums(w, "dv")?;
        self.open_rows(w)?;
        // As for queries, with the signs of positions changed.
        for a in 0..rows {
            writeln!(w, "    let table_{a} = bias_row(row, row_{a});")?;
            for c in 0..cols {
                if c + 1 < cols {
                    let col = format!("last_col - block_col - {}u", c + 1);
                    writeln!(w, "    var g_{a}_{c} = bias_at(table_{a}, {col}, head);")?;
                } else {
                    writeln!(w, "    var g_{a}_{c} = 0.0f;")?;
                }
            }
        }
        writeln!(w, "    var col = 0u;\n    loop {{")?;
        self.slide_on(w, "col + last_col - block_col")?;
        writeln!(w, "    let cut_col_here = cut_col(window, col);")?;
        writeln!(w, "    let query = line + stored_col(window, col);")?;
        writeln!(
            w,
            "    let stat = stats[params.stats_offset / 2u + query * params.heads + head];"
        )?;
        self.load_other(w, "q", "query", 0)?;
        let at = self.unit("params.dy_offset + query * params.channels + head * HEAD_DIM");
        writeln!(w, "    let dy_at = {at};")?;
        for i in 0..self.n_quads() {
            writeln!(w, "    let dy_{i} = {};", self.load("dy", "dy_at", i))?;
        }
        for (a, c) in self.block() {
            let score = self.dot(&format!("k_{a}_{c}"), "q");
            let dp = self.dot(&format!("v_{a}_{c}"), "dy");
            writeln!(
                w,
                "    let out_{a}_{c} = apart_{a} || (cut_col_here != cut_col_{c});"
            )?;
            writeln!(
                w,
                "    let p_{a}_{c} = select(exp({score} + g_{a}_{c} - stat.x), 0.0f, out_{a}_{c});"
            )?;
            writeln!(w, "    let ds_{a}_{c} = p_{a}_{c} * ({dp} - stat.y);")?;
            for i in 0..self.n_quads() {
                writeln!(w, "    dk_{a}_{c}_{i} += ds_{a}_{c} * q_{i};")?;
                writeln!(w, "    dv_{a}_{c}_{i} += p_{a}_{c} * dy_{i};")?;
            }
        }
        self.close_loop(w, "col", "params.window_width")?;
        self.close_loop(w, "row", "params.window_height")?;
        self.store_block(w, "dk", 1, true)?;
        self.store_block(w, "dv", 2, false)?;
        writeln!(w, "}}")
    }
}
