// y = a + b
fn add(a: T, b: T) -> T {
    return a + b;
}

fn add_d_a(a: T, b: T, y: T, dy: T) -> T {
    return dy;
}

fn add_d_b(a: T, b: T, y: T, dy: T) -> T {
    return dy;
}
