// y = min(max(x, low), high)
#import shared/nan

fn clamp(x: T, low: T, high: T) -> T {
    let y = select(select(x, low, x < low), high, high < low || x > high);
    return select(y, x, is_nan(f32(x)));
}

fn clamp_d_x(x: T, low: T, high: T, y: T, dy: T) -> T {
    return select(T(0), dy, x >= low && x <= high);
}

fn clamp_d_low(x: T, low: T, high: T, y: T, dy: T) -> T {
    return select(T(0), dy, x < low && low <= high);
}

fn clamp_d_high(x: T, low: T, high: T, y: T, dy: T) -> T {
    return select(T(0), dy, x > high || high < low);
}
