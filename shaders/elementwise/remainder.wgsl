// y = a − b · ⌊a / b⌋
fn remainder(a: T, b: T) -> T {
    // The quotient may be off by one where a / b is next to a whole number; the remainder shows it.
    var r = fma(-floor(a / b), b, a);
    if r != 0.0f && (r < 0.0f) != (b < 0.0f) {
        r += b;
    }
    if abs(r) >= abs(b) {
        r -= b;
    }
    return r;
}

fn remainder_d_a(a: T, b: T, y: T, dy: T) -> T {
    return dy;
}

fn remainder_d_b(a: T, b: T, y: T, dy: T) -> T {
    return -dy * floor(a / b);
}
