// y = 1 / x
fn reciprocal(x: T) -> T {
    return 1.0f / x;
}

fn reciprocal_d_x(x: T, y: T, dy: T) -> T {
    return -dy * y * y;
}
