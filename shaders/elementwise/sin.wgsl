// y = sin x
#import shared/trigonometry

fn sin(x: T) -> T {
    return sin_f32(x);
}

fn sin_d_x(x: T, y: T, dy: T) -> T {
    return dy * cos_f32(x);
}
