// y = −x
fn neg(x: T) -> T {
    return -x;
}

fn neg_d_x(x: T, y: T, dy: T) -> T {
    return -dy;
}
