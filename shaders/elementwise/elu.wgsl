// y = x where x > 0, else alpha · (eˣ − 1)
#import shared/exponential

struct eluParams {
    alpha: f32,
}

fn elu(x: T, p: eluParams) -> T {
    return select(p.alpha * expm1_f32(min(x, 0.0f)), x, x > 0.0f || is_nan(x));
}

fn elu_d_x(x: T, y: T, dy: T, p: eluParams) -> T {
    return select(dy * p.alpha * exp_f32(min(x, 0.0f)), dy, x > 0.0f);
}
