//! y   = Σ x over the axes
//! vjp: dx = dy, stretched over the axes
//! source: NumPy's `sum`

use crate::error::Result;
use crate::gpu::{Caps, Source};
use crate::ops::op::{
    ANY, Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, Input, Meta, Op, Role,
    Signature,
};
use crate::ops::reduce::{self, axes_of, reduced_shape};
use crate::tape;
use crate::tensor::{Shape, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// Sums over `axes` (all if empty); `keepdim` keeps them with length 1.
    ///
    /// Edges: the sum over an empty axis is 0. Integers wrap around. f16 is summed in f32 and rounded once.
    /// Errors: [`Error::Attribute`](crate::Error::Attribute) for an axis that is not there or named twice.
    pub fn sum(&self, axes: &[i64], keepdim: bool) -> Result<Tensor> {
        let axes = axes_of("sum", self.shape(), axes)?;
        let y = sum_over(self, &axes, reduced_shape(self.shape(), &axes, keepdim))?;
        let kept = reduced_shape(self.shape(), &axes, true);
        let shape = *self.shape();
        Ok(tape::record("sum", &[self], y, move |dy, sink| {
            sink.add(0, dy.reshape(kept)?.expand(shape)?)
        }))
    }
}

fn sum_over(x: &Tensor, axes: &[usize], shape: Shape) -> Result<Tensor> {
    reduce::reduce(&Sum, KERNELS, x, axes, shape)
}

/// Sums what broadcasting from `shape` has stretched; the result has that shape.
pub(crate) fn sum_to(x: &Tensor, shape: Shape) -> Result<Tensor> {
    if *x.shape() == shape {
        return Ok(x.detach());
    }
    let skip = x.shape().len() - shape.len();
    let axes: Vec<usize> = (0..x.shape().len())
        .filter(|&a| a < skip || (shape[a - skip] == 1 && x.dim(a) != 1))
        .collect();
    sum_over(x, &axes, shape)
}

const KERNELS: reduce::Kernels = reduce::Kernels {
    source,
    naive: "sum",
    quads: Some(["sum_lines_vec4", "sum_columns_vec4"]),
};

fn source(entry: &'static str) -> Source {
    match entry {
        "sum" => Source::file(
            "reduce/sum",
            include_str!("../../../shaders/reduce/sum.wgsl"),
        ),
        _ => Source::file(
            "reduce/sum_vec4",
            include_str!("../../../shaders/reduce/sum_vec4.wgsl"),
        ),
    }
}

static SIGNATURE: Signature = Signature {
    name: "sum",
    formula: "y = Σ x over axes",
    source: "numpy.sum",
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

pub struct Sum;

impl Op for Sum {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![reduce::infer("sum", x, attrs)?])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![x.sum(attrs.ints("axes"), attrs.bool("keepdim"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        ["sum", "sum_lines_vec4", "sum_columns_vec4"]
            .map(|name| reduce::entry(source(name), name, Role::Forward))
            .into()
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        let (Some(x), Ok(attrs)) = (&case.inputs[0], case.attrs.complete(&SIGNATURE)) else {
            return false;
        };
        let axes = axes_of("sum", &x.shape, attrs.ints("axes"));
        axes.is_ok_and(|axes| KERNELS.tries(entry.name(), &x.shape, &axes))
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        let wanted = match entry.name() {
            "sum_lines_vec4" => "lines_of_quads",
            "sum_columns_vec4" => "columns_of_quads",
            _ => return self.cases().remove(0),
        };
        let mut cases = self.cases();
        cases.retain(|case| case.label == wanted);
        cases.remove(0)
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = reduce::cases(Domain::Uniform(-1.0, 1.0));
        cases.push(
            Case::new("empty_axis")
                .f32(&[3, 0], Domain::Constant(1.0))
                .attr("axes", [1i64].as_slice()),
        );
        // Two workgroups and a rest, two blocks and a rest; of columns, two workgroups are 512 of them.
        let of_quads = |label: &str, shape: &[usize], axis: i64| {
            Case::new(label)
                .f32(shape, Domain::Uniform(-1.0, 1.0))
                .attr("axes", [axis].as_slice())
        };
        cases.push(of_quads("lines_of_quads", &[67, 148], 1));
        cases.push(of_quads("columns_of_quads", &[131, 268], 0));
        cases.push(of_quads("middle_of_quads", &[3, 70, 36], 1));
        cases.push(of_quads("split_lines_of_quads", &[3, 4100], 1));
        cases.push(of_quads("split_columns_of_quads", &[2051, 12], 0));
        // A running f32 sum of these loses a hundred units of roundoff; blocks do not.
        cases.push(
            Case::new("one_sign")
                .f32(&[2, 100_003], Domain::Uniform(0.25, 0.5))
                .attr("axes", [1i64].as_slice())
                .no_gradient(),
        );
        cases
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = axes_of("sum", &x.shape, attrs.ints("axes")).expect("infer checked them");
        let kept = reduced_shape(&x.shape, &axes, true);
        let mut y = Array::zeros(kept);
        Array::from_fn(x.shape, |at| {
            let place: Vec<usize> = at
                .iter()
                .enumerate()
                .map(|(a, i)| if axes.contains(&a) { 0 } else { *i })
                .collect();
            *y.at_mut(&place) += x.at(at);
            0.0
        });
        let shape = reduced_shape(&x.shape, &axes, attrs.bool("keepdim"));
        vec![Array::new(shape, y.data)]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Tolerance {
        let x = inputs[0].expect("check_inputs saw it");
        let axes = axes_of("sum", &x.shape, attrs.ints("axes")).expect("infer checked them");
        let n = axes.iter().map(|a| x.shape[*a]).product();
        Tolerance::blocked_sum(n, x.max_abs())
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, _: &Caps) -> Option<String> {
        reduce::plan_line("sum", inputs, attrs)
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::per_element(inputs, outputs, 1)
    }

    fn vjp_cost(&self, _: &[Option<Meta>], _: &[Meta], _: &Attrs) -> Cost {
        // The upstream gradient, stretched: a view.
        Cost::default()
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        reduce::refusals()
    }
}
