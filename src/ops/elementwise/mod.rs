//! Elementwise operators: scalar functions that wait to be fused.
//!
//! Each file names a [`Function`] and a [`Signature`]; [`Elementwise`] makes an operator of them. Inputs broadcast by
//! NumPy's rule; a gradient that was broadcast is summed back.

pub mod abs;
pub mod acos;
pub mod acosh;
pub mod add;
pub mod asin;
pub mod asinh;
pub mod atan;
pub mod atan2;
pub mod atanh;
pub mod ceil;
pub mod celu;
pub mod clamp;
pub mod cos;
pub mod cosh;
pub mod div;
pub mod elu;
pub mod eq;
pub mod erf;
pub mod exp;
pub mod expm1;
pub mod floor;
pub mod ge;
pub mod gelu;
pub mod gradient_reversal;
pub mod gt;
pub mod hard_sigmoid;
pub mod hard_swish;
pub mod is_finite;
pub mod is_inf;
pub mod is_nan;
pub mod le;
pub mod leaky_relu;
pub mod log;
pub mod log10;
pub mod log1p;
pub mod log2;
pub mod logical_and;
pub mod logical_not;
pub mod logical_or;
pub mod logical_xor;
pub mod logit;
pub mod lt;
pub mod maximum;
pub mod minimum;
pub mod mish;
pub mod mul;
pub mod ne;
pub mod neg;
pub mod operand;
pub mod pow;
pub mod reciprocal;
pub mod relu;
pub mod remainder;
pub mod round;
pub mod rsqrt;
pub mod selu;
pub mod sigmoid;
pub mod sign;
pub mod silu;
pub mod sin;
pub mod sinh;
pub mod softplus;
pub mod softsign;
pub mod sqrt;
pub mod square;
pub mod sub;
pub mod tan;
pub mod tanh;
pub mod trunc;
pub mod r#where;

pub(crate) use operand::scalar_bits;
pub use operand::{IntoOperand, ScalarOr};

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::fuse::{self, Function, Kind, Operand, Param, Variant};
use crate::ops::op::{
    Array, Attr, AttrDefault, Attrs, Case, Cost, Domain, Meta, Op, Signature, check_inputs,
    same_device, same_dtype,
};
use crate::ops::reduce::sum::sum_to;
use crate::tape;
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

pub(crate) static OPS: &[&dyn Op] = &[
    &abs::ABS,
    &acos::ACOS,
    &acosh::ACOSH,
    &add::ADD,
    &asin::ASIN,
    &asinh::ASINH,
    &atan::ATAN,
    &atan2::ATAN2,
    &atanh::ATANH,
    &ceil::CEIL,
    &celu::CELU,
    &clamp::CLAMP,
    &cos::COS,
    &cosh::COSH,
    &div::DIV,
    &elu::ELU,
    &eq::EQ,
    &erf::ERF,
    &exp::EXP,
    &expm1::EXPM1,
    &floor::FLOOR,
    &ge::GE,
    &gelu::GELU,
    &gradient_reversal::GradientReversal,
    &gt::GT,
    &hard_sigmoid::HARD_SIGMOID,
    &hard_swish::HARD_SWISH,
    &is_finite::IS_FINITE,
    &is_inf::IS_INF,
    &is_nan::IS_NAN,
    &le::LE,
    &leaky_relu::LEAKY_RELU,
    &log::LOG,
    &log10::LOG10,
    &log1p::LOG1P,
    &log2::LOG2,
    &logical_and::LOGICAL_AND,
    &logical_not::LOGICAL_NOT,
    &logical_or::LOGICAL_OR,
    &logical_xor::LOGICAL_XOR,
    &logit::LOGIT,
    &lt::LT,
    &maximum::MAXIMUM,
    &minimum::MINIMUM,
    &mish::MISH,
    &mul::MUL,
    &ne::NE,
    &neg::NEG,
    &pow::POW,
    &reciprocal::RECIPROCAL,
    &relu::RELU,
    &remainder::REMAINDER,
    &round::ROUND,
    &rsqrt::RSQRT,
    &selu::SELU,
    &sigmoid::SIGMOID,
    &sign::SIGN,
    &silu::SILU,
    &sin::SIN,
    &sinh::SINH,
    &softplus::SOFTPLUS,
    &softsign::SOFTSIGN,
    &sqrt::SQRT,
    &square::SQUARE,
    &sub::SUB,
    &tan::TAN,
    &tanh::TANH,
    &trunc::TRUNC,
    &r#where::WHERE,
];

/// Every elementwise operator, as its scalar function.
pub fn all() -> impl Iterator<Item = &'static Elementwise> {
    OPS.iter().filter_map(|op| op.elementwise())
}

/// An operator made of a scalar function.
pub struct Elementwise {
    pub signature: &'static Signature,
    pub function: &'static Function,
    /// Numbers each input takes in made-up cases: away from kinks, inside the domain.
    pub domains: &'static [Domain],
    /// Cases beyond those that every elementwise operator gets.
    pub extra_cases: fn() -> Vec<Case>,
    /// Flops of one element.
    pub flops: u64,
    /// Always [`Derivatives::unread`].
    pub derivatives: Derivatives,
}

/// What the WGSL text says of the derivatives, read once.
pub struct Derivatives(OnceLock<Vec<Option<Derivative>>>);

impl Derivatives {
    /// Nothing read yet.
    pub const fn unread() -> Self {
        Derivatives(OnceLock::new())
    }
}

struct Derivative {
    /// For each argument, whether the derivative looks at it.
    uses: Vec<bool>,
    /// Whether it is the upstream gradient as it is.
    identity: bool,
}

/// Refuses what is no probability.
pub(crate) fn check_probability(op: &'static str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::attribute(
        op,
        format!("p is {p}, expected a probability from 0 to 1"),
    ))
}

impl Elementwise {
    /// `y = f(x)` without attributes.
    pub(crate) fn unary(&'static self, x: &Tensor) -> Result<Tensor> {
        self.apply(&[ScalarOr::Tensor(x.clone())], Vec::new())
    }

    /// `y = f(a, b)` without attributes.
    pub(crate) fn binary(
        &'static self,
        a: impl IntoOperand,
        b: impl IntoOperand,
    ) -> Result<Tensor> {
        self.apply(&[a.into_operand(), b.into_operand()], Vec::new())
    }

    /// Applies the function to operands, the first tensor among which gives device and dtype.
    pub(crate) fn apply(&'static self, inputs: &[ScalarOr], params: Vec<u32>) -> Result<Tensor> {
        let op = self.signature.name;
        let tensors: Vec<&Tensor> = inputs
            .iter()
            .filter_map(|i| match i {
                ScalarOr::Tensor(t) => Some(t),
                ScalarOr::Scalar(_) => None,
            })
            .collect();
        same_device(op, &tensors)?;
        let device = tensors
            .first()
            .ok_or_else(|| Error::shape(op, "no input is a tensor"))?
            .device()
            .clone();
        let elem = self.elem(inputs.iter().map(|i| match i {
            ScalarOr::Tensor(t) => Some(t.dtype()),
            ScalarOr::Scalar(_) => None,
        }))?;
        let shape = self.shape(tensors.iter().map(|t| t.shape()))?;
        let mut operands = Vec::with_capacity(inputs.len());
        for (input, (_, kind)) in inputs.iter().zip(self.function.inputs) {
            operands.push(match input {
                ScalarOr::Tensor(t) => Operand::Tensor(t.detach()),
                ScalarOr::Scalar(number) => Operand::Scalar(scalar_bits(
                    op,
                    *number,
                    if *kind == Kind::Flag {
                        DType::U32
                    } else {
                        elem
                    },
                )?),
            });
        }
        let dtype = match self.function.output {
            Kind::Flag => DType::U32,
            Kind::Elem | Kind::Any => elem,
        };
        let y = fuse::apply(
            &device,
            self.function,
            Variant::Value,
            operands.clone(),
            params.clone(),
            elem,
            dtype,
            shape,
        )?;
        if !tape::records(&tensors) {
            return Ok(y);
        }
        // The tape counts tensors; scalars have no gradient.
        let places: Vec<usize> = (0..inputs.len())
            .filter(|&i| matches!(inputs[i], ScalarOr::Tensor(_)))
            .collect();
        // It keeps alive only what a derivative that somebody wants will look at.
        let wanted: Vec<&Derivative> = places
            .iter()
            .zip(&tensors)
            .filter(|(_, t)| t.node().is_some())
            .filter_map(|(&input, _)| self.by_input(input))
            .collect();
        let looked_at = |argument: usize| wanted.iter().any(|d| d.uses[argument]);
        let mut arguments = operands;
        arguments.push(Operand::Tensor(y.detach()));
        for (i, argument) in arguments.iter_mut().enumerate() {
            if !looked_at(i) {
                *argument = Operand::Unused;
            }
        }
        Ok(tape::record_elementwise(
            op,
            &tensors,
            y,
            move |dy, sink| {
                for (slot, &input) in places.iter().enumerate() {
                    if !sink.wants(slot) {
                        continue;
                    }
                    let Some(derivative) = self.by_input(input) else {
                        continue;
                    };
                    let gradient = if derivative.identity {
                        dy.detach()
                    } else {
                        self.derivative(derivative, input, &arguments, &params, dy, elem)?
                    };
                    sink.add_summed(slot, gradient, sum_to)?;
                }
                Ok(())
            },
        ))
    }

    /// What is known of the derivative by an input; `None` if there is none.
    fn by_input(&'static self, input: usize) -> Option<&'static Derivative> {
        let read = self.derivatives.0.get_or_init(|| {
            let of = |(i, differentiable): (usize, &bool)| {
                let variant = Variant::Derivative(i as u8);
                differentiable.then(|| Derivative {
                    uses: self.function.uses(variant),
                    identity: self.function.hands_on(variant),
                })
            };
            self.function
                .differentiable
                .iter()
                .enumerate()
                .map(of)
                .collect()
        });
        read[input].as_ref()
    }

    fn derivative(
        &'static self,
        derivative: &Derivative,
        input: usize,
        arguments: &[Operand],
        params: &[u32],
        dy: &Tensor,
        elem: DType,
    ) -> Result<Tensor> {
        let arguments = arguments
            .iter()
            .cloned()
            .chain([Operand::Tensor(dy.detach())])
            .zip(&derivative.uses)
            .map(|(operand, used)| if *used { operand } else { Operand::Unused })
            .collect();
        fuse::apply(
            dy.device(),
            self.function,
            Variant::Derivative(input as u8),
            arguments,
            params.to_vec(),
            elem,
            elem,
            *dy.shape(),
        )
    }

    /// The one dtype of the inputs that share it.
    fn elem(&self, dtypes: impl Iterator<Item = Option<DType>>) -> Result<DType> {
        let op = self.signature.name;
        let mut elem: Option<(&str, DType)> = None;
        for (dtype, ((name, kind), input)) in
            dtypes.zip(self.function.inputs.iter().zip(self.signature.inputs))
        {
            let Some(dtype) = dtype else { continue };
            if !input.dtypes.contains(&dtype) {
                let known: Vec<&str> = input.dtypes.iter().map(|d| d.name()).collect();
                return Err(Error::dtype(
                    op,
                    format!("{name} is {dtype}, expected {}", known.join(" or ")),
                ));
            }
            if *kind == Kind::Elem {
                match elem {
                    None => elem = Some((name, dtype)),
                    Some(first) => same_dtype(op, first, (name, dtype))?,
                }
            }
        }
        Ok(elem.map_or(DType::F32, |e| e.1))
    }

    /// The dtypes that can stand for `T` where the result is to be of `dtype`.
    #[cfg(feature = "check")]
    pub(crate) fn elems_for(&self, dtype: DType) -> Vec<DType> {
        let inputs = || self.signature.inputs.iter().zip(self.function.inputs);
        let free = inputs().any(|(_, (_, kind))| *kind == Kind::Elem);
        DType::ALL
            .into_iter()
            .filter(|elem| match self.function.output {
                Kind::Flag if free => dtype == DType::U32,
                Kind::Flag => dtype == DType::U32 && *elem == DType::U32,
                Kind::Elem | Kind::Any => dtype == *elem,
            })
            .filter(|elem| {
                inputs()
                    .all(|(input, (_, kind))| *kind == Kind::Flag || input.dtypes.contains(elem))
            })
            .collect()
    }

    fn shape<'a>(&self, shapes: impl Iterator<Item = &'a Shape>) -> Result<Shape> {
        let shapes: Vec<&Shape> = shapes.collect();
        shapes
            .iter()
            .try_fold(Shape::SCALAR, |shape, s| shape.broadcast(s))
            .ok_or_else(|| {
                let list: Vec<String> = shapes.iter().map(|s| format!("{s:?}")).collect();
                Error::shape(
                    self.signature.name,
                    format!("shapes {} do not broadcast", list.join(" and ")),
                )
            })
    }

    /// The words that carry the attributes to the kernel.
    fn params(&self, attrs: &Attrs) -> Vec<u32> {
        self.function
            .params
            .iter()
            .zip(self.param_values(attrs))
            .map(|((_, kind), value)| match kind {
                Param::F32 => (value as f32).to_bits(),
                Param::U32 | Param::Choice => value as u32,
            })
            .collect()
    }

    /// An attribute named p is a probability; whole numbers travel as `u32`.
    fn check_attrs(&self, attrs: &Attrs) -> Result<()> {
        let op = self.signature.name;
        for (name, attr) in attrs.iter() {
            match attr {
                Attr::Float(p) if name == "p" => check_probability(op, *p)?,
                Attr::Int(n) if u32::try_from(*n).is_err() => {
                    return Err(Error::attribute(
                        op,
                        format!("{name} is {n}, expected a number from 0 to 4294967295"),
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn param_values(&self, attrs: &Attrs) -> Vec<f64> {
        self.signature
            .attrs
            .iter()
            .zip(attrs.iter())
            .map(|(spec, (_, attr))| match (attr, spec.default) {
                (Attr::Bool(v), _) => f64::from(*v),
                (Attr::Int(v), _) => *v as f64,
                // The kernel sees the number as f32, and so must the twin.
                (Attr::Float(v), _) => f64::from(*v as f32),
                (Attr::Word(w), AttrDefault::Choice(choices)) => {
                    let place = choices.iter().position(|c| c == w);
                    place.expect("complete() checked the word") as f64
                }
                (other, _) => unreachable!("{other} cannot reach an elementwise kernel"),
            })
            .collect()
    }
}

impl Op for Elementwise {
    fn signature(&self) -> &'static Signature {
        self.signature
    }

    fn function(&self) -> Option<&'static Function> {
        Some(self.function)
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        check_inputs(self.signature, inputs)?;
        self.check_attrs(attrs)?;
        let elem = self.elem(inputs.iter().map(|m| m.map(|m| m.dtype)))?;
        Ok(vec![Meta {
            shape: self.shape(inputs.iter().flatten().map(|m| &m.shape))?,
            dtype: match self.function.output {
                Kind::Flag => DType::U32,
                Kind::Elem | Kind::Any => elem,
            },
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let inputs: Vec<ScalarOr> = inputs
            .iter()
            .flatten()
            .map(|t| ScalarOr::Tensor((*t).clone()))
            .collect();
        Ok(vec![self.apply(&inputs, self.params(attrs))?])
    }

    fn cases(&self) -> Vec<Case> {
        let build = |label: &str, shapes: &dyn Fn(usize) -> Vec<usize>| {
            let mut case = Case::new(label);
            for (i, (input, domain)) in self.signature.inputs.iter().zip(self.domains).enumerate() {
                case = case.input(&shapes(i), input.dtypes[0], *domain);
            }
            case
        };
        let mut cases = vec![
            build("prime", &|_| vec![3, 257]),
            build("one_element", &|_| vec![1]),
            build("workgroup_less_one", &|_| vec![255]),
            build("workgroup_and_one", &|_| vec![257]),
            // A workgroup and a rest of quads.
            build("lines_of_quads", &|_| vec![27, 40]),
            // Workgroups and a rest of pairs of quads. The kernels of derivatives are written in the same way.
            build("long_lines_of_quads", &|_| vec![67, 264]).no_gradient(),
            build("empty", &|_| vec![0, 3]).no_gradient(),
            build("large", &|_| vec![1 << 20]).bench().no_gradient(),
        ];
        if self.signature.inputs.len() > 1 {
            cases.push(build("broadcast", &|i| match i % 3 {
                0 => vec![2, 1, 7],
                1 => vec![5, 1],
                _ => vec![1],
            }));
            cases.push(build("broadcast_quads", &|i| match i % 3 {
                0 => vec![9, 1, 12],
                1 => vec![10, 1],
                _ => vec![12],
            }));
            let pairs = build("broadcast_pairs_of_quads", &|i| match i % 3 {
                0 => vec![29, 1, 72],
                1 => vec![10, 1],
                _ => vec![72],
            });
            cases.push(pairs.no_gradient());
        }
        for dtype in self.signature.inputs[0].dtypes {
            if dtype.is_float() || self.signature.inputs[0].dtypes == [DType::U32] {
                continue;
            }
            let mut case = build(dtype.name(), &|_| vec![2, 129]).no_gradient();
            for (spec, (_, kind)) in case.inputs.iter_mut().flatten().zip(self.function.inputs) {
                if *kind == Kind::Elem {
                    spec.dtype = *dtype;
                    spec.domain = match dtype {
                        DType::U32 => Domain::Integers(0, 1000),
                        _ => Domain::Integers(-1000, 1000),
                    };
                }
            }
            cases.push(case);
        }
        cases.extend((self.extra_cases)());
        cases
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let params = self.param_values(attrs);
        let inputs: Vec<&Array> = inputs.iter().flatten().copied().collect();
        let shape = inputs
            .iter()
            .try_fold(Shape::SCALAR, |s, a| s.broadcast(&a.shape))
            .expect("infer checked the shapes");
        let mut index = 0.0;
        vec![Array::from_fn(shape, |at| {
            let x: Vec<f64> = inputs.iter().map(|a| a.broadcast_at(at)).collect();
            if !self.function.indexed {
                return (self.function.twin)(&x, &params);
            }
            let mut params = params.clone();
            params.push(index);
            index += 1.0;
            (self.function.twin)(&x, &params)
        })]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], _attrs: &Attrs) -> Tolerance {
        if self.function.relative {
            // Below 1.2e-38 drivers may flush to zero.
            return Tolerance {
                absolute: 1.2e-38,
                ..Tolerance::ulps(self.function.ulps, 0.0)
            };
        }
        let largest = inputs
            .iter()
            .flatten()
            .fold(1.0, |m: f64, a| m.max(a.max_abs()));
        Tolerance::ulps(self.function.ulps, largest)
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        let n = outputs.first().map_or(0, |m| m.shape.numel());
        Cost::streaming(inputs, outputs, self.flops * n as u64)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        let bytes = |meta: Option<&Meta>| meta.map_or(0, Meta::bytes);
        let mut cost = Cost::default();
        let mut looked_at = vec![false; inputs.len() + 2];
        for (i, input) in inputs.iter().enumerate() {
            let variant = Variant::Derivative(i as u8);
            // An upstream gradient that is handed on moves nothing.
            if self.function.differentiable[i] && !self.function.hands_on(variant) {
                cost.written_bytes += bytes(input.as_ref());
                let uses = self.function.uses(variant);
                looked_at.iter_mut().zip(uses).for_each(|(l, u)| *l |= u);
            }
        }
        // Inputs, the result or the inputs that it is computed from again, the upstream gradient.
        let all = inputs.iter().map(Option::as_ref);
        let all = all.chain([outputs.first(), outputs.first()]);
        let read = all.zip(looked_at).filter(|(_, looked_at)| *looked_at);
        cost.read_bytes = read.map(|(meta, _)| bytes(meta)).sum();
        cost
    }

    fn elementwise(&'static self) -> Option<&'static Elementwise> {
        Some(self)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let mut out = Vec::new();
        let elems: Vec<usize> = (0..self.function.inputs.len())
            .filter(|&i| self.function.inputs[i].1 == Kind::Elem)
            .collect();
        let shaped = |dims: &dyn Fn(usize) -> Vec<usize>, dtype: &dyn Fn(usize) -> DType| {
            let mut case = Case::new("refused");
            for i in 0..self.signature.inputs.len() {
                case = case.input(&dims(i), dtype(i), Domain::Constant(1.0));
            }
            case
        };
        let own = |i: usize| self.signature.inputs[i].dtypes[0];
        if self.signature.attrs.iter().any(|a| a.name == "p") {
            for (why, p) in [("more than certain", 1.5), ("no probability", f64::NAN)] {
                out.push((why, shaped(&|_| vec![2], &own).attr("p", p)));
            }
        }
        if !self.signature.inputs[0].dtypes.contains(&DType::I32) {
            out.push(("integers", shaped(&|_| vec![2], &|_| DType::I32)));
        }
        if elems.len() > 1 {
            let last = *elems.last().expect("there are two");
            out.push((
                "shapes do not broadcast",
                shaped(&|i| if i == last { vec![3] } else { vec![2] }, &own),
            ));
            out.push((
                "dtypes differ",
                shaped(&|_| vec![2], &|i| {
                    if i == last { DType::F16 } else { own(i) }
                }),
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_look_at_what_their_code_names() {
        let uses = |op: &Elementwise| op.function.uses(Variant::Derivative(0));
        // Of x, y and dy. Comments and members of vectors are no names.
        assert_eq!(uses(&sigmoid::SIGMOID), [true, false, true]);
        assert_eq!(uses(&mish::MISH), [true, false, true]);
        assert_eq!(uses(&exp::EXP), [false, true, true]);
    }
}
