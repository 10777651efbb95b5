//! y   = 1 where a = b, else 0
//! vjp: none
//! source: numpy.equal

use crate::error::Result;
use crate::fuse::{Course, Function, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{AB_COMPARED, Case, Domain, Signature};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// 1 where an element is equal to that of `other`, 0 elsewhere, as `u32`.
    ///
    /// NaN is equal to nothing.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ.
    pub fn eq(&self, other: impl IntoOperand) -> Result<Tensor> {
        EQ.binary(self, other)
    }
}

pub static EQ: Elementwise = Elementwise {
    signature: &Signature::simple(
        "eq",
        "y = 1 where a = b, else 0",
        "numpy.equal",
        AB_COMPARED,
    ),
    function: &Function::binary("eq", wgsl!("elementwise/eq"), |x, _| {
        f64::from(x[0] == x[1])
    })
    .flag()
    .course(Course::Pieces(|x| {
        f64::from(x[0] > x[1]) - f64::from(x[0] < x[1])
    })),
    domains: &[Domain::Integers(-2, 2), Domain::Integers(-2, 2)],
    extra_cases: || {
        vec![
            Case::new("nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .f32(&[5], Domain::Constant(f64::NAN))
                .no_gradient(),
            Case::new("infinities")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .no_gradient(),
            Case::new("f16")
                .input(&[33], DType::F16, Domain::Integers(-2, 2))
                .input(&[33], DType::F16, Domain::Integers(-2, 2))
                .no_gradient(),
            Case::new("u32")
                .input(
                    &[33],
                    DType::U32,
                    Domain::Integers(4_294_967_290, 4_294_967_295),
                )
                .input(
                    &[33],
                    DType::U32,
                    Domain::Integers(4_294_967_290, 4_294_967_295),
                )
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
