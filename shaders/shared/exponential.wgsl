// Exponentials. Vulkan lets exp be wrong by 3 + 2 |x| units in the last place; these are wrong by at most 2.
//
// x = n ln 2 + r with |r| ≤ ½ ln 2; ln 2 in two parts, of which the first has 9 bits, so that n · part is exact. The
// polynomial is a minimax fit in f64, rounded once; its error is 1.4e-8 of the result.

#import shared/nan

// x · 2ⁿ for x from ½ to 2 and whole n from −250 to 254: half of n goes into the exponent of x, the rest is a power of two.
fn times_power_of_two(x: f32, n: f32) -> f32 {
    let k = i32(n);
    let half = (k >> 1u) << 23u;
    return bitcast<f32>(bitcast<i32>(x) + half) * bitcast<f32>((k << 23u) - half + 0x3f800000i);
}

// x − n ln 2. The second n is masked (its low bits are 0 anyway), because a compiler may add the two factors of one n
// and round their sum; Mesa does.
fn exp_rest(x: f32, n: f32) -> f32 {
    let same = bitcast<f32>(bitcast<u32>(n) & 0xfffffffcu);
    return fma(same, 2.1219444e-4f, fma(n, -0.693359375f, x));
}

// eʳ − 1 for |r| ≤ ½ ln 2. In pairs of terms, which a compiler may compute side by side.
fn expm1_reduced(r: f32) -> f32 {
    let r2 = r * r;
    let low = fma(r, 0.1666654348373413f, 0.4999999701976776f);
    let middle = fma(r, 0.008366580121219158f, 0.04166720062494278f);
    let high = fma(r2, 0.0013882509665563703f, middle);
    return fma(fma(high, r2, low), r2, r);
}

// Clamped where f32 ends: what i32 makes of more is up to the driver. NaN would be clamped away and is put back.
fn exp_f32(x: f32) -> f32 {
    let c = clamp(x, -104.0f, 89.0f);
    let n = round(c * 1.44269504f);
    let y = times_power_of_two(1.0f + expm1_reduced(exp_rest(c, n)), n);
    return select(y, x, is_nan(x));
}

// eˣ − 1 without the cancellation near 0.
fn expm1_f32(x: f32) -> f32 {
    let c = clamp(x, -40.0f, 89.0f);
    let n = round(c * 1.44269504f);
    let p = expm1_reduced(exp_rest(c, n));
    let s = times_power_of_two(1.0f, min(n, 64.0f));
    let large = times_power_of_two(1.0f + p, n);
    let y = select(fma(s, p, s - 1.0f), large, n > 40.0f);
    return select(y, x, is_nan(x));
}
