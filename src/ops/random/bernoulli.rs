//! y   = 1 where u < p, else 0, u uniform in [0, 1) by Philox
//! vjp: none
//! source: Salmon et al. 2011

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::gpu::Device;
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr, check_probability};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, FLOATS, Input, Signature};
use crate::ops::random::{Rng, unit};
use crate::tensor::{DType, IntoShape, Tensor};

/// 1 with probability `p`, else 0, as `f32`.
///
/// The same `rng` gives the same numbers.
/// Errors: [`Error::Attribute`](crate::Error::Attribute) unless `p` is from 0 to 1; those of [`Tensor::full`].
pub fn bernoulli(device: &Device, shape: impl IntoShape, p: f64, rng: Rng) -> Result<Tensor> {
    check_probability("bernoulli", p)?;
    // The numbers of this tensor do not matter; it takes no memory, and brings shape and dtype.
    let like = Tensor::full(device, 0.0f32, shape)?;
    let mut params = vec![(p as f32).to_bits()];
    params.extend(rng.words());
    BERNOULLI.apply(&[ScalarOr::Tensor(like)], params)
}

pub static BERNOULLI: Elementwise = Elementwise {
    signature: &Signature::simple(
        "bernoulli",
        "y = u < p",
        "Salmon et al. 2011",
        &[Input::plain("x", FLOATS)],
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
    function: &Function::unary("bernoulli", wgsl!("random/bernoulli"), |_, p| {
        f64::from(unit(p[5], &p[1..5]) < p[0])
    })
    .differentiable(&[false])
    .params(&[
        ("p", Param::F32),
        ("key_low", Param::U32),
        ("key_high", Param::U32),
        ("counter_low", Param::U32),
        ("counter_high", Param::U32),
    ])
    .ulps_of_terms(0.0)
    .indexed(),
    domains: &[Domain::Constant(0.0)],
    extra_cases: || {
        vec![
            Case::new("another_stream")
                .f32(&[3, 131], Domain::Constant(0.0))
                .attr("key_low", 4_000_000_000i64)
                .attr("key_high", 77i64)
                .attr("counter_low", 5i64)
                .attr("counter_high", 4_294_967_295i64),
            Case::new("f16").input(&[67], DType::F16, Domain::Constant(0.0)),
            Case::new("never")
                .f32(&[67], Domain::Constant(0.0))
                .attr("p", 0.0),
            Case::new("always")
                .f32(&[67], Domain::Constant(0.0))
                .attr("p", 1.0),
        ]
    },
    flops: 80,
    derivatives: Derivatives::unread(),
};
