//! y   = √x
//! vjp: dx = dy / (2 y)
//! source: numpy.sqrt

use crate::error::Result;
use crate::fuse::{Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise};
use crate::ops::op::{Case, Domain, Signature, X};
use crate::tensor::Tensor;

impl Tensor {
    /// The square root.
    ///
    /// Of 9 it is 3; below 0 it is NaN. At 0 its derivative is infinite.
    /// Shapes: any, kept. Errors: [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn sqrt(&self) -> Result<Tensor> {
        SQRT.unary(self)
    }
}

pub static SQRT: Elementwise = Elementwise {
    signature: &Signature::simple("sqrt", "y = √x", "numpy.sqrt", X),
    function: &Function::unary("sqrt", wgsl!("elementwise/sqrt"), |x, _| x[0].sqrt()).ulps(6.0),
    domains: &[Domain::Uniform(0.05, 4.0)],
    extra_cases: || {
        vec![
            Case::new("all_exponents")
                .f32(&[3, 67], Domain::Uniform(1e-30, 1e+30))
                .no_gradient(),
            Case::new("of_zero")
                .f32(&[5], Domain::Constant(0.0))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 4,
    derivatives: Derivatives::unread(),
};
