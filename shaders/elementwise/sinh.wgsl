// y = (eˣ − e⁻ˣ) / 2
#import shared/exponential

fn sinh(x: T) -> T {
    // Half of the power is taken first: e^|x| overflows before its half does.
    let a = abs(x);
    let e = expm1_f32(a);
    let h = exp_f32(0.5f * a);
    let y = select(0.5f * (e + e / (e + 1.0f)), 0.5f * h * h, a > 20.0f);
    return select(y, -y, x < 0.0f);
}

fn sinh_d_x(x: T, y: T, dy: T) -> T {
    let h = exp_f32(0.5f * abs(x));
    return dy * (0.5f * h * h + 0.5f / (h * h));
}
