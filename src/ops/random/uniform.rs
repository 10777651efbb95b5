//! y   = low + (high − low) · u, u uniform in [0, 1) by Philox
//! vjp: none
//! source: Salmon et al. 2011

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::gpu::Device;
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, FLOATS, Input, Signature};
use crate::ops::random::{Rng, unit};
use crate::tensor::{DType, IntoShape, Tensor};

/// Uniform numbers from `low` to `high`, 24 random bits each.
///
/// `high` itself appears only where rounding reaches it. The same `rng` gives the same numbers.
/// Errors: those of [`Tensor::full`].
pub fn uniform(
    device: &Device,
    shape: impl IntoShape,
    low: f64,
    high: f64,
    rng: Rng,
) -> Result<Tensor> {
    // The numbers of this tensor do not matter; it takes no memory, and brings shape and dtype.
    let like = Tensor::full(device, 0.0f32, shape)?;
    let mut params = vec![(low as f32).to_bits(), (high as f32).to_bits()];
    params.extend(rng.words());
    UNIFORM.apply(&[ScalarOr::Tensor(like)], params)
}

pub static UNIFORM: Elementwise = Elementwise {
    signature: &Signature::simple(
        "uniform",
        "y = low + (high − low) · u",
        "Salmon et al. 2011",
        &[Input::plain("x", FLOATS)],
    )
    .attrs(&[
        AttrSpec {
            name: "low",
            default: AttrDefault::Float(0.0),
        },
        AttrSpec {
            name: "high",
            default: AttrDefault::Float(1.0),
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
    function: &Function::unary("uniform", wgsl!("random/uniform"), |_, p| {
        p[0] + (p[1] - p[0]) * unit(p[6], &p[2..6])
    })
    .differentiable(&[false])
    .params(&[
        ("low", Param::F32),
        ("high", Param::F32),
        ("key_low", Param::U32),
        ("key_high", Param::U32),
        ("counter_low", Param::U32),
        ("counter_high", Param::U32),
    ])
    .ulps_of_terms(4.0)
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
            Case::new("bounds")
                .f32(&[67], Domain::Constant(0.0))
                .attr("low", -3.0)
                .attr("high", 5.0),
        ]
    },
    flops: 80,
    derivatives: Derivatives::unread(),
};
