// Special functions that WGSL lacks, accurate to f32 rounding. NaN stays NaN.

#import shared/exponential
#import shared/nan

// Error function. Below |x| = 0.92 an even polynomial times x, above 1 − exp(polynomial), the form whose error stays
// small against 1 − erf. Chebyshev fits in f64, rounded once; largest error 1.2e-7 absolute, 1.7e-7 relative.
fn erf_f32(x: f32) -> f32 {
    let a = min(abs(x), 4.0f);
    let s = a * a;
    var small = 8.357102342415601e-5f;
    small = fma(small, s, -8.14013765193522e-4f);
    small = fma(small, s, 5.2008600905537605e-3f);
    small = fma(small, s, -2.6859356090426445e-2f);
    small = fma(small, s, 1.1283695697784424e-1f);
    small = fma(small, s, -3.7612634897232056e-1f);
    small = fma(small, s, 1.128379225730896f);
    var large = -3.163543027540072e-8f;
    large = fma(large, a, 2.30780165111355e-6f);
    large = fma(large, a, -5.217786383582279e-5f);
    large = fma(large, a, 6.282396498136222e-4f);
    large = fma(large, a, -4.859320353716612e-3f);
    large = fma(large, a, 2.662273868918419e-2f);
    large = fma(large, a, -1.1033815145492554e-1f);
    large = fma(large, a, -6.316260099411011e-1f);
    large = fma(large, a, -1.1303176879882812f);
    large = fma(large, a, 3.345408767927438e-4f);
    let y = select(small * a, 1.0f - exp_f32(large), a > 0.92f);
    return select(select(y, -y, x < 0.0f), x, is_nan(x));
}

// tanh that neither overflows nor loses small arguments: below 0.6, where 1 − 2/(e^{2x}+1) cancels, an odd polynomial
// (minimax fit in f64, error 3e-9).
fn tanh_f32(x: f32) -> f32 {
    let a = min(abs(x), 15.0f);
    let s = a * a;
    var p = -0.005905868019908667f;
    p = fma(p, s, 0.02080538496375084f);
    p = fma(p, s, -0.053786683827638626f);
    p = fma(p, s, 0.13331958651542664f);
    p = fma(p, s, -0.33333298563957214f);
    let y = select(fma(a * s, p, a), 1.0f - 2.0f / (exp_f32(2.0f * a) + 1.0f), a > 0.6f);
    return select(select(y, -y, x < 0.0f), x, is_nan(x));
}

// 1 / (1 + e^{−x}), from e^{−|x|}, which cannot overflow.
fn sigmoid_f32(x: f32) -> f32 {
    let e = exp_f32(-abs(x));
    return select(1.0f, e, x < 0.0f) / (1.0f + e);
}
