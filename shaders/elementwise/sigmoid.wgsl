// y = 1 / (1 + e⁻ˣ)
#import shared/special

fn sigmoid(x: T) -> T {
    return sigmoid_f32(x);
}

fn sigmoid_d_x(x: T, y: T, dy: T) -> T {
    // y (1 − y) from e^{−|x|}: y is 1 in f32 long before its derivative is 0.
    let e = exp_f32(-abs(x));
    return dy * e / ((1.0f + e) * (1.0f + e));
}
