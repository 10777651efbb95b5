// y = the angle of the point (b, a)
#import shared/trigonometry

fn atan2(a: T, b: T) -> T {
    return atan2_f32(a, b);
}

fn atan2_d_a(a: T, b: T, y: T, dy: T) -> T {
    return dy * b / (a * a + b * b);
}

fn atan2_d_b(a: T, b: T, y: T, dy: T) -> T {
    return -dy * a / (a * a + b * b);
}
