// y = the whole number next to x towards 0
fn trunc(x: T) -> T {
    return trunc(x);
}

fn trunc_d_x(x: T, y: T, dy: T) -> T {
    return T(0);
}
