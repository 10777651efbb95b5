// y = aᵇ
#import shared/power

fn pow(a: T, b: T) -> T {
    return pow_f32(a, b);
}

fn pow_d_a(a: T, b: T, y: T, dy: T) -> T {
    return select(dy * b * pow_f32(a, b - 1.0f), 0.0f, b == 0.0f);
}

fn pow_d_b(a: T, b: T, y: T, dy: T) -> T {
    // At a = 0 the power is flat for b > 0, where ln a is −∞.
    return select(dy * y * log_f32(a), 0.0f, a == 0.0f && b >= 0.0f);
}
