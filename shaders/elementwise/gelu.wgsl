// y = x · Φ(x), or its tanh form
struct geluParams {
    approximate: u32,
}

fn gelu(x: T, p: geluParams) -> T {
    if p.approximate == 1u {
        return x * 0.5f * (1.0f + tanh_f32(gelu_inner(x)));
    }
    return x * 0.5f * (1.0f + erf_f32(x * 0.70710678f));
}

fn gelu_d_x(x: T, y: T, dy: T, p: geluParams) -> T {
    if p.approximate == 1u {
        let t = tanh_f32(gelu_inner(x));
        let slope = 0.79788456f * (1.0f + 0.134145f * min(x * x, 1.0e6f));
        return dy * (0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * slope);
    }
    let c = clamp(x, -12.0f, 12.0f);
    let density = 0.39894228f * exp(-0.5f * c * c);
    return dy * (0.5f * (1.0f + erf_f32(x * 0.70710678f)) + c * density);
}

// √(2/π)(x + 0.044715 x³); clamped, because the cube overflows long before tanh matters.
fn gelu_inner(x: T) -> T {
    let c = clamp(x, -50.0f, 50.0f);
    return 0.79788456f * (c + 0.044715f * c * c * c);
}
