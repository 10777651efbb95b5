// y = ln(1 + e^(beta · x)) / beta
#import shared/special
#import shared/logarithm

struct softplusParams {
    beta: f32,
}

fn softplus(x: T, p: softplusParams) -> T {
    // From e^{−|βx|}, which cannot overflow.
    let b = p.beta * x;
    let y = (max(b, 0.0f) + log1p_f32(exp_f32(-abs(b)))) / p.beta;
    return select(y, x, is_nan(x));
}

fn softplus_d_x(x: T, y: T, dy: T, p: softplusParams) -> T {
    return dy * sigmoid_f32(p.beta * x);
}
