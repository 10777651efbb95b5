// y = log₂ x
#import shared/logarithm

fn log2(x: T) -> T {
    return log2_f32(x);
}

fn log2_d_x(x: T, y: T, dy: T) -> T {
    return dy * 1.44269504f / x;
}
