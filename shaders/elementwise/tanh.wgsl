// y = tanh x
#import shared/special

fn tanh(x: T) -> T {
    return tanh_f32(x);
}

fn tanh_d_x(x: T, y: T, dy: T) -> T {
    // 1 − y² from e^{−2|x|}: y is 1 in f32 long before its derivative is 0.
    let e = exp_f32(-2.0f * abs(x));
    return dy * 4.0f * e / ((1.0f + e) * (1.0f + e));
}
