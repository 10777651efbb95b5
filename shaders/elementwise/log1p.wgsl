// y = ln(1 + x)
#import shared/logarithm

fn log1p(x: T) -> T {
    return log1p_f32(x);
}

fn log1p_d_x(x: T, y: T, dy: T) -> T {
    return dy / (1.0f + x);
}
