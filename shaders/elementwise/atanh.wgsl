// y = ½ ln((1 + x) / (1 − x))
#import shared/logarithm

fn atanh(x: T) -> T {
    let a = abs(x);
    let y = 0.5f * log1p_f32(2.0f * a / (1.0f - a));
    let inside = select(y, -y, x < 0.0f);
    return select(inside, bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u), !(a <= 1.0f));
}

fn atanh_d_x(x: T, y: T, dy: T) -> T {
    return dy / ((1.0f - x) * (1.0f + x));
}
