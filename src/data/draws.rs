//! Random numbers of the host as a function of (seed, epoch, item): whoever asks, in whatever order, gets the same.

use crate::error::{Error, Result};
use crate::ops::random::philox;

/// What random numbers are for; each purpose has its own, so that one more draw here shifts nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An item of a data set: crops, masks, noise.
    Item = 1,
    /// The order of an epoch.
    Order = 2,
    /// Which subjects share a fold.
    Split = 3,
}

/// A stream of random numbers by Philox 4×32-10, keyed by the seed and counted by (draw, purpose, item, epoch).
///
/// The second counter word is never 0, so these streams are disjoint from those that [`Rng`](crate::Rng) of the same seed
/// gives to kernels.
#[derive(Debug, Clone)]
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    /// Words of `block` that are used up.
    used: usize,
}

impl Draws {
    /// The stream of one item in one epoch.
    ///
    /// Errors: [`Error::Limit`] for an item beyond 2³² − 1.
    pub fn new(seed: u64, epoch: u32, item: usize) -> Result<Draws> {
        let item = u32::try_from(item).map_err(|_| Error::Limit {
            what: "items of a data set",
            requested: item as u64,
            limit: u64::from(u32::MAX),
        })?;
        Ok(Draws::of(Purpose::Item, seed, epoch, item))
    }

    pub(crate) fn of(purpose: Purpose, seed: u64, epoch: u32, item: u32) -> Draws {
        Draws {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, purpose as u32, item, epoch],
            block: [0; 4],
            used: 4,
        }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in [0, 1), a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / 16_777_216.0
    }

    /// Uniform in [`low`, `high`).
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0 .. `n`, every number as likely as any other; 0 if `n` is 0 or 1.
    ///
    /// Source: Lemire 2019, arXiv:1805.10941.
    pub fn below(&mut self, n: u32) -> u32 {
        if n < 2 {
            return 0;
        }
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            // The lowest 2³² mod n products of each number are drawn anew.
            if product as u32 >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// Normal with mean 0 and deviation 1.
    ///
    /// Source: Box & Muller 1958; one of the pair.
    pub fn normal(&mut self) -> f32 {
        let u = 1.0 - f64::from(self.unit()); // in (0, 1]
        let v = f64::from(self.unit());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// Puts a list into a random order, each as likely as any other. Source: Fisher & Yates; Durstenfeld 1964.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let n = u32::try_from(i + 1).unwrap_or(u32::MAX);
            list.swap(i, self.below(n) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_seed_epoch_and_item() {
        let first = |seed, epoch, item| {
            let mut draws = Draws::new(seed, epoch, item).unwrap();
            (0..9).map(|_| draws.next_u32()).collect::<Vec<_>>()
        };
        assert_eq!(first(7, 3, 5), first(7, 3, 5));
        let others = [
            first(8, 3, 5),
            first(7, 4, 5),
            first(7, 3, 6),
            first(7 << 32, 3, 5),
        ];
        assert!(others.iter().all(|o| *o != first(7, 3, 5)));
        // The reference words of Philox for this counter and key stand behind it.
        assert_eq!(first(7, 3, 5)[..4], philox([0, 1, 5, 3], [7, 0]));
        assert_eq!(first(7, 3, 5)[4..8], philox([1, 1, 5, 3], [7, 0]));
    }

    #[test]
    fn moments_and_ranges() {
        let mut draws = Draws::new(1, 0, 0).unwrap();
        let n = 20_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let x = f64::from(draws.normal());
            sum += x;
            squares += x * x;
        }
        // Five deviations of the mean and of the variance of n normal numbers.
        assert!((sum / f64::from(n)).abs() < 5.0 / f64::from(n).sqrt());
        assert!((squares / f64::from(n) - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt());
        let mut counts = [0u32; 7];
        (0..7000).for_each(|_| counts[draws.below(7) as usize] += 1);
        assert!(counts.iter().all(|&c| c.abs_diff(1000) < 150), "{counts:?}");
        assert_eq!((draws.below(0), draws.below(1)), (0, 0));
        assert!((0..1000).all(|_| (2.0..3.0).contains(&draws.uniform(2.0, 3.0))));
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_no_order_is_favoured() {
        let mut counts = std::collections::BTreeMap::new();
        let mut draws = Draws::of(Purpose::Order, 3, 0, 0);
        for _ in 0..6000 {
            let mut list = [0, 1, 2];
            draws.shuffle(&mut list);
            *counts.entry(list).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|&c| c.abs_diff(1000) < 150),
            "{counts:?}"
        );
    }
}
