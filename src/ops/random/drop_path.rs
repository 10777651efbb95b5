//! y   = 0 for a whole sample with probability p, else x / (1 − p)
//! vjp: dx = 0 where y was dropped, else dy / (1 − p)
//! source: Huang et al. 2016, arXiv:1603.09382; timm drop_path

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr, check_probability};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, FLOATS, Input, Signature};
use crate::ops::random::{Rng, unit};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// Sets whole samples, slices of the first axis, to 0 with probability `p` and scales the others by 1 / (1 − p).
    ///
    /// As [`dropout`](Self::dropout) otherwise, with one decision per sample.
    pub fn drop_path(&self, p: f64, rng: Rng) -> Result<Tensor> {
        check_probability("drop_path", p)?;
        let mut params = vec![(p as f32).to_bits()];
        params.extend(rng.words());
        let samples = self.shape().first().copied().unwrap_or(1).max(1);
        params.push(u32::try_from(self.numel() / samples).unwrap_or(u32::MAX));
        DROP_PATH.apply(&[ScalarOr::Tensor(self.clone())], params)
    }
}

pub static DROP_PATH: Elementwise = Elementwise {
    signature: &Signature::simple(
        "drop_path",
        "y = 0 for a whole sample with probability p, else x / (1 − p)",
        "Huang et al. 2016, arXiv:1603.09382; timm drop_path",
        &[Input::grad("x", FLOATS)],
    )
    .attrs(&[
        AttrSpec {
            name: "p",
            default: AttrDefault::Float(0.5),
        },
        AttrSpec {
            name: "key_low",
            default: AttrDefault::Int(0),
        },
        AttrSpec {
            name: "key_high",
            default: AttrDefault::Int(0),
        },
        AttrSpec {
            name: "counter_low",
            default: AttrDefault::Int(0),
        },
        AttrSpec {
            name: "counter_high",
            default: AttrDefault::Int(0),
        },
        // Elements of a sample.
        AttrSpec {
            name: "row",
            default: AttrDefault::Int(1),
        },
    ]),
    function: &Function::unary("drop_path", wgsl!("random/drop_path"), |x, p| {
        let sample = (p[6] / p[5].max(1.0)).floor();
        if unit(sample, &p[1..5]) < p[0] {
            0.0
        } else {
            x[0] / (1.0 - p[0])
        }
    })
    .params(&[
        ("p", Param::F32),
        ("key_low", Param::U32),
        ("key_high", Param::U32),
        ("counter_low", Param::U32),
        ("counter_high", Param::U32),
        ("row", Param::U32),
    ])
    .ulps(4.0)
    .indexed(),
    domains: &[Domain::Uniform(-2.0, 2.0)],
    extra_cases: || {
        vec![
            Case::new("another_stream")
                .f32(&[3, 131], Domain::Uniform(-2.0, 2.0))
                .attr("p", 0.1)
                .attr("key_low", 4_000_000_000i64)
                .attr("counter_high", 3i64),
            Case::new("nothing_dropped")
                .f32(&[67], Domain::Uniform(-2.0, 2.0))
                .attr("p", 0.0),
            Case::new("all_dropped")
                .f32(&[67], Domain::Uniform(-2.0, 2.0))
                .attr("p", 1.0),
            Case::new("f16").input(&[67], DType::F16, Domain::Uniform(-2.0, 2.0)),
            Case::new("samples")
                .f32(&[9, 7, 5], Domain::Uniform(-2.0, 2.0))
                .attr("row", 35i64),
        ]
    },
    flops: 80,
    derivatives: Derivatives::unread(),
};
