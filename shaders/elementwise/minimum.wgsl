// y = the smaller of a and b
#import shared/nan

fn minimum(a: T, b: T) -> T {
    let y = select(b, a, a < b);
    return select(y, a, is_nan(f32(a)));
}

fn minimum_d_a(a: T, b: T, y: T, dy: T) -> T {
    return select(dy * T(a < b), dy * T(0.5f), a == b);
}

fn minimum_d_b(a: T, b: T, y: T, dy: T) -> T {
    return select(dy * T(b < a), dy * T(0.5f), a == b);
}
