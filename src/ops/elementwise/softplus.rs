//! y   = ln(1 + e^(beta · x)) / beta
//! vjp: dx = dy / (1 + e^(−beta · x))
//! source: Dugas et al. 2000; torch.nn.functional.softplus

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// A smooth positive part; `beta`, which is above 0, says how sharp.
    ///
    /// Of 0 it is 0.693147 with `beta` 1. No threshold is needed: nothing overflows.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn softplus(&self, beta: f64) -> Result<Tensor> {
        SOFTPLUS.apply(
            &[ScalarOr::Tensor(self.clone())],
            vec![(beta as f32).to_bits()],
        )
    }
}

pub static SOFTPLUS: Elementwise = Elementwise {
    signature: &Signature::simple(
        "softplus",
        "y = ln(1 + e^(beta · x)) / beta",
        "Dugas et al. 2000; torch.nn.functional.softplus",
        X,
    )
    .attrs(&[AttrSpec {
        name: "beta",
        default: AttrDefault::Float(1.0),
    }]),
    function: &Function::unary("softplus", wgsl!("elementwise/softplus"), twin)
        .params(&[("beta", Param::F32)])
        .ulps(12.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("sharp")
                .f32(&[65], Domain::Uniform(-2.0, 2.0))
                .attr("beta", 5.0),
            Case::new("large_arguments").f32(&[65], Domain::Uniform(-80.0, 80.0)),
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_minus_infinity")
                .f32(&[5], Domain::Constant(f64::NEG_INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 30,
    derivatives: Derivatives::unread(),
};

fn twin(x: &[f64], p: &[f64]) -> f64 {
    let b = p[0] * x[0];
    // f64::max drops NaN.
    let positive = if b < 0.0 { 0.0 } else { b };
    (positive + (-b.abs()).exp().ln_1p()) / p[0]
}
