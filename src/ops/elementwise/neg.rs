//! y   = −x
//! vjp: dx = −dy
//! source: numpy.negative

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X_SIGNED};
use crate::tensor::Tensor;

impl Tensor {
    /// The number with the other sign.
    ///
    /// Of 2 it is −2.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for `u32`.
    pub fn neg(&self) -> Result<Tensor> {
        NEG.unary(self)
    }
}

impl std::ops::Neg for &Tensor {
    type Output = Result<Tensor>;

    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

pub static NEG: Elementwise = Elementwise {
    signature: &Signature::simple("neg", "y = −x", "numpy.negative", X_SIGNED),
    function: &Function::unary("neg", wgsl!("elementwise/neg"), |x, _| -x[0]),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
