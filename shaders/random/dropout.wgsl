// y = 0 with probability p, else x / (1 − p)
#import shared/philox

struct dropoutParams {
    p: f32,
    key_low: u32,
    key_high: u32,
    counter_low: u32,
    counter_high: u32,
}

fn dropout(x: T, p: dropoutParams, index: u32) -> T {
    return select(x / (1.0f - p.p), T(0), dropout_drops(p, index));
}

fn dropout_d_x(x: T, y: T, dy: T, p: dropoutParams, index: u32) -> T {
    return select(dy / (1.0f - p.p), T(0), dropout_drops(p, index));
}

fn dropout_drops(p: dropoutParams, index: u32) -> bool {
    let word = random_word(index, vec2(p.key_low, p.key_high), vec2(p.counter_low, p.counter_high));
    return unit_from_word(word) < p.p;
}
