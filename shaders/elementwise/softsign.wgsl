// y = x / (1 + |x|)
fn softsign(x: T) -> T {
    return x / (1.0f + abs(x));
}

fn softsign_d_x(x: T, y: T, dy: T) -> T {
    let d = 1.0f + abs(x);
    return dy / (d * d);
}
