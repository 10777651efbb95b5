//! y   = x where x > 0, else slope · x
//! vjp: dx = dy where x > 0, else slope · dy
//! source: Maas et al. 2013; torch.nn.functional.leaky_relu

use crate::error::Result;
use crate::fuse::{Course, Function, Param, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The positive part, and a `slope` of the negative one; PyTorch’s slope is 0.01.
    ///
    /// At 0 the derivative is `slope`.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        LEAKY_RELU.apply(
            &[ScalarOr::Tensor(self.clone())],
            vec![(slope as f32).to_bits()],
        )
    }
}

pub static LEAKY_RELU: Elementwise = Elementwise {
    signature: &Signature::simple(
        "leaky_relu",
        "y = x where x > 0, else slope · x",
        "Maas et al. 2013; torch.nn.functional.leaky_relu",
        X,
    )
    .attrs(&[AttrSpec {
        name: "slope",
        default: AttrDefault::Float(0.01),
    }]),
    function: &Function::unary("leaky_relu", wgsl!("elementwise/leaky_relu"), |x, p| {
        if x[0] > 0.0 { x[0] } else { p[0] * x[0] }
    })
    .params(&[("slope", Param::F32)])
    .course(Course::Turns(&[0.0])),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("steep")
                .f32(&[65], Domain::Uniform(-2.0, 2.0))
                .attr("slope", 0.3),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
