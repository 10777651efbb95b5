// Logarithms. Vulkan lets log be wrong by 2⁻²¹ between ½ and 2, where it vanishes at 1; these are wrong by at most 3
// units in the last place everywhere.
//
// x = 2ᵏ · (1 + f) with √½ ≤ 1 + f < √2, found by bits; ln(1 + f) = ln((1 + s) / (1 − s)), s = f / (2 + f), by the odd
// series in s. The polynomial is a minimax fit in f64, rounded once; its error is 1e-11.

// ln(1 + f) for f from −0.293 to 0.4143.
fn log1p_reduced(f: f32) -> f32 {
    let s = f / (2.0f + f);
    let z = s * s;
    var p = 0.23587827384471893f;
    p = fma(p, z, 0.28537026047706604f);
    p = fma(p, z, 0.4000034034252167f);
    p = fma(p, z, 0.6666666269302368f);
    // 2 s = f − s f, which keeps f exact.
    let half_square = 0.5f * f * f;
    return f - (half_square - s * (half_square + z * p));
}

// (k, f) of a positive number, subnormals included where the driver keeps them.
fn log_parts(x: f32) -> vec2<f32> {
    let small = bitcast<u32>(x) < 0x00800000u;
    let bits = bitcast<u32>(select(x, x * 33554432.0f, small));
    let k = bitcast<i32>(bits - 0x3f3504f3u) >> 23u;
    let f = bitcast<f32>(bits - (bitcast<u32>(k) << 23u)) - 1.0f;
    return vec2(f32(k) - select(0.0f, 25.0f, small), f);
}

// The logarithm `y` of a positive number, or what stands for that of other numbers: −∞ for 0, NaN below, x for ∞ and
// NaN. Infinities come from bits, because a constant one is refused.
fn log_or_edge(x: f32, y: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if (bits & 0x7fffffffu) == 0u {
        return bitcast<f32>(bits | 0xff800000u);
    }
    if bits > 0x80000000u {
        return bitcast<f32>(bits | 0x7fc00000u);
    }
    return select(y, x, bits >= 0x7f800000u);
}

fn log_f32(x: f32) -> f32 {
    let parts = log_parts(x);
    let y = fma(parts.x, 0.693359375f, fma(parts.x, -2.1219444e-4f, log1p_reduced(parts.y)));
    return log_or_edge(x, y);
}

fn log2_f32(x: f32) -> f32 {
    let parts = log_parts(x);
    return log_or_edge(x, parts.x + log1p_reduced(parts.y) * 1.44269504f);
}

// log₁₀ 2 in two parts as above.
fn log10_f32(x: f32) -> f32 {
    let parts = log_parts(x);
    let mantissa = log1p_reduced(parts.y) * 0.43429448f;
    return log_or_edge(x, fma(parts.x, 0.30078125f, fma(parts.x, 2.4874567e-4f, mantissa)));
}

// ln(1 + x): near 0 by x itself, since 1 + x drops its low bits.
fn log1p_f32(x: f32) -> f32 {
    if x > -0.2928f && x < 0.4142f {
        return log1p_reduced(x);
    }
    return log_f32(1.0f + x);
}
