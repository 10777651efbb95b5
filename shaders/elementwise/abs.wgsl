// y = |x|
fn abs(x: T) -> T {
    return abs(x);
}

fn abs_d_x(x: T, y: T, dy: T) -> T {
    return dy * T(x > T(0)) - dy * T(x < T(0));
}
