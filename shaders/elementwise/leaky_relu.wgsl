// y = x where x > 0, else slope · x
struct leaky_reluParams {
    slope: f32,
}

fn leaky_relu(x: T, p: leaky_reluParams) -> T {
    return select(p.slope * x, x, x > 0.0f);
}

fn leaky_relu_d_x(x: T, y: T, dy: T, p: leaky_reluParams) -> T {
    return select(p.slope * dy, dy, x > 0.0f);
}
