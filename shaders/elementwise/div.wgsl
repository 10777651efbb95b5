// y = a / b
fn div(a: T, b: T) -> T {
    return a / b;
}

fn div_d_a(a: T, b: T, y: T, dy: T) -> T {
    return dy / b;
}

fn div_d_b(a: T, b: T, y: T, dy: T) -> T {
    return -dy * y / b;
}
