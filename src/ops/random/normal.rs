//! y   = mean + std · √(−2 ln u) · cos 2πv, and sin for the odd elements, u and v uniform by Philox
//! vjp: none
//! source: Box & Muller 1958; Salmon et al. 2011

use crate::error::Result;
use crate::fuse::{Function, Param, wgsl};
use crate::gpu::Device;
use crate::ops::elementwise::{Derivatives, Elementwise, ScalarOr};
use crate::ops::op::{AttrDefault, AttrSpec, Case, Domain, FLOATS, Input, Signature};
use crate::ops::random::{Rng, word};
use crate::tensor::{DType, IntoShape, Tensor};

/// Normally distributed numbers.
///
/// Two neighbours are made of two uniform numbers of 24 bits, so none lies further out than 5.77 `std`. The same `rng`
/// gives the same numbers. Errors: those of [`Tensor::full`].
pub fn normal(
    device: &Device,
    shape: impl IntoShape,
    mean: f64,
    std: f64,
    rng: Rng,
) -> Result<Tensor> {
    // The numbers of this tensor do not matter; it takes no memory, and brings shape and dtype.
    let like = Tensor::full(device, 0.0f32, shape)?;
    let mut params = vec![(mean as f32).to_bits(), (std as f32).to_bits()];
    params.extend(rng.words());
    NORMAL.apply(&[ScalarOr::Tensor(like)], params)
}

pub static NORMAL: Elementwise = Elementwise {
    signature: &Signature::simple(
        "normal",
        "y = mean + std · √(−2 ln u) · cos 2πv",
        "Box & Muller 1958; Salmon et al. 2011",
        &[Input::plain("x", FLOATS)],
    )
    .attrs(&[
        AttrSpec {
            name: "mean",
            default: AttrDefault::Float(0.0),
        },
        AttrSpec {
            name: "std",
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
    function: &Function::unary("normal", wgsl!("random/normal"), twin)
        .differentiable(&[false])
        .params(&[
            ("mean", Param::F32),
            ("std", Param::F32),
            ("key_low", Param::U32),
            ("key_high", Param::U32),
            ("counter_low", Param::U32),
            ("counter_high", Param::U32),
        ])
        .ulps_of_terms(64.0)
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
            Case::new("moved")
                .f32(&[67], Domain::Constant(0.0))
                .attr("mean", -3.0)
                .attr("std", 0.5),
        ]
    },
    flops: 80,
    derivatives: Derivatives::unread(),
};

fn twin(_: &[f64], p: &[f64]) -> f64 {
    let index = p[6] as u32;
    let [a, b] = [0, 1].map(|k| f64::from(word(index / 2 * 2 + k, &p[2..6]) >> 8));
    let radius = (-2.0 * ((a + 1.0) / 16_777_216.0).ln()).sqrt();
    let angle = 2.0 * std::f64::consts::PI * b / 16_777_216.0;
    let z = if index % 2 == 0 {
        angle.cos()
    } else {
        angle.sin()
    };
    p[0] + p[1] * radius * z
}
