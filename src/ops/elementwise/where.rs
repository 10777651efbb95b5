//! y   = condition ≠ 0 ? a : b
//! vjp: da = condition ≠ 0 ? dy : 0, db = condition ≠ 0 ? 0 : dy
//! source: NumPy's `where`

use crate::error::Result;
use crate::fuse::{Course, Function, Kind};
use crate::gpu::Source;
use crate::ops::elementwise::{Derivatives, Elementwise, IntoOperand, ScalarOr};
use crate::ops::op::{ANY, Case, Domain, FLAG, Input, Signature};
use crate::tensor::Tensor;

impl Tensor {
    /// `a` where this condition is not 0, `b` elsewhere.
    ///
    /// Shapes: all three broadcast. The condition is `u32`, as comparisons give. A NaN in the branch that is not
    /// taken does not reach the result, nor its gradient.
    /// Errors: [`Error::Shape`](crate::Error::Shape), [`Error::Dtype`](crate::Error::Dtype).
    pub fn where_(&self, a: impl IntoOperand, b: impl IntoOperand) -> Result<Tensor> {
        WHERE.apply(
            &[
                ScalarOr::Tensor(self.clone()),
                a.into_operand(),
                b.into_operand(),
            ],
            Vec::new(),
        )
    }
}

pub static WHERE: Elementwise = Elementwise {
    signature: &Signature {
        name: "where",
        formula: "y = condition ≠ 0 ? a : b",
        source: "numpy.where",
        inputs: &[
            Input::plain("condition", FLAG),
            Input::grad("a", ANY),
            Input::grad("b", ANY),
        ],
        attrs: &[],
        outputs: &["y"],
    },
    function: &Function {
        name: "where",
        source: Source::file(
            "elementwise/where",
            include_str!("../../../shaders/elementwise/where.wgsl"),
        ),
        inputs: &[
            ("condition", Kind::Flag),
            ("a", Kind::Elem),
            ("b", Kind::Elem),
        ],
        output: Kind::Elem,
        params: &[],
        differentiable: &[false, true, true],
        indexed: false,
        twin: |x, _| if x[0] != 0.0 { x[1] } else { x[2] },
        ulps: 0.0,
        relative: true,
        course: Course::Monotone,
    },
    domains: &[
        Domain::Index(2),
        Domain::Uniform(-2.0, 2.0),
        Domain::Uniform(-2.0, 2.0),
    ],
    extra_cases: || {
        vec![
            Case::new("any_bit_is_true")
                .input(&[65], crate::tensor::DType::U32, Domain::Index(1 << 20))
                .f32(&[65], Domain::Uniform(-2.0, 2.0))
                .f32(&[65], Domain::Uniform(-2.0, 2.0)),
            Case::new("nan_not_taken")
                .input(&[9], crate::tensor::DType::U32, Domain::Constant(1.0))
                .f32(&[9], Domain::Uniform(-2.0, 2.0))
                .f32(&[9], Domain::Constant(f64::NAN))
                .no_gradient(),
        ]
    },
    flops: 1,
    derivatives: Derivatives::unread(),
};
