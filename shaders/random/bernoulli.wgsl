// y = 1 where u < p, else 0; x is not looked at
#import shared/philox

struct bernoulliParams {
    p: f32,
    key_low: u32,
    key_high: u32,
    counter_low: u32,
    counter_high: u32,
}

fn bernoulli(x: T, p: bernoulliParams, index: u32) -> T {
    return T(unit_from_word(random_word(index, vec2(p.key_low, p.key_high), vec2(p.counter_low, p.counter_high))) < p.p);
}
