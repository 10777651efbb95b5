// y = x · min(max(x / 6 + ½, 0), 1)
#import shared/nan

fn hard_swish(x: T) -> T {
    let y = x * clamp(x * 0.16666667f + 0.5f, 0.0f, 1.0f);
    return select(y, x, is_nan(x));
}

fn hard_swish_d_x(x: T, y: T, dy: T) -> T {
    return select(select(dy * (x * 0.33333333f + 0.5f), 0.0f, x <= -3.0f), dy, x >= 3.0f);
}
