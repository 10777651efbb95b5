// y = a · b
fn mul(a: T, b: T) -> T {
    return a * b;
}

fn mul_d_a(a: T, b: T, y: T, dy: T) -> T {
    return dy * b;
}

fn mul_d_b(a: T, b: T, y: T, dy: T) -> T {
    return dy * a;
}
