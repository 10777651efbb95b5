// y = x²
fn square(x: T) -> T {
    return x * x;
}

fn square_d_x(x: T, y: T, dy: T) -> T {
    return T(2) * dy * x;
}
