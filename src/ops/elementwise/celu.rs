//! y   = max(x, 0) + min(0, alpha · (e^(x / alpha) − 1))
//! vjp: dx = dy where x > 0, else dy · e^(x / alpha)
//! source: Barron 2017, arXiv:1704.07483

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The exponential linear unit whose derivative is continuous for every `alpha`, which is above 0.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn celu(&self, alpha: f64) -> Result<Tensor> {
        CELU.apply(
            &[ScalarOr::Tensor(self.clone())],
            vec![(alpha as f32).to_bits()],
        )
    }
}

pub static CELU: Elementwise = Elementwise {
    signature: &Signature::simple(
        "celu",
        "y = max(x, 0) + min(0, alpha · (e^(x / alpha) − 1))",
        "Barron 2017, arXiv:1704.07483",
        X,
    )
    .attrs(&[AttrSpec {
        name: "alpha",
        default: AttrDefault::Float(1.0),
    }]),
    function: &Function::unary("celu", wgsl!("elementwise/celu"), |x, p| {
        if x[0] > 0.0 {
            x[0]
        } else {
            p[0] * (x[0] / p[0]).exp_m1()
        }
    })
    .params(&[("alpha", Param::F32)])
    .ulps(12.0),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("alpha")
                .f32(&[65], Domain::Uniform(-2.0, 2.0))
                .attr("alpha", 0.5),
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
    flops: 15,
    derivatives: Derivatives::unread(),
};
