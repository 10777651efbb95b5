// y = arctan x
#import shared/trigonometry

fn atan(x: T) -> T {
    return atan_f32(x);
}

fn atan_d_x(x: T, y: T, dy: T) -> T {
    return dy / (1.0f + x * x);
}
