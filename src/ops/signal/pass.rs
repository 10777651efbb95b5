//! The kernels of one pass of a transform, one for each radix; they serve every length with that factor.

use crate::gpu::shader::Elem;
use crate::gpu::{Kernel, Source};
use crate::ops::signal::codelet::{Lines, arithmetic};

/// Invocations of a workgroup.
pub(super) const WORKGROUP: u64 = 64;

/// Lengths a pass can transform by. Few passes are good, as each reads and writes everything; beyond 16 the values of a
/// butterfly no longer fit the registers of most GPUs.
const RADICES: [usize; 9] = [2, 3, 4, 5, 7, 8, 11, 13, 16];

/// Radix of every kernel, and whether it is that of the last pass: 2 and 4 are nothing else.
pub(super) fn kernels() -> impl Iterator<Item = (usize, bool)> {
    let first = RADICES.into_iter().filter(|r| ![2, 4].contains(r));
    let last = RADICES.into_iter().map(|r| (r, true));
    first.map(|r| (r, false)).chain(last)
}

/// The radices whose product is `n`, each with a kernel; `None` if `n` has another prime factor.
pub(super) fn factors(n: usize) -> Option<Vec<usize>> {
    let mut rest = n;
    let mut out = Vec::new();
    for radix in [13, 11, 7, 5, 3] {
        while rest.is_multiple_of(radix) {
            out.push(radix);
            rest /= radix;
        }
    }
    if !rest.is_power_of_two() {
        return None;
    }
    let mut bits = rest.trailing_zeros();
    let n_passes = bits.div_ceil(4);
    for left in (1..=n_passes).rev() {
        let share = bits.div_ceil(left);
        out.push(1 << share);
        bits -= share;
    }
    Some(out)
}

/// The kernel of a pass with this radix. The last pass of a transform has no factors to multiply by.
pub(super) fn kernel(radix: usize, last: bool) -> Kernel {
    Kernel {
        source: Source::generated(format!("signal/fft_pass_{radix}"), text(radix)),
        entry: if last { "fft_pass_last" } else { "fft_pass" },
        constants: vec![("WG", WORKGROUP as f64)],
        elem: Elem::F32,
    }
}

fn text(radix: usize) -> String {
    let mut butterfly = Lines::new("    ", "t");
    let x: Vec<String> = (0..radix)
        .map(|j| butterfly.value(format!("x[start + {j}u * params.per_row] * params.x_scale")))
        .collect();
    let y = butterfly.transform(&x);
    let store = |with_factors: bool| -> String {
        let mut lines = Lines::new("    ", "w");
        lines.line(format!("y[to] = {} * params.y_scale;", y[0]));
        for (k, value) in y.iter().enumerate().skip(1) {
            let value = if with_factors {
                let place = format!("params.factors_offset + {k}u * p * params.stride");
                let factor = lines.value(format!("factors[{place}]"));
                format!("times({value}, {factor})")
            } else {
                value.clone()
            };
            lines.line(format!(
                "y[to + {k}u * params.stride] = {value} * params.y_scale;"
            ));
        }
        lines.text
    };
    let entry = |name: &str, with_factors: bool| {
        format!(
            "\
@compute @workgroup_size(WG)
fn {name}(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {{
    let params = params;
    let i = linear_invocation(workgroup, workgroups, local, WG);
    if i >= params.total {{
        return;
    }}
    let row = i / params.per_row;
    let rest = i % params.per_row;
    let start = params.x_offset + row * {radix}u * params.per_row + rest;
{}    let q = rest % params.stride;
    let p = rest / params.stride;
    let to = params.y_offset + row * {radix}u * params.per_row + q + p * {radix}u * params.stride;
{}}}
",
            butterfly.text,
            store(with_factors)
        )
    };
    format!(
        "\
// y[q + s (r p + k)] = W^(k p s) Σⱼ x[q + s (p + m j)] exp(-2 pi i j k / r), r = {radix}, W = exp(-2 pi i / n), n = r m s
//
// One pass of Stockham's transform, one invocation per butterfly. Scales have a negative imaginary part where the
// number is to be conjugated.

#import shared/index

override WG: u32 = 64u;

struct Params {{
    x_scale: vec2<f32>,
    y_scale: vec2<f32>,
    // Butterflies of one transform, m s, and of all.
    per_row: u32,
    total: u32,
    // s
    stride: u32,
    x_offset: u32,
    y_offset: u32,
    factors_offset: u32,
    padding0: u32,
    padding1: u32,
}}

@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> factors: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

{}
{}
{}",
        arithmetic(false),
        entry("fft_pass", true),
        entry("fft_pass_last", false)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_to_the_length_and_have_kernels() {
        for n in 1..5000usize {
            let smooth = {
                let mut rest = n;
                for p in [2, 3, 5, 7, 11, 13] {
                    while rest % p == 0 {
                        rest /= p;
                    }
                }
                rest == 1
            };
            let factors = factors(n);
            assert_eq!(factors.is_some(), smooth, "{n}");
            if let Some(factors) = factors {
                assert_eq!(factors.iter().product::<usize>(), n);
                for (i, radix) in factors.iter().enumerate() {
                    let last = i + 1 == factors.len();
                    assert!(kernels().any(|k| k == (*radix, last)), "{factors:?}");
                }
            }
        }
        assert_eq!(factors(1 << 20), Some(vec![16; 5]));
        assert_eq!(factors(512), Some(vec![8; 3]));
    }
}
