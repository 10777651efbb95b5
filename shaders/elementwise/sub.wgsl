// y = a − b
fn sub(a: T, b: T) -> T {
    return a - b;
}

fn sub_d_a(a: T, b: T, y: T, dy: T) -> T {
    return dy;
}

fn sub_d_b(a: T, b: T, y: T, dy: T) -> T {
    return T(0) - dy;
}
