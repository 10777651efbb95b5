//! y   = x · Φ(x), Φ the normal distribution function; approximate = tanh: x · ½(1 + tanh(√(2/π)(x + 0.044715 x³)))
//! vjp: dx = dy · (Φ(x) + x · φ(x)), or the derivative of the tanh form
//! source: Hendrycks & Gimpel 2016, arXiv:1606.08415; torch.nn.functional.gelu

use crate::error::Result;
use crate::fuse::{Course, Function, Kind, Param};
use crate::gpu::Source;
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, FLOATS, Input, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// Gaussian error linear unit in its exact form, by erf.
    ///
    /// Shapes: any, kept. At 1 it is 0.841345, at −1 −0.158655.
    pub fn gelu(&self) -> Result<Tensor> {
        GELU.apply(&[ScalarOr::Tensor(self.clone())], vec![0])
    }

    /// The tanh form of [`gelu`](Self::gelu), which differs by at most 5e-4.
    pub fn gelu_tanh(&self) -> Result<Tensor> {
        GELU.apply(&[ScalarOr::Tensor(self.clone())], vec![1])
    }
}

pub static GELU: Elementwise = Elementwise {
    signature: &Signature {
        name: "gelu",
        formula: "y = x · Φ(x); tanh: y = x · ½(1 + tanh(√(2/π)(x + 0.044715 x³)))",
        source: "Hendrycks & Gimpel 2016, arXiv:1606.08415",
        inputs: &[Input::grad("x", FLOATS)],
        attrs: &[AttrSpec {
            name: "approximate",
            default: AttrDefault::Choice(&["none", "tanh"]),
        }],
        outputs: &["y"],
    },
    function: &Function {
        name: "gelu",
        source: Source::file(
            "elementwise/gelu",
            include_str!("../../../shaders/elementwise/gelu.wgsl"),
        ),
        inputs: &[("x", Kind::Elem)],
        output: Kind::Elem,
        params: &[("approximate", Param::Choice)],
        differentiable: &[true],
        indexed: false,
        twin,
        // erf is good to 1.2e-7 absolute, two units of roundoff; exp brings as many again on some drivers.
        ulps: 6.0,
        relative: false,
        // The least values of both forms.
        course: Course::Turns(&[-0.751_791_524_693_564_6, -0.752_461_422_071_016_3]),
    },
    domains: &[Domain::Uniform(-4.0, 4.0)],
    extra_cases: || {
        vec![
            Case::new("tanh")
                .f32(&[3, 101], Domain::Uniform(-6.0, 6.0))
                .attr("approximate", "tanh"),
            Case::new("large_arguments").f32(&[2, 64], Domain::Uniform(-1e4, 1e4)),
            Case::new("large_arguments_tanh")
                .f32(&[2, 64], Domain::Uniform(-1e4, 1e4))
                .attr("approximate", "tanh"),
        ]
    },
    flops: 20,
    derivatives: Derivatives::unread(),
};

fn twin(x: &[f64], params: &[f64]) -> f64 {
    let x = x[0];
    if params[0] == 1.0 {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        x * 0.5 * (1.0 + inner.tanh())
    } else {
        x * 0.5 * erfc(-x / std::f64::consts::SQRT_2)
    }
}

/// Complementary error function in f64: series near zero, continued fraction (Lentz) in the tails.
pub(crate) fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x > 27.0 {
        return 0.0;
    }
    if x < 2.5 {
        return 1.0 - erf_series(x);
    }
    // erfc x = e^{−x²}/√π · 1/(x + ½/(x + 1/(x + 3/2/(x + …)))), from the inside out.
    let fraction = (1..=120).rev().fold(x, |f, k| x + f64::from(k) / 2.0 / f);
    (-x * x).exp() / std::f64::consts::PI.sqrt() / fraction
}

/// Error function in f64, exact near 0, where 1 less its complement is not.
pub(crate) fn erf(x: f64) -> f64 {
    match x.abs() {
        a if a < 2.5 => erf_series(a).copysign(x),
        _ => 1.0 - erfc(x),
    }
}

/// erf x = 2/√π e^{−x²} Σ 2ⁿ x^{2n+1} / (2n+1)!! for x from 0 to 2.5.
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut n = 0.0;
    while term > 1e-18 * sum {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_at_known_points() {
        // Abramowitz & Stegun, table 7.1 and 7.3.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (-1.0, 1.842_700_792_949_714_9),
        ] {
            let error = (erfc(x) - expected).abs() / expected;
            assert!(error < 1e-12, "{x}: {error:e}");
        }
    }

    #[test]
    fn erf_of_small_numbers() {
        // erf x = 2/√π (x − x³/3 + …).
        for x in [1e-3, -1e-9, 1e-30, 0.0] {
            let expected = 2.0 / std::f64::consts::PI.sqrt() * (x - x * x * x / 3.0);
            assert!((erf(x) - expected).abs() <= 1e-12 * x.abs(), "{x}");
        }
        assert_eq!(erf(-30.0), -1.0);
    }
}
