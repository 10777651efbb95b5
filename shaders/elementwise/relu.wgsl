// y = max(x, 0)
fn relu(x: T) -> T {
    return select(x, T(0), x < T(0));
}

fn relu_d_x(x: T, y: T, dy: T) -> T {
    return select(T(0), dy, x > T(0));
}
