//! Scalar functions: what an elementwise operator does to one element.

use crate::gpu::Source;
use crate::tensor::DType;

/// Type of a function's argument or result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `T` of the WGSL text: the type that all such arguments share.
    Elem,
    /// `u32`, as conditions are.
    Flag,
    /// Whatever dtype the call names: casts.
    Any,
}

/// How an attribute reaches the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// As a uniform: one kernel serves all values.
    F32,
    U32,
    /// As a literal, for the choice between formulas: software drivers compute both sides of a branch.
    Choice,
}

impl Param {
    pub(super) fn is_uniform(self) -> bool {
        self != Param::Choice
    }
}

/// How a function runs between two values of an argument, while the others stay: where its extremes lie, and what an
/// error of the argument may make of the result.
#[derive(Debug, Clone, Copy)]
pub enum Course {
    /// It rises all the way, or falls, or stays.
    Monotone,
    /// It may turn around at these values; monotone between them.
    Turns(&'static [f64]),
    /// It may turn around at multiples of π/2 and repeats itself after four.
    Waves,
    /// It is monotone and constant but for jumps.
    Steps,
    /// It is monotone on pieces, between which it jumps or has a pole. The number of the piece is told from the
    /// arguments, NaN at an edge: where it is the same in the corners of a box, the box lies in one piece.
    Pieces(fn(&[f64]) -> f64),
}

/// A scalar function in WGSL and in f64.
///
/// The WGSL text holds `fn NAME(a: T, b: T, p: NAMEParams) -> T` and, for each differentiable input,
/// `fn NAME_d_<input>(a: T, b: T, y: T, dy: T, p: NAMEParams) -> T`: the upstream gradient times the derivative.
/// `p` is there only if there are parameters; functions that depend on the place of the element (dropout) take
/// `index: u32` last. A derivative need not use all its arguments: those it does not name are not even loaded.
pub struct Function {
    pub name: &'static str,
    pub source: Source,
    pub inputs: &'static [(&'static str, Kind)],
    pub output: Kind,
    pub params: &'static [(&'static str, Param)],
    /// Which of the inputs have a derivative.
    pub differentiable: &'static [bool],
    pub indexed: bool,
    /// The definition: inputs, then parameters.
    pub twin: fn(&[f64], &[f64]) -> f64,
    /// Roundings in the f32 function, relative to its result if `relative`, else to the largest of its arguments and
    /// its result.
    pub ulps: f64,
    /// Whether small results are as exact as large ones: nothing cancels inside.
    pub relative: bool,
    /// What an error of an argument may make of the result.
    pub course: Course,
}

/// The WGSL text of an elementwise operator: `wgsl!("elementwise/exp")` is `shaders/elementwise/exp.wgsl`.
macro_rules! wgsl {
    ($name:literal) => {
        $crate::gpu::Source::file(
            $name,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $name,
                ".wgsl"
            )),
        )
    };
}
pub(crate) use wgsl;

/// The side of 0 that a number lies on, as a piece: −1 or 1, NaN at 0.
pub(crate) fn side(x: f64) -> f64 {
    if x == 0.0 { f64::NAN } else { x.signum() }
}

impl Function {
    /// `y = NAME(x)` without parameters, differentiable, of one rounding, monotone.
    pub const fn unary(
        name: &'static str,
        source: Source,
        twin: fn(&[f64], &[f64]) -> f64,
    ) -> Self {
        Function {
            name,
            source,
            inputs: &[("x", Kind::Elem)],
            output: Kind::Elem,
            params: &[],
            differentiable: &[true],
            indexed: false,
            twin,
            ulps: 1.0,
            relative: true,
            course: Course::Monotone,
        }
    }

    /// `y = NAME(a, b)` without parameters, differentiable by both, of one rounding, monotone in each.
    pub const fn binary(
        name: &'static str,
        source: Source,
        twin: fn(&[f64], &[f64]) -> f64,
    ) -> Self {
        let mut out = Self::unary(name, source, twin);
        out.inputs = &[("a", Kind::Elem), ("b", Kind::Elem)];
        out.differentiable = &[true, true];
        out
    }

    /// With this many roundings, relative to the result.
    pub const fn ulps(mut self, ulps: f64) -> Self {
        self.ulps = ulps;
        self
    }

    /// With this many roundings, relative to the largest of arguments and result, for functions that cancel.
    pub const fn ulps_of_terms(mut self, ulps: f64) -> Self {
        self.ulps = ulps;
        self.relative = false;
        self
    }

    /// With attributes, in the order of the signature.
    pub const fn params(mut self, params: &'static [(&'static str, Param)]) -> Self {
        self.params = params;
        self
    }

    /// Whose result is a `u32` of 0 or 1, without a derivative.
    pub const fn flag(mut self) -> Self {
        self.output = Kind::Flag;
        self.differentiable = &[false; 3];
        self.ulps = 0.0;
        self.course = Course::Steps;
        self
    }

    /// Not monotone, but so.
    pub const fn course(mut self, course: Course) -> Self {
        self.course = course;
        self
    }

    /// Of these inputs instead.
    pub const fn inputs(mut self, inputs: &'static [(&'static str, Kind)]) -> Self {
        self.inputs = inputs;
        self
    }

    /// Differentiable by these inputs instead.
    pub const fn differentiable(mut self, differentiable: &'static [bool]) -> Self {
        self.differentiable = differentiable;
        self
    }

    /// Whose WGSL takes the number of the element as its last argument.
    pub const fn indexed(mut self) -> Self {
        self.indexed = true;
        self
    }

    /// The size that `ulps` are units of, for these arguments and this result.
    pub(crate) fn scale(&self, arguments: impl Iterator<Item = f64>, result: f64) -> f64 {
        // Random numbers are made of terms of size 1, whatever comes out.
        let least = if self.indexed { 1.0 } else { 0.0 };
        if self.relative {
            result.abs()
        } else {
            arguments.fold(result.abs().max(least), |m, x| m.max(x.abs()))
        }
    }
}

/// The value of a function, or its derivative by one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    Value,
    Derivative(u8),
}

impl Function {
    /// Name of the WGSL function of a variant.
    pub(crate) fn wgsl_name(&self, variant: Variant) -> String {
        match variant {
            Variant::Value => self.name.to_string(),
            Variant::Derivative(i) => format!("{}_d_{}", self.name, self.inputs[i as usize].0),
        }
    }

    /// Arguments of a variant: name and kind, in order.
    pub(crate) fn arguments(&self, variant: Variant) -> Vec<(&'static str, Kind)> {
        let mut out = self.inputs.to_vec();
        if let Variant::Derivative(_) = variant {
            out.push(("y", self.output));
            out.push(("dy", Kind::Elem));
        }
        out
    }

    /// For each argument, whether the body of the variant names it.
    pub(crate) fn uses(&self, variant: Variant) -> Vec<bool> {
        let name = self.wgsl_name(variant);
        let body = body_of(&self.source.text, &name)
            .unwrap_or_else(|| panic!("{}.wgsl holds no fn {name}", self.source.name));
        let code = without_comments(body);
        self.arguments(variant)
            .iter()
            .map(|(argument, _)| names(&code).any(|name| name == *argument))
            .collect()
    }

    /// Whether a derivative returns the upstream gradient as it is: then there is nothing to compute.
    pub(crate) fn hands_on(&self, variant: Variant) -> bool {
        let body = body_of(&self.source.text, &self.wgsl_name(variant));
        body.is_some_and(|b| b.trim_matches(['{', '}', ' ', '\n']) == "return dy;")
    }

    /// The text for `T` = `elem`, every name it declares marked with the type, so that two instances can share a
    /// module. In bodies the function's own name stays as it is: WGSL has no recursion, so it means the built-in.
    pub(crate) fn instance(&self, elem: &str) -> String {
        let text = without_comments(&self.source.text);
        let declared: Vec<&str> = ["fn ", "struct ", "const "]
            .iter()
            .flat_map(|word| {
                text.match_indices(word)
                    .filter_map(|(at, _)| tokens(&text[at + word.len()..]).next())
            })
            .collect();
        let mut out = String::with_capacity(text.len() + 64);
        let mut rest = text.as_str();
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let length = rest[start..]
                .find(|c: char| !is_word(c))
                .unwrap_or(rest.len() - start);
            let word = &rest[start..start + length];
            out.push_str(&rest[..start]);
            // The suffix of a literal (1.0f, 0u) is no word of its own.
            let literal = rest[..start].ends_with(|c: char| c.is_ascii_digit() || c == '.');
            if word == "T" && !literal {
                out.push_str(elem);
            } else if declared.contains(&word)
                && !literal
                && (word != self.name || out.ends_with("fn "))
            {
                out.push_str(&instance_name(word, elem));
            } else {
                out.push_str(word);
            }
            rest = &rest[start + length..];
        }
        out.push_str(rest);
        out
    }
}

/// The name of something a function's text declares, in the instance for `elem`.
pub(crate) fn instance_name(name: &str, elem: &str) -> String {
    format!("{name}_of_{elem}")
}

/// The dtype whose type stands for `T` inside a kernel: f16 is stored, f32 is computed.
pub(crate) fn compute_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::F16 => "f32",
        DType::I32 => "i32",
        DType::U32 => "u32",
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The words of a text that are no member of something else: of `gate.y` only `gate`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split_inclusive(|c: char| !is_word(c));
    let mut after_dot = false;
    words.filter_map(move |piece| {
        let word = piece.trim_end_matches(|c: char| !is_word(c));
        let is_member = std::mem::replace(&mut after_dot, piece.ends_with('.'));
        (!word.is_empty() && !is_member).then_some(word)
    })
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_word(c)).filter(|t| !t.is_empty())
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|l| !l.trim_start().starts_with("//") && !l.trim().is_empty())
        .map(|l| l.split_once(" //").map_or(l, |(code, _)| code))
        .flat_map(|l| [l, "\n"])
        .collect()
}

fn body_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.find(&format!("fn {name}("))?;
    let open = start + text[start..].find('{')?;
    let mut depth = 0;
    for (i, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[open..=open + i]);
        }
    }
    None
}

/// The sum of two elements; what the tape adds gradients with.
pub static ADD: Function = Function {
    name: "add",
    source: Source::file(
        "elementwise/add",
        include_str!("../../shaders/elementwise/add.wgsl"),
    ),
    inputs: &[("a", Kind::Elem), ("b", Kind::Elem)],
    output: Kind::Elem,
    params: &[],
    differentiable: &[true, true],
    indexed: false,
    twin: |x, _| x[0] + x[1],
    ulps: 1.0,
    relative: true,
    course: Course::Monotone,
};

/// Copies an element; what `contiguous` and casts are made of.
pub(crate) static CAST: Function = Function {
    name: "cast",
    source: Source::file(
        "elementwise/cast",
        "fn cast(x: T) -> T {\n    return x;\n}\n",
    ),
    inputs: &[("x", Kind::Any)],
    output: Kind::Any,
    params: &[],
    differentiable: &[false],
    indexed: false,
    twin: |x, _| x[0],
    ulps: 1.0,
    relative: true,
    course: Course::Monotone,
};
