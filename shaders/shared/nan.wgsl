// Whether a number is NaN, by its bits: compilers fold x != x to false. Integers never are: the bits are those of the
// number as f32.
fn is_nan(x: Acc) -> bool {
    return (bitcast<u32>(f32(x)) & 0x7fffffffu) > 0x7f800000u;
}
