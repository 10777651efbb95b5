// y = 1 where a ≠ b, else 0
#import shared/nan

fn ne(a: T, b: T) -> u32 {
    return u32(a != b || is_nan(f32(a)) || is_nan(f32(b)));
}
