//! y   = min x over the axes
//! vjp: dx = dy / (number of minima) at each minimum, 0 elsewhere
//! source: torch.amin

use crate::error::Result;
use crate::gpu::{Caps, Source};
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Role,
    Signature,
};
use crate::ops::reduce::{self, axes_of, check_not_empty, max, reduced_shape};
use crate::tape;
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The smallest element over `axes` (all if empty); `keepdim` keeps them with length 1.
    ///
    /// Edges: NaN among the elements gives NaN. Tied minima share the gradient evenly.
    /// Errors: [`Error::Attribute`] for an axis that is not there or named twice; [`Error::Empty`] if a reduced axis
    /// has length 0, since nothing is the smallest of nothing.
    pub fn min(&self, axes: &[i64], keepdim: bool) -> Result<Tensor> {
        let axes = axes_of("min", self.shape(), axes)?;
        check_not_empty("min", self.shape(), &axes)?;
        let y = reduce::reduce(
            &Min,
            KERNELS,
            self,
            &axes,
            reduced_shape(self.shape(), &axes, keepdim),
        )?;
        if !tape::records(&[self]) {
            return Ok(y);
        }
        let (x, value) = (self.detach(), y.detach());
        Ok(tape::record("min", &[self], y, move |dy, sink| {
            sink.give(0, max::vjp(&Min, &x, &value, dy, &axes)?)
        }))
    }
}

const KERNELS: reduce::Kernels = reduce::Kernels {
    source: |_| source(),
    naive: "min_over",
    quads: None,
};

fn source() -> Source {
    Source::file(
        "reduce/min",
        include_str!("../../../shaders/reduce/min.wgsl"),
    )
}

static SIGNATURE: Signature = Signature {
    name: "min",
    formula: "y = min x over axes",
    source: "torch.amin",
    inputs: &[Input::grad("x", ANY)],
    attrs: &[
        AttrSpec {
            name: "axes",
            default: AttrDefault::Ints(&[]),
        },
        AttrSpec {
            name: "keepdim",
            default: AttrDefault::Bool(false),
        },
    ],
    outputs: &["y"],
};

pub struct Min;

impl Op for Min {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        check_not_empty(
            "min",
            &x.shape,
            &axes_of("min", &x.shape, attrs.ints("axes"))?,
        )?;
        Ok(vec![reduce::infer("min", x, attrs)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![x.min(attrs.ints("axes"), attrs.bool("keepdim"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        vec![
            reduce::entry(source(), "min_over", Role::Forward),
            reduce::entry(max::vjp_source(), "max_over_vjp", Role::Vjp),
        ]
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = reduce::cases(Domain::Distinct);
        cases.push(
            Case::new("all_positive")
                .f32(&[3, 65], Domain::Uniform(8.0, 9.0))
                .attr("axes", [1i64].as_slice()),
        );
        cases.push(
            Case::new("u32")
                .input(&[3, 70], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("axes", [1i64].as_slice()),
        );
        cases.push(
            Case::new("nan_everywhere")
                .f32(&[2, 5], Domain::Constant(f64::NAN))
                .attr("axes", [1i64].as_slice())
                .no_gradient(),
        );
        // Distinct numbers are closer together than the step of the numeric derivative.
        for case in &mut cases {
            let n: usize = case.inputs.iter().flatten().map(|s| s.shape.numel()).sum();
            case.smooth &= n < 20_000;
        }
        cases
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = axes_of("min", &x.shape, attrs.ints("axes")).expect("infer checked them");
        let kept = reduced_shape(&x.shape, &axes, true);
        let mut y = Array::new(kept, vec![f64::INFINITY; kept.numel()]);
        Array::from_fn(x.shape, |at| {
            let place: Vec<usize> = at
                .iter()
                .enumerate()
                .map(|(a, i)| if axes.contains(&a) { 0 } else { *i })
                .collect();
            let (value, best) = (x.at(at), y.at_mut(&place));
            if value.is_nan() || value < *best {
                *best = value;
            }
            0.0
        });
        let shape = reduced_shape(&x.shape, &axes, attrs.bool("keepdim"));
        vec![Array::new(shape, y.data)]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, _: &Caps) -> Option<String> {
        reduce::plan_line("min", inputs, attrs)
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::per_element(inputs, outputs, 1)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs)
            .reading(&inputs[0])
            .reading(outputs)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        reduce::refusals_with_empty()
    }
}
