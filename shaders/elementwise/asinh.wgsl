// y = ln(x + √(x² + 1))
#import shared/logarithm

fn asinh(x: T) -> T {
    let a = abs(x);
    // Beyond 4096 the 1 is lost in f32, and soon x² overflows.
    let c = min(a, 4096.0f);
    let s = c * c;
    let y = select(log1p_f32(c + s / (1.0f + sqrt(1.0f + s))), log_f32(a) + 0.69314718f, !(a <= 4096.0f));
    return select(y, -y, x < 0.0f);
}

fn asinh_d_x(x: T, y: T, dy: T) -> T {
    return dy * inverseSqrt(1.0f + x * x);
}
