// y = 1 where both a and b are not 0, else 0
fn logical_and(a: u32, b: u32) -> u32 {
    return u32(a != 0u && b != 0u);
}
