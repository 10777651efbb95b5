// y = eˣ − 1
#import shared/exponential

fn expm1(x: T) -> T {
    return expm1_f32(x);
}

fn expm1_d_x(x: T, y: T, dy: T) -> T {
    return dy * (y + 1.0f);
}
