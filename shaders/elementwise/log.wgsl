// y = ln x
#import shared/logarithm

fn log(x: T) -> T {
    return log_f32(x);
}

fn log_d_x(x: T, y: T, dy: T) -> T {
    return dy / x;
}
