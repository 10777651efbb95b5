// y = cos x
#import shared/trigonometry

fn cos(x: T) -> T {
    return cos_f32(x);
}

fn cos_d_x(x: T, y: T, dy: T) -> T {
    return -dy * sin_f32(x);
}
