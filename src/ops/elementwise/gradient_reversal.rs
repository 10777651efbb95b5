//! y   = x
//! vjp: dx = −lambda · dy
//! source: Ganin & Lempitsky 2015, arXiv:1409.7495, section 3.1, equations 16 and 17

use crate::error::{Error, Result};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, FLOATS, Input, Meta, Op, Signature,
};
use crate::tape;
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The same numbers, whose gradient comes back times −`lambda`: what lies before learns to confuse what follows.
    ///
    /// Shapes: any, kept; nothing is copied. With `lambda` 2 a gradient of 3 becomes −6. This is no derivative of the
    /// value, so numeric gradients do not agree with it.
    /// Errors: [`Error::Attribute`] unless `lambda` is finite; [`Error::Dtype`] for integers.
    pub fn gradient_reversal(&self, lambda: f64) -> Result<Tensor> {
        check(self.dtype(), lambda)?;
        Ok(tape::record_elementwise(
            "gradient_reversal",
            &[self],
            self.detach(),
            move |dy, sink| sink.add(0, dy.mul(-lambda)?),
        ))
    }
}

fn check(dtype: DType, lambda: f64) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::dtype(
            "gradient_reversal",
            format!("x is {dtype}, expected f32 or f16"),
        ));
    }
    if !lambda.is_finite() {
        return Err(Error::attribute(
            "gradient_reversal",
            format!("lambda is {lambda}, expected a finite number"),
        ));
    }
    Ok(())
}

static SIGNATURE: Signature = Signature {
    name: "gradient_reversal",
    formula: "y = x; dx = −lambda · dy",
    source: "Ganin & Lempitsky 2015, arXiv:1409.7495, section 3.1",
    inputs: &[Input::grad("x", FLOATS)],
    attrs: &[AttrSpec {
        name: "lambda",
        default: AttrDefault::Float(1.0),
    }],
    outputs: &["y"],
};

pub struct GradientReversal;

impl Op for GradientReversal {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        check(x.dtype, attrs.float("lambda"))?;
        Ok(vec![x])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![x.gradient_reversal(attrs.float("lambda"))?])
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-2.0, 2.0);
        // The gradient is none of the value, so tests/tape.rs checks it.
        vec![
            Case::new("prime").f32(&[3, 257], domain).no_gradient(),
            Case::new("one_element").f32(&[1], domain).no_gradient(),
            Case::new("empty").f32(&[0, 3], domain).no_gradient(),
            Case::new("f16")
                .input(&[3, 33], DType::F16, domain)
                .attr("lambda", 0.5)
                .no_gradient(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], _: &Attrs) -> Vec<Array> {
        vec![inputs[0].expect("check_inputs saw it").clone()]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn cost(&self, _: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
        // A view moves nothing.
        Cost::default()
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let case = |lambda: f64| {
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .attr("lambda", lambda)
        };
        vec![
            ("lambda is no number", case(f64::NAN)),
            ("lambda is infinite", case(f64::INFINITY)),
            (
                "integers",
                Case::new("refused").input(&[2], DType::I32, Domain::Constant(0.0)),
            ),
        ]
    }
}
