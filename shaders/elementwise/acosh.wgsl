// y = ln(x + √(x² − 1))
#import shared/logarithm

fn acosh(x: T) -> T {
    // By the distance from 1, where x² − 1 cancels.
    let t = min(x - 1.0f, 4096.0f);
    let y = select(log1p_f32(t + sqrt(t * (2.0f + t))), log_f32(x) + 0.69314718f, x > 4096.0f);
    return select(y, bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u), !(x >= 1.0f));
}

fn acosh_d_x(x: T, y: T, dy: T) -> T {
    return dy * inverseSqrt((x - 1.0f) * (x + 1.0f));
}
