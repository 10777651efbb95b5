// Trigonometric functions. Vulkan lets sin and cos be wrong by 2⁻¹¹ on [−π, π] and by anything beyond, and atan by
// 4,096 units in the last place. These are wrong by at most 2 units of roundoff of 1 (sin, cos) and 4 units in the
// last place (the others).
//
// x = n π/2 + r with |r| ≤ π/4. π/2 comes in four parts; the first three have 11 bits, so n · part is exact up to
// |x| = 12,867. Up to 2.6e7 the result is that of an argument rounded once more; beyond, neighbouring f32 are further
// apart than π and no digit is right. Polynomials are minimax fits in f64, rounded once.

#import shared/nan

fn quadrant(x: f32) -> f32 {
    return round(x * 0.63661977f);
}

// The copies of n are bounded without effect, because a compiler may add the factors of one n and round
// their sum; Mesa does.
fn quadrant_rest(x: f32, n: f32) -> f32 {
    let second = min(n, 3.0e38f);
    let third = max(n, -3.0e38f);
    let fourth = max(second, -3.0e38f);
    var r = fma(n, -1.5703125f, x);
    r = fma(second, -0.0004837512969970703f, r);
    r = fma(third, -7.549533620476723e-08f, r);
    r = fma(fourth, -2.5633440682570896e-12f, r);
    return clamp(r, -0.79f, 0.79f);
}

// Error 5e-9.
fn sin_reduced(r: f32) -> f32 {
    let z = r * r;
    let p = fma(fma(-0.00019515366875566542f, z, 0.008332164026796818f), z, -0.16666655242443085f);
    return fma(r * z, p, r);
}

// Error 1e-10.
fn cos_reduced(r: f32) -> f32 {
    let z = r * r;
    let p = fma(fma(2.4436285457341e-5f, z, -0.0013887349050492048f), z, 0.04166664555668831f);
    return fma(z * z, p, fma(z, -0.5f, 1.0f));
}

fn sin_of_quadrant(r: f32, q: u32) -> f32 {
    let y = select(sin_reduced(r), cos_reduced(r), (q & 1u) == 1u);
    return select(y, -y, (q & 2u) == 2u);
}

// NaN for infinities and NaN: x − x is NaN for both, but a compiler may call it 0.
fn sin_or_edge(x: f32, y: f32) -> f32 {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    return select(y, bitcast<f32>(bits | 0x7fc00000u), bits >= 0x7f800000u);
}

fn sin_f32(x: f32) -> f32 {
    let n = quadrant(x);
    return sin_or_edge(x, sin_of_quadrant(quadrant_rest(x, n), bitcast<u32>(i32(n))));
}

fn cos_f32(x: f32) -> f32 {
    let n = quadrant(x);
    return sin_or_edge(x, sin_of_quadrant(quadrant_rest(x, n), bitcast<u32>(i32(n)) + 1u));
}

fn tan_f32(x: f32) -> f32 {
    let n = quadrant(x);
    let r = quadrant_rest(x, n);
    let z = r * r;
    var p = 0.009528052993118763f;
    p = fma(p, z, 0.0028693487402051687f);
    p = fma(p, z, 0.024593587964773178f);
    p = fma(p, z, 0.053362976759672165f);
    p = fma(p, z, 0.13339421153068542f);
    p = fma(p, z, 0.33333131670951843f);
    let y = fma(r * z, p, r);
    return sin_or_edge(x, select(y, -1.0f / y, (bitcast<u32>(i32(n)) & 1u) == 1u));
}

// Reduced to |t| ≤ tan(π/8) by atan a = π/4 + atan((a − 1) / (a + 1)) and atan a = π/2 − atan(1 / a).
fn atan_f32(x: f32) -> f32 {
    let a = abs(x);
    var t = a;
    var start = 0.0f;
    if a > 2.41421356f {
        t = -1.0f / a;
        start = 1.57079633f;
    } else if a > 0.41421356f {
        t = (a - 1.0f) / (a + 1.0f);
        start = 0.78539816f;
    }
    let z = t * t;
    var p = 0.08055444061756134f;
    p = fma(p, z, -0.1387845277786255f);
    p = fma(p, z, 0.19977807998657227f);
    p = fma(p, z, -0.33332952857017517f);
    let y = start + fma(t * z, p, t);
    return select(select(y, -y, x < 0.0f), x, is_nan(x));
}

// The angle of the point (x, y), in (−π, π]; 0 at the origin.
fn atan2_f32(y: f32, x: f32) -> f32 {
    let a = abs(y);
    let b = abs(x);
    let large = max(a, b);
    let ratio = select(min(a, b) / large, 0.0f, large == 0.0f);
    var angle = atan_f32(ratio);
    if a > b {
        angle = 1.57079633f - angle;
    }
    if x < 0.0f {
        angle = 3.14159265f - angle;
    }
    angle = select(angle, -angle, y < 0.0f);
    return select(angle, x + y, is_nan(x) || is_nan(y));
}

// asin for |x| ≤ ½. Error 5e-9.
fn asin_reduced(x: f32) -> f32 {
    let z = x * x;
    var p = 0.042278531938791275f;
    p = fma(p, z, 0.02411447837948799f);
    p = fma(p, z, 0.045483335852622986f);
    p = fma(p, z, 0.07495196163654327f);
    p = fma(p, z, 0.16666755080223083f);
    return fma(x * z, p, x);
}

// NaN outside of [−1, 1].
fn asin_or_edge(x: f32, y: f32) -> f32 {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    return select(y, bitcast<f32>(bits | 0x7fc00000u), bits > 0x3f800000u);
}

// Beyond ½ by asin a = π/2 − 2 asin √((1 − a) / 2), whose difference is exact.
fn asin_f32(x: f32) -> f32 {
    let a = abs(x);
    let far = 1.57079633f - 2.0f * asin_reduced(sqrt(max(0.5f - 0.5f * a, 0.0f)));
    let y = select(asin_reduced(min(a, 0.5f)), far, a > 0.5f);
    return asin_or_edge(x, select(y, -y, x < 0.0f));
}

fn acos_f32(x: f32) -> f32 {
    let a = abs(x);
    let far = 2.0f * asin_reduced(sqrt(max(0.5f - 0.5f * a, 0.0f)));
    let near = 1.57079633f - asin_reduced(clamp(x, -0.5f, 0.5f));
    let y = select(near, select(far, 3.14159265f - far, x < 0.0f), a > 0.5f);
    return asin_or_edge(x, y);
}
