// y = low + (high − low) · u; x is not looked at
#import shared/philox

struct uniformParams {
    low: f32,
    high: f32,
    key_low: u32,
    key_high: u32,
    counter_low: u32,
    counter_high: u32,
}

fn uniform(x: T, p: uniformParams, index: u32) -> T {
    return fma(unit_from_word(random_word(index, vec2(p.key_low, p.key_high), vec2(p.counter_low, p.counter_high))), p.high - p.low, p.low);
}
