// y = 2/√π ∫₀ˣ exp(−t²) dt
#import shared/special

fn erf(x: T) -> T {
    return erf_f32(x);
}

fn erf_d_x(x: T, y: T, dy: T) -> T {
    let c = clamp(x, -12.0f, 12.0f);
    return dy * 1.1283792f * exp_f32(-c * c);
}
