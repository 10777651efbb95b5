//! y   = min(max(x, low), high)
//! vjp: dx = dy inside of the bounds (ends included), dlow = dy below, dhigh = dy above
//! source: torch.clamp

use crate::error::Result;
use crate::fuse::{Function, Kind, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand};
use crate::ops::op::{ANY, Case, Domain, Input, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// Moves what lies beyond the bounds onto them; NaN stays.
    ///
    /// Bounds are numbers or tensors; with `low` above `high` everything is `high`.
    /// Shapes: broadcast by NumPy’s rule. Errors: [`Error::Shape`](crate::Error::Shape) if they do not,
    /// [`Error::Dtype`](crate::Error::Dtype) if the dtypes differ.
    pub fn clamp(&self, low: impl IntoOperand, high: impl IntoOperand) -> Result<Tensor> {
        CLAMP.apply(
            &[self.into_operand(), low.into_operand(), high.into_operand()],
            Vec::new(),
        )
    }
}

pub static CLAMP: Elementwise = Elementwise {
    signature: &Signature::simple(
        "clamp",
        "y = min(max(x, low), high)",
        "torch.clamp",
        &[
            Input::grad("x", ANY),
            Input::grad("low", ANY),
            Input::grad("high", ANY),
        ],
    ),
    function: &Function::unary("clamp", wgsl!("elementwise/clamp"), |x, _| {
        if x[0].is_nan() {
            x[0]
        } else if x[2] < x[1] || x[0] > x[2] {
            x[2]
        } else if x[0] < x[1] {
            x[1]
        } else {
            x[0]
        }
    })
    .inputs(&[("x", Kind::Elem), ("low", Kind::Elem), ("high", Kind::Elem)])
    .differentiable(&[true; 3])
    .ulps(0.0),
    domains: &[
        Domain::Uniform(-2.0, 2.0),
        Domain::Uniform(-3.0, -2.5),
        Domain::Uniform(2.5, 3.0),
    ],
    extra_cases: || {
        vec![
            Case::new("above")
                .f32(&[3, 65], Domain::Uniform(3.5, 4.0))
                .f32(&[3, 65], Domain::Uniform(-3.0, -2.5))
                .f32(&[65], Domain::Uniform(2.5, 3.0)),
            Case::new("below")
                .f32(&[3, 65], Domain::Uniform(-4.0, -3.5))
                .f32(&[65], Domain::Uniform(-3.0, -2.5))
                .f32(&[3, 65], Domain::Uniform(2.5, 3.0)),
            Case::new("ends")
                .f32(&[3, 65], Domain::Integers(-2, 2))
                .f32(&[1], Domain::Constant(-1.0))
                .f32(&[1], Domain::Constant(1.0))
                .no_gradient(),
            Case::new("crossed_bounds")
                .f32(&[9], Domain::Uniform(-2.0, 2.0))
                .f32(&[9], Domain::Constant(1.0))
                .f32(&[9], Domain::Constant(-1.0))
                .no_gradient(),
            Case::new("of_nan")
                .f32(&[5], Domain::Constant(f64::NAN))
                .f32(&[5], Domain::Constant(0.0))
                .f32(&[5], Domain::Constant(1.0))
                .no_gradient(),
            Case::new("of_infinity")
                .f32(&[5], Domain::Constant(f64::INFINITY))
                .f32(&[5], Domain::Constant(0.0))
                .f32(&[5], Domain::Constant(1.0))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
