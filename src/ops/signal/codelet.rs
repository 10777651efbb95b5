//! Writes Fourier transforms of a short, fixed length as straight lines of WGSL. Knows no device and no buffers.
//!
//! A value is a complex number, `vec2`, or two of them side by side, `vec4`: the same text serves both. Factors are
//! computed in f64 and rounded once, as literals.

use std::f64::consts::TAU;
use std::fmt::Write as _;

/// Functions on values that the text calls; `pairs` of complex numbers or single ones.
pub(super) fn arithmetic(pairs: bool) -> &'static str {
    if pairs {
        "\
// -i v, of two numbers side by side.
fn rot(v: vec4<f32>) -> vec4<f32> {
    return vec4(v.y, -v.x, v.w, -v.z);
}

fn times(v: vec4<f32>, w: vec4<f32>) -> vec4<f32> {
    return v * w.xxzz - rot(v) * w.yyww;
}
"
    } else {
        "\
// -i v
fn rot(v: vec2<f32>) -> vec2<f32> {
    return vec2(v.y, -v.x);
}

fn times(v: vec2<f32>, w: vec2<f32>) -> vec2<f32> {
    return v * w.x - rot(v) * w.y;
}
"
    }
}

/// Lines of WGSL in which every value has a name of its own.
pub(super) struct Lines {
    pub text: String,
    indent: &'static str,
    prefix: &'static str,
    n_names: u32,
}

impl Lines {
    pub fn new(indent: &'static str, prefix: &'static str) -> Self {
        Lines {
            text: String::new(),
            indent,
            prefix,
            n_names: 0,
        }
    }

    /// Adds a line as it is.
    pub fn line(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.text, "{}{}", self.indent, line.as_ref());
    }

    /// Names the value of an expression.
    pub fn value(&mut self, expression: impl AsRef<str>) -> String {
        let name = format!("{}{}", self.prefix, self.n_names);
        self.n_names += 1;
        self.line(format!("let {name} = {};", expression.as_ref()));
        name
    }

    /// The transform X[k] = Σⱼ x[j] exp(−2πi jk/n) of `n = x.len()` values, in natural order.
    pub fn transform(&mut self, x: &[String]) -> Vec<String> {
        match x.len() {
            0 | 1 => x.to_vec(),
            2 => vec![
                self.value(format!("{} + {}", x[0], x[1])),
                self.value(format!("{} - {}", x[0], x[1])),
            ],
            4 => {
                let a = self.value(format!("{} + {}", x[0], x[2]));
                let b = self.value(format!("{} - {}", x[0], x[2]));
                let c = self.value(format!("{} + {}", x[1], x[3]));
                let d = self.value(format!("rot({} - {})", x[1], x[3]));
                [(&a, '+', &c), (&b, '+', &d), (&a, '-', &c), (&b, '-', &d)]
                    .map(|(l, sign, r)| self.value(format!("{l} {sign} {r}")))
                    .to_vec()
            }
            n => match first_factor(n) {
                first if first == n => self.prime(x),
                first => self.composite(x, first),
            },
        }
    }

    /// An odd prime length: the terms j and n − j share their factors.
    fn prime(&mut self, x: &[String]) -> Vec<String> {
        let n = x.len();
        let half = n / 2;
        let sums: Vec<String> = (1..=half)
            .map(|j| self.value(format!("{} + {}", x[j], x[n - j])))
            .collect();
        let differences: Vec<String> = (1..=half)
            .map(|j| self.value(format!("rot({} - {})", x[j], x[n - j])))
            .collect();
        let mut out = vec![String::new(); n];
        out[0] = self.value(format!("{} + {}", x[0], sums.join(" + ")));
        for k in 1..=half {
            let angle = |j: usize| TAU * ((j * k) % n) as f64 / n as f64;
            let terms = |values: &[String], factor: fn(f64) -> f64| -> String {
                let terms = (1..=half)
                    .map(|j| format!("{} * {}", values[j - 1], literal(factor(angle(j)))));
                terms.collect::<Vec<_>>().join(" + ")
            };
            let even = self.value(format!("{} + {}", x[0], terms(&sums, f64::cos)));
            let odd = self.value(terms(&differences, f64::sin));
            out[k] = self.value(format!("{even} + {odd}"));
            out[n - k] = self.value(format!("{even} - {odd}"));
        }
        out
    }

    /// n = a · b: b transforms of length a, factors, a transforms of length b.
    fn composite(&mut self, x: &[String], a: usize) -> Vec<String> {
        let n = x.len();
        let b = n / a;
        let mut inner = vec![Vec::new(); a];
        for second in 0..b {
            let column: Vec<String> = (0..a).map(|first| x[b * first + second].clone()).collect();
            for (k, value) in self.transform(&column).into_iter().enumerate() {
                inner[k].push(self.turned(&value, second * k, n));
            }
        }
        let mut out = vec![String::new(); n];
        for (k, row) in inner.iter().enumerate() {
            for (second, value) in self.transform(row).into_iter().enumerate() {
                out[k + a * second] = value;
            }
        }
        out
    }

    /// A value times exp(−2πi e/n).
    fn turned(&mut self, v: &str, e: usize, n: usize) -> String {
        let e = e % n;
        if !(8 * e).is_multiple_of(n) {
            let angle = TAU * e as f64 / n as f64;
            let (c, s) = (literal(angle.cos()), literal(angle.sin()));
            return self.value(format!("{v} * {c} + rot({v}) * {s}"));
        }
        let half = literal(0.5f64.sqrt());
        match 8 * e / n {
            0 => v.to_string(),
            1 => self.value(format!("({v} + rot({v})) * {half}")),
            2 => self.value(format!("rot({v})")),
            3 => self.value(format!("(rot({v}) - {v}) * {half}")),
            4 => self.value(format!("-{v}")),
            5 => self.value(format!("({v} + rot({v})) * -{half}")),
            6 => self.value(format!("-rot({v})")),
            _ => self.value(format!("({v} - rot({v})) * {half}")),
        }
    }
}

/// The factor a length is split by first: 4 before 2, then the smallest prime.
fn first_factor(n: usize) -> usize {
    if n.is_multiple_of(4) {
        return 4;
    }
    (2..)
        .take_while(|p| p * p <= n)
        .find(|p| n.is_multiple_of(*p))
        .unwrap_or(n)
}

/// A number as a literal of WGSL.
pub(super) fn literal(x: f64) -> String {
    format!("{:?}f", x as f32)
}
