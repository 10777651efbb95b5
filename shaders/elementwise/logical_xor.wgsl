// y = 1 where exactly one of a and b is not 0, else 0
fn logical_xor(a: u32, b: u32) -> u32 {
    return u32((a != 0u) != (b != 0u));
}
