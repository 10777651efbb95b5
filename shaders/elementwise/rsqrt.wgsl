// y = 1 / √x
fn rsqrt(x: T) -> T {
    return inverseSqrt(x);
}

fn rsqrt_d_x(x: T, y: T, dy: T) -> T {
    return -0.5f * dy * y * y * y;
}
