// y = tan x
#import shared/trigonometry

fn tan(x: T) -> T {
    return tan_f32(x);
}

fn tan_d_x(x: T, y: T, dy: T) -> T {
    return dy * (1.0f + y * y);
}
