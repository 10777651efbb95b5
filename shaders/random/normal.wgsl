// y = mean + std · √(−2 ln u) · cos 2πv, sin for odd elements; x is not looked at
#import shared/logarithm
#import shared/philox
#import shared/trigonometry

struct normalParams {
    mean: f32,
    deviation: f32,
    key_low: u32,
    key_high: u32,
    counter_low: u32,
    counter_high: u32,
}

fn normal(x: T, p: normalParams, index: u32) -> T {
    let words = philox(vec4(index / 4u, 0u, p.counter_low, p.counter_high), vec2(p.key_low, p.key_high));
    let pair = select(words.xy, words.zw, (index & 2u) == 2u);
    // From 2⁻²⁴ to 1, where the logarithm exists.
    let radius = sqrt(-2.0f * log_f32(f32((pair.x >> 8u) + 1u) * 5.9604645e-8f));
    let angle = 6.2831853f * unit_from_word(pair.y);
    return p.mean + p.deviation * radius * select(cos_f32(angle), sin_f32(angle), (index & 1u) == 1u);
}
