// y = max(x, 0) + min(0, alpha · (e^(x / alpha) − 1))
#import shared/exponential

struct celuParams {
    alpha: f32,
}

fn celu(x: T, p: celuParams) -> T {
    return select(p.alpha * expm1_f32(min(x, 0.0f) / p.alpha), x, x > 0.0f || is_nan(x));
}

fn celu_d_x(x: T, y: T, dy: T, p: celuParams) -> T {
    return select(dy * exp_f32(min(x, 0.0f) / p.alpha), dy, x > 0.0f);
}
