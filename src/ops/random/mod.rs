//! Random numbers as values: an element is a function of (key, counter, place), so a recomputed segment repeats it.
//!
//! Philox 4×32-10 turns a counter and a key into four words; element `i` takes word `i mod 4` of block `i / 4`. There is
//! no hidden state: [`Rng`] is a pair of numbers that a caller owns, saves and restores, and [`Ctx`] carries it through
//! a model's `forward`.

pub mod bernoulli;
pub mod drop_path;
pub mod dropout;
pub mod normal;
pub mod uniform;

use crate::ops::op::Op;

pub use bernoulli::bernoulli;
pub use normal::normal;
pub use uniform::uniform;

pub(crate) static OPS: &[&dyn Op] = &[
    &bernoulli::BERNOULLI,
    &drop_path::DROP_PATH,
    &dropout::DROPOUT,
    &normal::NORMAL,
    &uniform::UNIFORM,
];

/// Where in the random numbers somebody is: a stream of its own per key and counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rng {
    pub key: u64,
    pub counter: u64,
}

impl Rng {
    /// The first stream of a seed.
    pub fn new(seed: u64) -> Self {
        Rng {
            key: seed,
            counter: 0,
        }
    }

    /// This stream, for one random operator; the next call gives the next one.
    pub fn draw(&mut self) -> Rng {
        let drawn = *self;
        self.counter = self.counter.wrapping_add(1);
        drawn
    }

    /// Word `index` of this stream, the same as kernels use for element `index`.
    pub fn word(&self, index: u32) -> u32 {
        let counter = [
            index / 4,
            0,
            self.counter as u32,
            (self.counter >> 32) as u32,
        ];
        let key = [self.key as u32, (self.key >> 32) as u32];
        philox(counter, key)[index as usize % 4]
    }

    /// The words that carry this to a kernel.
    fn words(&self) -> [u32; 4] {
        [
            self.key as u32,
            (self.key >> 32) as u32,
            self.counter as u32,
            (self.counter >> 32) as u32,
        ]
    }
}

/// What a model's `forward` is told besides its input: whether it trains, and where the random numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ctx {
    pub train: bool,
    pub rng: Rng,
}

impl Ctx {
    /// Training, with the random numbers of a seed.
    pub fn train(seed: u64) -> Self {
        Ctx {
            train: true,
            rng: Rng::new(seed),
        }
    }

    /// Inference: nothing is random.
    pub fn eval() -> Self {
        Ctx {
            train: false,
            rng: Rng::default(),
        }
    }
}

/// Four random words from a counter and a key.
///
/// Source: Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", Philox 4×32 of ten rounds.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut c = counter;
    let mut k = key;
    for _ in 0..10 {
        let first = 0xd251_1f53 * u64::from(c[0]);
        let second = 0xcd9e_8d57 * u64::from(c[2]);
        c = [
            (second >> 32) as u32 ^ c[1] ^ k[0],
            second as u32,
            (first >> 32) as u32 ^ c[3] ^ k[1],
            first as u32,
        ];
        k = [
            k[0].wrapping_add(0x9e37_79b9),
            k[1].wrapping_add(0xbb67_ae85),
        ];
    }
    c
}

/// 24 bits of element `index` as a number in [0, 1); `words` as a twin sees them.
fn unit(index: f64, words: &[f64]) -> f64 {
    f64::from(word(index as u32, words) >> 8) / 16_777_216.0
}

fn word(index: u32, words: &[f64]) -> u32 {
    let join = |low: f64, high: f64| u64::from(low as u32) | u64::from(high as u32) << 32;
    let rng = Rng {
        key: join(words[0], words[1]),
        counter: join(words[2], words[3]),
    };
    rng.word(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        // Random123, tests/kat_vectors, the three lines of philox4x32 with 10 rounds.
        let known = [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in known {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn draws_are_streams_of_their_own() {
        let mut rng = Rng::new(7);
        let (a, b) = (rng.draw(), rng.draw());
        assert_ne!(a, b);
        assert_ne!(a.word(0), b.word(0));
        assert_eq!(a.word(5), Rng { key: 7, counter: 0 }.word(5));
    }
}
