// y = −1, 0 or 1, the sign of x
#import shared/nan

fn sign(x: T) -> T {
    return select(T(x > T(0)) - T(x < T(0)), x, is_nan(f32(x)));
}

fn sign_d_x(x: T, y: T, dy: T) -> T {
    return T(0);
}
