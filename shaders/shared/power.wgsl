// aᵇ = 2^(b log₂ a). Vulkan's pow is wrong by as many units as |b log₂ a| counts; this one by at most 3.
//
// log₂ |a| is made in two parts whose sum has 35 bits: products of numbers cut to 12 bits are exact, so what each step
// drops is computed and carried along. The cuts are made on bits, because a compiler may simplify (a + b) − a.

#import shared/exponential
#import shared/logarithm

// The leading 12 bits.
fn cut(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// log₂ of a positive number in two parts.
fn log2_parts(x: f32) -> vec2<f32> {
    let parts = log_parts(x);
    let m = 1.0f + parts.y;
    // s = f / (2 + f) in two parts.
    let inverse = 1.0f / (m + 1.0f);
    let s = parts.y * inverse;
    let s_high = cut(s);
    let d_high = cut(m + 1.0f);
    let d_low = m - (d_high - 1.0f);
    // Bounded without effect: a compiler may add the factors of one s_high.
    let same = clamp(s_high, -1.0f, 1.0f);
    let s_low = inverse * ((parts.y - s_high * d_high) - same * d_low);
    // ln m = 2 s + ⅔ s³ + s⁵ W(s²) = ⅔ s (3 + s² + 3/2 s⁴ W).
    let z = s * s;
    var w = 0.1947321742773056f;
    w = fma(w, z, 0.2218470722436905f);
    w = fma(w, z, 0.28571879863739014f);
    w = fma(w, z, 0.3999999761581421f);
    let square = s_high * s_high;
    let rest = 1.5f * z * z * w + s_low * (s_high + s);
    let t_high = cut(3.0f + square + rest);
    let t_low = rest - ((t_high - 3.0f) - square);
    let u = s_high * t_high;
    let v = s_low * t_high + t_low * s;
    let p_high = cut(u + v);
    let p_low = v - (p_high - u);
    // 2 / (3 ln 2) in two parts.
    let y_high = 0.96166992f * p_high;
    let y_low = 1.267721e-4f * p_high + p_low * 0.9617967f;
    let high = cut(parts.x + (y_high + y_low));
    return vec2(high, y_low - ((high - parts.x) - y_high));
}

fn pow_f32(a: f32, b_given: f32) -> f32 {
    // Larger exponents give 0, 1 or ∞ already, and ∞ · 0 would be NaN.
    let b = clamp(b_given, -1.0e12f, 1.0e12f);
    if b_given == 0.0f || a == 1.0f {
        return 1.0f;
    }
    if is_nan(a) || is_nan(b_given) {
        return a + b_given;
    }
    let bits = bitcast<u32>(a);
    let magnitude = abs(a);
    let whole = b == trunc(b);
    // Beyond 2²⁴ every f32 is even.
    let odd = whole && abs(b) < 16777216.0f && (i32(b) & 1i) == 1i;
    var y = 0.0f;
    if (bits & 0x7fffffffu) == 0u || (bits & 0x7fffffffu) == 0x7f800000u {
        // 0 or ∞, whichever the signs ask for.
        let infinite = ((bits & 0x7fffffffu) != 0u) == (b > 0.0f);
        y = bitcast<f32>(select(bits & 0u, bits | 0x7f800000u, infinite) & 0x7fffffffu);
    } else {
        let l = log2_parts(magnitude);
        let b_high = cut(b);
        let low = (b - b_high) * l.x + b * l.y;
        let high = b_high * l.x;
        let n = round(clamp(high + low, -150.0f, 129.0f));
        let r = clamp((high - n) + low, -1.0f, 1.0f);
        // 2ʳ, fit on [−½, ½]; error 2e-9.
        var p = 0.00015476591943297535f;
        p = fma(p, r, 0.0013400537427514791f);
        p = fma(p, r, 0.00961800292134285f);
        p = fma(p, r, 0.05550327152013779f);
        p = fma(p, r, 0.24022650718688965f);
        p = fma(p, r, 0.6931471824645996f);
        y = times_power_of_two(fma(p, r, 1.0f), n);
        if bits > 0x80000000u && !whole {
            return bitcast<f32>(bits | 0x7fc00000u);
        }
    }
    return select(y, -y, odd && bits >= 0x80000000u);
}
