//! y   = x where x > 0, else alpha · (eˣ − 1)
//! vjp: dx = dy where x > 0, else dy · alpha · eˣ
//! source: Clevert et al. 2015, arXiv:1511.07289

use crate::error::Result;
use crate::fuse::{Course, Function, Param, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The exponential linear unit; `alpha` is 1 in the paper.
    ///
    /// Of −1 it is −0.632121.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn elu(&self, alpha: f64) -> Result<Tensor> {
        ELU.apply(
            &[ScalarOr::Tensor(self.clone())],
            vec![(alpha as f32).to_bits()],
        )
    }
}

pub static ELU: Elementwise = Elementwise {
    signature: &Signature::simple(
        "elu",
        "y = x where x > 0, else alpha · (eˣ − 1)",
        "Clevert et al. 2015, arXiv:1511.07289",
        X,
    )
    .attrs(&[AttrSpec {
        name: "alpha",
        default: AttrDefault::Float(1.0),
    }]),
    function: &Function::unary("elu", wgsl!("elementwise/elu"), |x, p| {
        if x[0] > 0.0 {
            x[0]
        } else {
            p[0] * x[0].exp_m1()
        }
    })
    .params(&[("alpha", Param::F32)])
    .ulps(8.0)
    .course(Course::Turns(&[0.0])),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("alpha")
                .f32(&[65], Domain::Uniform(-2.0, 2.0))
                .attr("alpha", 0.5),
            Case::new("large_arguments")
                .f32(&[65], Domain::Uniform(-10000.0, 10000.0))
                .no_gradient(),
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
