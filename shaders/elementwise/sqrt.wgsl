// y = √x
fn sqrt(x: T) -> T {
    return sqrt(x);
}

fn sqrt_d_x(x: T, y: T, dy: T) -> T {
    return 0.5f * dy / y;
}
