// y = condition ≠ 0 ? a : b
fn where(condition: u32, a: T, b: T) -> T {
    return select(b, a, condition != 0u);
}

fn where_d_a(condition: u32, a: T, b: T, y: T, dy: T) -> T {
    return select(T(0), dy, condition != 0u);
}

fn where_d_b(condition: u32, a: T, b: T, y: T, dy: T) -> T {
    return select(dy, T(0), condition != 0u);
}
