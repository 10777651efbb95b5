// y = 1 where x is 0, else 0
fn logical_not(x: u32) -> u32 {
    return u32(x == 0u);
}
