//! y   = Σⱼ x[j] exp(−2πi jk/n); with exp(+2πi jk/n) the inverse, by default divided by n
//! vjp: dx = Σₖ dy[k] exp(±2πi jk/n), the transform the other way with the same scale
//! source: torch.fft.fft, torch.fft.ifft; Stockham's passes: Van Loan 1992; other lengths: Bluestein 1970

use crate::error::Result;
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Domain, Entry, Meta, Role, Signature,
};
use crate::ops::signal::transform::{
    complex_axis, dense, multiply, multiply_kernel, plan_line, root, transform,
};
use crate::ops::signal::{
    NORM, Norm, Plain, X, entry, given, length, pass, resized, some_length, transform_flops,
    transform_tolerance,
};
use crate::tape;
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// The discrete Fourier transform of complex rows of any length.
    ///
    /// Shapes: `[.., n, 2]` → `[.., n, 2]`; the last axis is (re, im). 1 2 3 4 gives 10, −2 + 2i, −2, −2 − 2i.
    /// Errors: [`Error::Shape`](crate::Error::Shape) if the last axis is not 2, [`Error::Dtype`](crate::Error::Dtype)
    /// unless f32, [`Error::Empty`](crate::Error::Empty) if n is 0.
    pub fn fft(&self) -> Result<Tensor> {
        self.fft_with(None, Norm::Backward)
    }

    /// As [`fft`](Self::fft), of rows cut or filled up with zeros to `n`, divided as `norm` says.
    pub fn fft_with(&self, n: Option<usize>, norm: Norm) -> Result<Tensor> {
        recorded(&FFT, self, n, norm, false)
    }

    /// The inverse of [`fft`](Self::fft): Σₖ x[k] exp(2πi jk/n) / n.
    pub fn ifft(&self) -> Result<Tensor> {
        self.ifft_with(None, Norm::Backward)
    }

    /// As [`ifft`](Self::ifft), of rows cut or filled up with zeros to `n`, divided as `norm` says.
    pub fn ifft_with(&self, n: Option<usize>, norm: Norm) -> Result<Tensor> {
        recorded(&IFFT, self, n, norm, true)
    }
}

fn recorded(
    op: &'static Plain,
    x: &Tensor,
    n: Option<usize>,
    norm: Norm,
    inverse: bool,
) -> Result<Tensor> {
    let name = op.signature.name;
    let (meta, n) = checked(name, Meta::of(x), n)?;
    let axis = meta.shape.len() - 2;
    let x = resized(x, axis, n)?;
    let scale = norm.scale(n, inverse);
    let y = along_rows(&x, n, inverse, scale)?;
    Ok(tape::record(name, &[&x], y, move |dy, sink| {
        sink.give(0, along_rows(dy, n, !inverse, scale)?)
    }))
}

/// Transforms of all rows of `x [.., n, 2]`, which may lie anyhow.
pub(super) fn along_rows(x: &Tensor, n: usize, inverse: bool, scale: f64) -> Result<Tensor> {
    if x.numel() == 0 {
        return Tensor::empty(x.device(), DType::F32, *x.shape());
    }
    let dense = dense(x, 2)?;
    transform(&dense, x.numel() / (2 * n), n, inverse, scale)?.reshape(x.shape())
}

fn checked(op: &'static str, x: Meta, n: Option<usize>) -> Result<(Meta, usize)> {
    super::only_f32(op, x)?;
    let axis = complex_axis(op, &x.shape)?;
    let n = some_length(op, &x.shape, axis, n.unwrap_or(x.shape[axis]))?;
    let shape = x.shape.with(axis, n);
    Ok((Meta { shape, ..x }, n))
}

const ATTRS: &[AttrSpec] = &[
    AttrSpec {
        name: "n",
        default: AttrDefault::Int(0),
    },
    NORM,
];

/// The sum itself, row by row.
fn twin(x: &Array, attrs: &Attrs, inverse: bool) -> Array {
    let axis = x.shape.len() - 2;
    let held = x.shape[axis];
    let n = match attrs.int("n") {
        0 => held,
        n => n as usize,
    };
    let scale = Norm::of(attrs).scale(n, inverse);
    let roots: Vec<(f64, f64)> = (0..n).map(|k| root(k, n)).collect();
    let mut y = Array::zeros(x.shape.with(axis, n));
    if held == 0 {
        return y;
    }
    for (x, y) in x.data.chunks(2 * held).zip(y.data.chunks_mut(2 * n)) {
        for k in 0..n {
            let mut sum = (0.0, 0.0);
            for j in 0..held.min(n) {
                let place = j * k % n;
                let w = roots[if inverse { (n - place) % n } else { place }];
                let term = multiply((x[2 * j], x[2 * j + 1]), w);
                sum = (sum.0 + term.0, sum.1 + term.1);
            }
            y[2 * k] = scale * sum.0;
            y[2 * k + 1] = scale * sum.1;
        }
    }
    y
}

fn cases() -> Vec<Case> {
    let case =
        |label: &str, shape: &[usize]| Case::new(label).f32(shape, Domain::Uniform(-1.0, 1.0));
    vec![
        case("verify", &[3, 36, 2]),
        case("length_1", &[5, 1, 2]),
        case("length_2", &[3, 2, 2]),
        case("prime_13", &[2, 3, 13, 2]),
        case("prime_17", &[4, 17, 2]),
        case("no_batch", &[30, 2]),
        case("twice_a_prime", &[2, 74, 2]).attr("norm", "ortho"),
        case("power_of_2", &[2, 128, 2]).attr("norm", "forward"),
        case("composite_210", &[2, 210, 2]),
        case("cut", &[3, 20, 2]).attr("n", 15i64),
        case("filled_up", &[3, 20, 2]).attr("n", 33i64),
        Case::new("far_from_zero").f32(&[2, 60, 2], Domain::Offset(1e4, 1.0)),
        case("no_rows", &[0, 6, 2]).no_gradient(),
    ]
}

fn bench_cases() -> Vec<Case> {
    [(256usize, 1024usize), (64, 4096), (256, 1009), (1, 1 << 20)]
        .map(|(rows, n)| {
            let case = Case::new(format!("{rows}x{n}"))
                .f32(&[rows, n, 2], Domain::Uniform(-1.0, 1.0))
                .bench()
                .no_gradient();
            // n² multiplications for each row.
            match n > 1 << 16 {
                true => case.long_twin(),
                false => case,
            }
        })
        .to_vec()
}

fn refusals() -> Vec<(&'static str, Case)> {
    let one = Domain::Constant(1.0);
    vec![
        ("real numbers", Case::new("refused").f32(&[3, 5], one)),
        ("a single number", Case::new("refused").f32(&[2], one)),
        ("no length", Case::new("refused").f32(&[3, 0, 2], one)),
        (
            "a negative length",
            Case::new("refused").f32(&[3, 4, 2], one).attr("n", -4i64),
        ),
        (
            "integers",
            Case::new("refused").input(&[3, 4, 2], DType::I32, one),
        ),
    ]
}

fn entries() -> Vec<Entry> {
    let mut out: Vec<Entry> = pass::kernels()
        .map(|(radix, last)| Entry {
            variant: radix as u32,
            ..entry(pass::kernel(radix, last), Role::Forward)
        })
        .collect();
    out.push(entry(multiply_kernel(), Role::Forward));
    out
}

/// A length with this radix twice (or last after 3), or one that has no passes; two workgroups and a rest.
fn verify(entry: &Entry) -> Option<Case> {
    let (rows, n) = match entry.variant as usize {
        0 => (5, 17),
        radix @ (2 | 4) => (67, 3 * radix),
        radix => (131 / radix + 1, radix * radix),
    };
    Some(Case::new("verify").f32(&[rows, n, 2], Domain::Uniform(-1.0, 1.0)))
}

/// Whether a case has a pass of the entry's radix, in its place.
fn tries(entry: &Entry, case: &Case) -> bool {
    let n = match case.attrs.iter().find(|(name, _)| *name == "n") {
        Some((_, crate::ops::op::Attr::Int(n))) => *n as usize,
        _ => case.inputs[0]
            .as_ref()
            .map_or(0, |s| s.shape[s.shape.len() - 2]),
    };
    let radix = entry.variant as usize;
    match (pass::factors(n), entry.name()) {
        (None, name) => name == "fft_multiply",
        (Some(factors), "fft_pass_last") => factors.last() == Some(&radix),
        (Some(factors), _) => factors
            .split_last()
            .is_some_and(|(_, f)| f.contains(&radix)),
    }
}

pub static FFT: Plain = Plain {
    signature: &Signature {
        name: "fft",
        formula: "y[k] = Σ x[j] exp(−2πi jk/n)",
        source: "torch.fft.fft",
        inputs: X,
        attrs: ATTRS,
        outputs: &["y"],
    },
    infer: |inputs, attrs| Ok(checked("fft", given(inputs, 0), length("fft", attrs, "n")?)?.0),
    run: |inputs, attrs| given(inputs, 0).fft_with(length("fft", attrs, "n")?, Norm::of(attrs)),
    twin: |inputs, attrs| twin(given(inputs, 0), attrs, false),
    tolerance: |inputs, attrs| tolerance(given(inputs, 0), attrs, false),
    linear: true,
    flops: |inputs, _| flops(given(inputs, 0)),
    cases: || [cases(), bench_cases()].concat(),
    refusals,
    entries,
    further: |_, _| None,
    verify,
    tries,
    plan: |inputs, attrs, _| plan(inputs, attrs),
};

pub static IFFT: Plain = Plain {
    signature: &Signature {
        name: "ifft",
        formula: "y[j] = Σ x[k] exp(2πi jk/n) / n",
        source: "torch.fft.ifft",
        inputs: X,
        attrs: ATTRS,
        outputs: &["y"],
    },
    infer: |inputs, attrs| Ok(checked("ifft", given(inputs, 0), length("ifft", attrs, "n")?)?.0),
    run: |inputs, attrs| given(inputs, 0).ifft_with(length("ifft", attrs, "n")?, Norm::of(attrs)),
    twin: |inputs, attrs| twin(given(inputs, 0), attrs, true),
    tolerance: |inputs, attrs| tolerance(given(inputs, 0), attrs, true),
    linear: true,
    flops: |inputs, _| flops(given(inputs, 0)),
    cases,
    refusals,
    // Its kernels are those of fft.
    entries: Vec::new,
    further: |_, _| None,
    verify: |_| None,
    tries: |_, _| true,
    plan: |inputs, attrs, _| plan(inputs, attrs),
};

fn plan(inputs: &[Option<Meta>], attrs: &Attrs) -> Option<String> {
    let x: Meta = given(inputs, 0);
    let n = match attrs.int("n") {
        0 => x.shape[x.shape.len() - 2],
        n => n as usize,
    };
    Some(plan_line(n))
}

fn tolerance(x: &Array, attrs: &Attrs, inverse: bool) -> crate::verdict::Tolerance {
    let n = match attrs.int("n") {
        0 => x.shape[x.shape.len() - 2],
        n => n as usize,
    };
    transform_tolerance(n, x.max_abs(), Norm::of(attrs).scale(n, inverse))
}

fn flops(x: Meta) -> u64 {
    let n = x.shape[x.shape.len() - 2].max(1);
    (x.shape.numel() / (2 * n)) as u64 * transform_flops(n)
}
