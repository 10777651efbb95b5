// y = λ · (x where x > 0, else α (eˣ − 1)), λ = 1.0507010, α = 1.6732632
#import shared/exponential

fn selu(x: T) -> T {
    return select(1.7580993f * expm1_f32(min(x, 0.0f)), 1.050701f * x, x > 0.0f || is_nan(x));
}

fn selu_d_x(x: T, y: T, dy: T) -> T {
    return select(dy * 1.7580993f * exp_f32(min(x, 0.0f)), 1.050701f * dy, x > 0.0f);
}
