// y = x · tanh(ln(1 + eˣ))
#import shared/special

fn mish(x: T) -> T {
    return x * mish_gate(x).x;
}

fn mish_d_x(x: T, y: T, dy: T) -> T {
    let gate = mish_gate(x);
    return dy * (gate.x + x * gate.y * sigmoid_f32(x));
}

// tanh(ln(1 + e)) = n / (n + 2) with n = e (e + 2), and 1 − its square; above 20 they are 1 and 0.
fn mish_gate(x: T) -> vec2<f32> {
    let e = exp_f32(min(x, 20.0f));
    let n = e * (e + 2.0f);
    return vec2(n / (n + 2.0f), 4.0f * (n + 1.0f) / ((n + 2.0f) * (n + 2.0f)));
}
