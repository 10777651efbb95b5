// y = eˣ
#import shared/exponential

fn exp(x: T) -> T {
    return exp_f32(x);
}

fn exp_d_x(x: T, y: T, dy: T) -> T {
    return dy * y;
}
