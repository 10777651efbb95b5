// y = x / (1 + e⁻ˣ)
#import shared/special

fn silu(x: T) -> T {
    return x * sigmoid_f32(x);
}

fn silu_d_x(x: T, y: T, dy: T) -> T {
    let s = sigmoid_f32(x);
    return dy * (s + x * s * sigmoid_f32(-x));
}
