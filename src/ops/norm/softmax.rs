//! y   = exp(x − max x) / Σ exp(x − max x) along one axis
//! vjp: dx = y · (dy − Σ y · dy)
//! source: Bridle 1990; torch.softmax

use crate::error::Result;
use crate::gpu::{Caps, Source};
use crate::ops::norm;
use crate::ops::norm::rows::{self, Rows};
use crate::ops::op::{
    Array, AttrDefault, AttrSpec, Attrs, Case, Cost, Domain, Entry, FLOATS, Input, Meta, Op,
    Signature,
};
use crate::tape;
use crate::tensor::{DType, Tensor};
use crate::verdict::Tolerance;

impl Tensor {
    /// Exponentials along an axis, scaled to sum to 1.
    ///
    /// Shapes: any but rank 0, kept. The maximum is subtracted first, so no finite input overflows. A row of only −∞,
    /// or with a NaN, is NaN.
    /// Errors: [`Error::Attribute`](crate::Error::Attribute) for an axis that is not there;
    /// [`Error::Limit`](crate::Error::Limit) for rows of more than 1 279 744 elements on a software driver.
    pub fn softmax(&self, axis: i64) -> Result<Tensor> {
        let axis = self.shape().axis("softmax", axis)?;
        let last = self.shape().len() - 1;
        if axis != last {
            // The kernels see rows; another axis becomes the last and goes back.
            let mut order: Vec<i64> = (0..=last as i64).collect();
            order.swap(axis, last);
            return self.permute(&order)?.softmax(-1)?.permute(&order);
        }
        let y = ROWS.forward(self)?;
        let value = y.detach();
        Ok(tape::record("softmax", &[self], y, move |dy, sink| {
            sink.give(0, ROWS.vjp(&value, dy)?)
        }))
    }
}

static ROWS: Rows = Rows {
    op: &Softmax,
    steps: "steps over a row of softmax",
    forward: ["softmax", "softmax_vec4", "softmax_workgroup"],
    vjp: ["softmax_vjp", "softmax_vjp_vec4", "softmax_vjp_workgroup"],
    source,
};

fn source(entry: &str) -> Source {
    match entry {
        "softmax_vec4" => Source::file(
            "norm/softmax_vec4",
            include_str!("../../../shaders/norm/softmax_vec4.wgsl"),
        ),
        "softmax_vjp_vec4" => Source::file(
            "norm/softmax_vjp_vec4",
            include_str!("../../../shaders/norm/softmax_vjp_vec4.wgsl"),
        ),
        _ if entry.contains("vjp") => Source::file(
            "norm/softmax_vjp",
            include_str!("../../../shaders/norm/softmax_vjp.wgsl"),
        ),
        _ => Source::file(
            "norm/softmax",
            include_str!("../../../shaders/norm/softmax.wgsl"),
        ),
    }
}

static SIGNATURE: Signature = Signature {
    name: "softmax",
    formula: "y = exp(x − max x) / Σ exp(x − max x)",
    source: "torch.softmax",
    inputs: &[Input::grad("x", FLOATS)],
    attrs: &[AttrSpec {
        name: "axis",
        default: AttrDefault::Int(-1),
    }],
    outputs: &["y"],
};

pub struct Softmax;

impl Op for Softmax {
    fn signature(&self) -> &'static Signature {
        &SIGNATURE
    }

    fn infer(&self, inputs: &[Option<Meta>], attrs: &Attrs) -> Result<Vec<Meta>> {
        let x = inputs[0].expect("check_inputs saw it");
        x.shape.axis("softmax", attrs.int("axis"))?;
        Ok(vec![x])
    }

    fn run(&'static self, inputs: &[Option<&Tensor>], attrs: &Attrs) -> Result<Vec<Tensor>> {
        let x = inputs[0].expect("check_inputs saw it");
        Ok(vec![x.softmax(attrs.int("axis"))?])
    }

    fn entries(&self) -> Vec<Entry> {
        ROWS.entries()
    }

    fn cases(&self) -> Vec<Case> {
        let domain = Domain::Uniform(-3.0, 3.0);
        vec![
            Case::new("verify").f32(&[67, 131], domain),
            Case::new("one_element").f32(&[1], domain),
            Case::new("tile_less_one").f32(&[2, 63], domain),
            Case::new("tile_and_one").f32(&[2, 65], domain),
            Case::new("first_axis")
                .f32(&[17, 3], domain)
                .attr("axis", 0i64),
            Case::new("middle_axis")
                .f32(&[2, 13, 5], domain)
                .attr("axis", 1i64),
            Case::new("quads").f32(&[3, 5, 68], domain),
            Case::new("one_quad").f32(&[129, 4], domain),
            // More elements than a software driver lets one invocation walk over, one by one and by quads.
            Case::new("long_row").f32(&[2, 35_001], domain),
            Case::new("long_row_of_quads").f32(&[1, 100_000], domain),
            Case::new("large_logits").f32(&[3, 65], Domain::Offset(1e4, 50.0)),
            Case::new("large_logits_by_quads").f32(&[3, 64], Domain::Offset(1e4, 50.0)),
            Case::new("empty").f32(&[0, 4], domain).no_gradient(),
            Case::new("f16").input(&[3, 77], DType::F16, domain),
            Case::new("rows_of_32")
                .f32(&[8192, 32], domain)
                .bench()
                .no_gradient(),
            Case::new("rows_of_768")
                .f32(&[4096, 768], domain)
                .bench()
                .no_gradient(),
        ]
    }

    fn verify_case(&self, entry: &Entry) -> Case {
        rows::verify_case(entry)
    }

    fn tries(&self, entry: &Entry, case: &Case) -> bool {
        rows::tries(entry, case)
    }

    fn twin(&self, inputs: &[Option<&Array>], attrs: &Attrs) -> Vec<Array> {
        let x = inputs[0].expect("check_inputs saw it");
        let axis = x
            .shape
            .axis("softmax", attrs.int("axis"))
            .expect("infer checked it");
        let (largest, sum) = norm::largest_and_sum(x, axis);
        vec![Array::from_fn(x.shape, |at| {
            (x.at(at) - largest.broadcast_at(at)).exp() / sum.broadcast_at(at)
        })]
    }

    fn tolerance(&self, inputs: &[Option<&Array>], _: &Attrs) -> Tolerance {
        let x = inputs[0].expect("check_inputs saw it");
        // exp of a difference d is wrong by |d| u and by the driver's own few ulp (Vulkan: 3 + 2 |d|).
        let spread = 2.0 * x.max_abs().min(50.0);
        Tolerance::ulps(12.0 + 3.0 * spread, 0.01)
    }

    fn plan(&self, inputs: &[Option<Meta>], attrs: &Attrs, caps: &Caps) -> Option<String> {
        let cols = norm::length_of_axis("softmax", inputs, attrs.int("axis"))?;
        Some(norm::plan_line(caps, cols, ROWS.forward))
    }

    fn cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::per_element(inputs, outputs, 5)
    }

    fn vjp_cost(&self, inputs: &[Option<Meta>], outputs: &[Meta], _: &Attrs) -> Cost {
        Cost::vjp(self.signature(), inputs, outputs).reading(outputs)
    }

    fn refusals(&self) -> Vec<(&'static str, Case)> {
        vec![
            (
                "an axis that is not there",
                Case::new("refused")
                    .f32(&[2, 3], Domain::Constant(0.0))
                    .attr("axis", 2i64),
            ),
            (
                "integers",
                Case::new("refused").input(&[2], DType::I32, Domain::Constant(0.0)),
            ),
            (
                "rank 0",
                Case::new("refused").f32(&[], Domain::Constant(0.0)),
            ),
        ]
    }
}
