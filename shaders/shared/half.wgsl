// Two f32 as f16 in one word. NaN and what is too large for f16 are kept away from pack2x16float and put in by hand:
// what it makes of them is up to the driver; on one software driver NaN becomes a number, and their excess bits spoil
// the other half of the word.
fn pack_f16(x: vec2<f32>) -> u32 {
    let bits = bitcast<vec2<u32>>(x);
    let magnitude = bits & vec2(0x7fffffffu);
    // 65520, from where rounding to nearest gives infinity.
    let special = magnitude >= vec2(0x477ff000u);
    let packed = pack2x16float(select(x, vec2(0.0f), special));
    let sign = (bits >> vec2(16u)) & vec2(0x8000u);
    let exponent = select(vec2(0x7c00u), vec2(0x7e00u), magnitude > vec2(0x7f800000u));
    let halves = select(vec2(0u), sign | exponent, special);
    return packed | halves.x | (halves.y << 16u);
}
