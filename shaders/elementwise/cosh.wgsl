// y = (eˣ + e⁻ˣ) / 2
#import shared/exponential

fn cosh(x: T) -> T {
    // Half of the power is taken first: e^|x| overflows before its half does.
    let h = exp_f32(0.5f * abs(x));
    return 0.5f * h * h + 0.5f / h / h;
}

fn cosh_d_x(x: T, y: T, dy: T) -> T {
    let a = abs(x);
    let e = expm1_f32(min(a, 80.0f));
    let h = exp_f32(0.5f * a);
    let slope = select(0.5f * (e + e / (e + 1.0f)), 0.5f * h * h, a > 20.0f);
    return select(dy * slope, -dy * slope, x < 0.0f);
}
