//! Random numbers on the host, from the generator that kernels use.

use crate::ops::random::philox;

/// What numbers are for: streams of different purpose never meet, and none meets a kernel's, whose second counter word is 0.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Speaker = 1,
    Plan = 2,
    Noise = 3,
    SynthEmo4 = 4,
}

/// A stream of numbers that two indices and a purpose name.
pub(super) struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    n_used: usize,
}

impl Draws {
    pub(super) fn new(seed: u64, purpose: Purpose, first: u32, second: u32) -> Self {
        Draws {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, purpose as u32, first, second],
            words: [0; 4],
            n_used: 4,
        }
    }

    fn word(&mut self) -> u32 {
        if self.n_used == 4 {
            self.words = philox(self.counter, self.key);
            self.counter[0] += 1;
            self.n_used = 0;
        }
        self.n_used += 1;
        self.words[self.n_used - 1]
    }

    /// Uniform in (0, 1): the middle of one of 2³² equal parts.
    pub(super) fn unit(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 4_294_967_296.0
    }

    pub(super) fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// Uniform noise of mean 0 and deviation 1: as white as Gaussian noise, for one word.
    pub(super) fn white(&mut self) -> f64 {
        let half_width = 3f64.sqrt();
        self.range(-half_width, half_width)
    }

    /// Gaussian, by Box and Muller 1958.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_0_and_deviation_1() {
        type Source = fn(&mut Draws) -> f64;
        for (name, source) in [
            ("white", Draws::white as Source),
            ("normal", Draws::normal as Source),
        ] {
            let mut draws = Draws::new(3, Purpose::Noise, 1, 2);
            let n = 20_000;
            let x: Vec<f64> = (0..n).map(|_| source(&mut draws)).collect();
            let mean = x.iter().sum::<f64>() / n as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
            // Five standard errors: 5/√n, and 5·√(2/n) for a Gaussian's variance.
            assert!(mean.abs() < 0.035, "{name}: mean {mean}");
            assert!((variance - 1.0).abs() < 0.05, "{name}: variance {variance}");
        }
    }

    #[test]
    fn streams_differ_by_each_of_their_names() {
        let first = |seed, purpose, a, b| Draws::new(seed, purpose, a, b).word();
        let words = [
            first(1, Purpose::Plan, 2, 3),
            first(2, Purpose::Plan, 2, 3),
            first(1, Purpose::Noise, 2, 3),
            first(1, Purpose::Plan, 3, 3),
            first(1, Purpose::Plan, 2, 4),
        ];
        for (i, a) in words.iter().enumerate() {
            assert!(words[i + 1..].iter().all(|b| a != b), "{words:?}");
        }
    }
}
