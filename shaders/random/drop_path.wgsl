// y = 0 with probability p, else x / (1 − p); one decision per sample of `row` elements
#import shared/philox

struct drop_pathParams {
    p: f32,
    key_low: u32,
    key_high: u32,
    counter_low: u32,
    counter_high: u32,
    row: u32,
}

fn drop_path(x: T, p: drop_pathParams, index: u32) -> T {
    return select(x / (1.0f - p.p), T(0), drop_path_drops(p, index));
}

fn drop_path_d_x(x: T, y: T, dy: T, p: drop_pathParams, index: u32) -> T {
    return select(dy / (1.0f - p.p), T(0), drop_path_drops(p, index));
}

fn drop_path_drops(p: drop_pathParams, index: u32) -> bool {
    let word = random_word(index / max(p.row, 1u), vec2(p.key_low, p.key_high), vec2(p.counter_low, p.counter_high));
    return unit_from_word(word) < p.p;
}
