// Philox 4×32-10 of Salmon et al. 2011: four random words from a counter and a key, without state.

// The high word of a · b, from halves of 16 bits: WGSL has no such product.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let carry = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        c = vec4(
            multiply_high(0xcd9e8d57u, c.z) ^ c.y ^ k.x,
            0xcd9e8d57u * c.z,
            multiply_high(0xd2511f53u, c.x) ^ c.w ^ k.y,
            0xd2511f53u * c.x,
        );
        k += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// The word of element `index` in the stream `counter`: four neighbours share a block.
fn random_word(index: u32, key: vec2<u32>, counter: vec2<u32>) -> u32 {
    let words = philox(vec4(index / 4u, 0u, counter.x, counter.y), key);
    let lane = index % 4u;
    let low = select(words.x, words.y, lane == 1u);
    return select(low, select(words.z, words.w, lane == 3u), lane >= 2u);
}

// 24 random bits as a number in [0, 1).
fn unit_from_word(word: u32) -> f32 {
    return f32(word >> 8u) * 5.9604645e-8f;
}
