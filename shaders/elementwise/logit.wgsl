// y = ln(x / (1 − x))
#import shared/logarithm

fn logit(x: T) -> T {
    return log_f32(x) - log1p_f32(-x);
}

fn logit_d_x(x: T, y: T, dy: T) -> T {
    return dy / (x * (1.0f - x));
}
