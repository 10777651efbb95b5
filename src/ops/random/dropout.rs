//! y   = 0 with probability p, else x / (1 − p)
//! vjp: dx = 0 where y was dropped, else dy / (1 − p)
//! source: Srivastava et al. 2014

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr, check_probability};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, FLOATS, Input, Signature};
use crate::ops::random::{Rng, unit};
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// Sets each element to 0 with probability `p` and scales the others by 1 / (1 − p).
    ///
    /// Which ones is decided by `rng` and their place, so the gradient, and a segment that is computed again, drop the
    /// same. With `p` 1 all are 0. Errors: [`Error::Attribute`](crate::Error::Attribute) unless `p` is from 0 to 1;
    /// [`Error::Dtype`](crate::Error::Dtype) for integers.
    pub fn dropout(&self, p: f64, rng: Rng) -> Result<Tensor> {
        check_probability("dropout", p)?;
        let mut params = vec![(p as f32).to_bits()];
        params.extend(rng.words());
        DROPOUT.apply(&[ScalarOr::Tensor(self.clone())], params)
    }
}

pub static DROPOUT: Elementwise = Elementwise {
    signature: &Signature::simple(
        "dropout",
        "y = 0 with probability p, else x / (1 − p)",
        "Srivastava et al. 2014",
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
    ]),
    function: &Function::unary("dropout", wgsl!("random/dropout"), |x, p| {
        if unit(p[5], &p[1..5]) < p[0] {
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
        ]
    },
    flops: 80,
    derivatives: Derivatives::unread(),
};
