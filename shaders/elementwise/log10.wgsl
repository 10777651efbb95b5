// y = log₁₀ x
#import shared/logarithm

fn log10(x: T) -> T {
    return log10_f32(x);
}

fn log10_d_x(x: T, y: T, dy: T) -> T {
    return dy * 0.43429448f / x;
}
