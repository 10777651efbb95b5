// y = min(max(x / 6 + ½, 0), 1)
#import shared/nan

fn hard_sigmoid(x: T) -> T {
    let y = clamp(x * 0.16666667f + 0.5f, 0.0f, 1.0f);
    return select(y, x, is_nan(x));
}

fn hard_sigmoid_d_x(x: T, y: T, dy: T) -> T {
    return select(0.0f, dy * 0.16666667f, abs(x) < 3.0f);
}
