// y = 1 where x is a finite number, else 0
fn is_finite(x: T) -> u32 {
    return u32((bitcast<u32>(f32(x)) & 0x7fffffffu) < 0x7f800000u);
}
