//! y   = the index of the largest element along the axis
//! vjp: none
//! source: numpy.argmax

use crate::error::{Error, Result};
use crate::gpu::Source;
use crate::ops::launch;
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Role,
    Signature,
};
use crate::ops::reduce::{
    self, MOST_PART, Params, Plan, WORKGROUP, axes_of, check_not_empty, lines, reduced_shape,
};
use crate::tensor::{DType, Shape, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// The index of the largest element along an axis, or in row-major order over all of them with `None`, as `u32`.
    ///
    /// `keepdim` keeps reduced axes with length 1. Of several equal ones it is the first; a NaN counts as the
    /// largest, so the first NaN is found. Of 3, 1, 3 it is 0.
    /// Errors: [`Error::Attribute`](crate::Error::Attribute) for an axis that is not there;
    /// [`Error::Empty`](crate::Error::Empty) if there are no elements to choose from.
    pub fn argmax(&self, axis: Option<i64>, keepdim: bool) -> Result<Tensor> {
        ARGMAX.apply(self, axis, keepdim)
    }
}

pub static ARGMAX: Arg = Arg {
    signature: &Signature {
        name: "argmax",
        formula: "y = index of max x along the axis",
        source: "numpy.argmax",
        inputs: X_COMPARED,
        attrs: SIGNATURE_ATTRS,
        outputs: &["y"],
    },
    entry: "argmax",
    better: |a, b| a > b,
};

pub(super) const X_COMPARED: &[Input] = &[Input::plain("x", ANY)];

pub(super) const SIGNATURE_ATTRS: &[AttrSpec] = &[
    AttrSpec {
        name: "axes",
        default: AttrDefault::Ints(&[]),
    },
    AttrSpec {
        name: "keepdim",
        default: AttrDefault::Bool(false),
    },
];

/// The search for the best element: `argmax` and `argmin`.
pub struct Arg {
    pub signature: &'static Signature,
    pub entry: &'static str,
    pub better: fn(f64, f64) -> bool,
}

impl Arg {
    pub(super) fn apply(
        &'static self,
        x: &Tensor,
        axis: Option<i64>,
        keepdim: bool,
    ) -> Result<Tensor> {
        let axes = self.axes(x.shape(), axis.as_slice())?;
        let shape = reduced_shape(x.shape(), &axes, keepdim);
        let device = x.device();
        let stored = launch::storage(device, x)?;
        // Over all axes the elements are counted in row-major order: one axis of a contiguous tensor.
        let (stored, axes) = match axis {
            Some(_) => (stored, axes),
            None => (stored.reshape([x.numel()])?, vec![0]),
        };
        let n = stored.dim(axes[0]);
        let n_parts = n.div_ceil(MOST_PART);
        if n_parts == 1 {
            let y = Tensor::empty(device, DType::U32, shape)?;
            self.search(&stored, &axes, n, &y)?;
            return Ok(y);
        }
        // The best of each part, and of these the first best: what is first among equals stays so.
        let last = stored.shape().len() - 1;
        let mut order: Vec<i64> = (0..=last as i64).collect();
        order.remove(axes[0]);
        order.push(axes[0] as i64);
        let moved = stored.permute(&order)?;
        let places = Tensor::empty(device, DType::U32, moved.shape().with(last, n_parts))?;
        self.search(&moved, &[last], MOST_PART, &places)?;
        let part = self.apply(&moved.gather(-1, &places)?, Some(-1), true)?;
        places.gather(-1, &part)?.reshape(shape)
    }

    /// Looks through each part of the axis on its own; the index for result `r` and part `p` goes to
    /// `y[r * n_parts + p]`.
    fn search(&'static self, x: &Tensor, axes: &[usize], part: usize, y: &Tensor) -> Result<()> {
        let device = x.device();
        let plan = Plan::new(x, axes)?;
        let elem = x.dtype().elem();
        let n_parts = x.dim(axes[0]).div_ceil(part);
        launch::choose(self, device, elem, &[(self.entry, 0)])?;
        let params = Params {
            kept_lengths: plan.kept.lengths,
            kept_strides: plan.kept.strides,
            reduced_lengths: plan.reduced.lengths,
            reduced_strides: plan.reduced.strides,
            n_results: launch::word("results of a reduction", y.numel() / n_parts)?,
            n_parts: n_parts as u32,
            part: part as u32,
            x_offset: plan.x.layout().offset as u32,
            y_offset: y.layout().offset as u32,
            padding: [0; 3],
        };
        launch::dispatch(
            device,
            &reduce::kernel(source(), self.entry, elem),
            &[&plan.x],
            &[y],
            &params,
            (y.numel() as u64).div_ceil(WORKGROUP),
        )
    }

    /// One axis, or all of them.
    fn axes(&self, shape: &Shape, given: &[i64]) -> Result<Vec<usize>> {
        let op = self.signature.name;
        if given.len() > 1 {
            return Err(Error::attribute(
                op,
                format!("axes {given:?}, expected one axis or none for all"),
            ));
        }
        let axes = axes_of(op, shape, given)?;
        check_not_empty(op, shape, &axes)?;
        Ok(axes)
    }
}

fn source() -> Source {
    Source::file(
        "reduce/argmax",
        include_str!("../../../shaders/reduce/argmax.wgsl"),
    )
}

impl Op for Arg {
    fn signature(&self) -> &'static Signature {
        self.signature
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = self.axes(&x.shape, attrs.ints("axes"))?;
        Ok(vec![Meta {
            shape: reduced_shape(&x.shape, &axes, attrs.bool("keepdim")),
            dtype: DType::U32,
        }])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        let axis = attrs.ints("axes").first().copied();
        Ok(vec![self.apply(x, axis, attrs.bool("keepdim"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        vec![reduce::entry(source(), self.entry, Role::Forward)]
    }

    fn cases(&self) -> Vec<Case> {
        let case = |label: &str, shape: &[usize], axes: &[i64], domain| {
            Case::new(label).f32(shape, domain).attr("axes", axes)
        };
        vec![
            // Two workgroups of results.
            case("verify", &[5, 27, 17], &[2], Domain::Distinct),
            case("all", &[3, 5, 7], &[], Domain::Distinct),
            case("one_element", &[1], &[0], Domain::Distinct),
            case("rank_0", &[], &[], Domain::Constant(1.0)),
            case("first_axis", &[67, 5], &[0], Domain::Distinct),
            case("middle_axis", &[3, 65, 7], &[1], Domain::Distinct),
            case("six_axes", &[2, 3, 2, 5, 2, 3], &[3], Domain::Distinct),
            // More elements than a software driver lets one invocation walk over.
            case("long_all", &[200_003], &[], Domain::Distinct),
            case(
                "long_middle_axis",
                &[2, 70_001, 2],
                &[1],
                Domain::Integers(-40, 40),
            ),
            case("long_nan", &[70_001], &[0], Domain::Constant(f64::NAN)),
            case("ties", &[9, 65], &[-1], Domain::Integers(-2, 2)),
            case("all_equal", &[3, 65], &[1], Domain::Constant(1.0)),
            case("nan", &[3, 5], &[1], Domain::Constant(f64::NAN)),
            case(
                "minus_infinity",
                &[3, 5],
                &[1],
                Domain::Constant(f64::NEG_INFINITY),
            ),
            case("keepdim", &[4, 9], &[1], Domain::Distinct).attr("keepdim", true),
            Case::new("f16")
                .input(&[3, 129], DType::F16, Domain::Distinct)
                .attr("axes", [1i64].as_slice()),
            Case::new("i32")
                .input(&[3, 70], DType::I32, Domain::Integers(-9, 9))
                .attr("axes", [1i64].as_slice()),
            Case::new("u32")
                .input(&[3, 70], DType::U32, Domain::Integers(0, 4_000_000_000))
                .attr("axes", [1i64].as_slice()),
            case(
                "rows_of_768",
                &[4096, 768],
                &[1],
                Domain::Uniform(-1.0, 1.0),
            )
            .bench(),
        ]
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = self
            .axes(&x.shape, attrs.ints("axes"))
            .expect("infer checked them");
        let shape = reduced_shape(&x.shape, &axes, attrs.bool("keepdim"));
        let data = lines(x, &axes)
            .iter()
            .map(|line| {
                let first_nan = line.iter().position(|v| v.is_nan());
                let best = (1..line.len()).fold(0, |best, i| {
                    if (self.better)(line[i], line[best]) {
                        i
                    } else {
                        best
                    }
                });
                first_nan.unwrap_or(best) as f64
            })
            .collect();
        vec![Array::new(shape, data)]
    }

    fn tolerance(&self, _: &[Option<&Array>], _: &Attrs) -> Tolerance {
        Tolerance::EXACT
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::per_element(inputs, outputs, 1)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        let mut out = reduce::refusals_with_empty();
        out.push((
            "two axes",
            Case::new("refused")
                .f32(&[2, 3], Domain::Constant(1.0))
                .attr("axes", [0i64, 1].as_slice()),
        ));
        out
    }
}
