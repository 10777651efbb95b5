//! Samples of one thing done many times: when there are enough, and what they say. Takes no time itself.

use serde::{Deserialize, Serialize};

use crate::bench::report::Timing;

/// When a measurement has been repeated often enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Fewest samples, whatever they say.
    pub min_samples: usize,
    /// Fewest seconds spent on them.
    pub min_secs: f64,
    /// Most seconds spent on them.
    pub max_secs: f64,
    /// Most samples.
    pub max_samples: usize,
    /// Half width of the interval of the median, over the median, at which more samples would tell nothing new.
    pub precision: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            min_samples: 9,
            min_secs: 0.05,
            max_secs: 1.0,
            max_samples: 400,
            precision: 0.01,
        }
    }
}

/// Seconds, in the order they were taken.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples {
    secs: Vec<f64>,
    total: f64,
    n_discarded: usize,
}

impl Samples {
    /// Takes one. What is not above zero is a clock that stood still or ran backwards: it is counted and thrown away.
    pub fn push(&mut self, secs: f64) {
        if secs > 0.0 && secs.is_finite() {
            self.secs.push(secs);
            self.total += secs;
        } else {
            self.n_discarded += 1;
        }
    }

    pub fn n(&self) -> usize {
        self.secs.len()
    }

    /// Whether the budget asks for no more. `spent` is the wall time since the first sample was begun.
    pub fn enough(&self, budget: &Budget, spent: f64) -> bool {
        let tried = self.secs.len() + self.n_discarded;
        if tried >= budget.max_samples || (tried > 0 && spent >= budget.max_secs) {
            return true;
        }
        if self.secs.len() < budget.min_samples || spent < budget.min_secs {
            return false;
        }
        let sorted = self.sorted();
        let (low, high) = interval_of_median(&sorted);
        high - low <= 2.0 * budget.precision * quantile(&sorted, 0.5)
    }

    /// What the samples say; `None` if there is none.
    pub fn timing(&self) -> Option<Timing> {
        if self.secs.is_empty() {
            return None;
        }
        let sorted = self.sorted();
        let tenth = self.secs.len().div_ceil(10);
        let middle = |part: &[f64]| {
            let mut part = part.to_vec();
            part.sort_by(f64::total_cmp);
            quantile(&part, 0.5)
        };
        Some(Timing {
            n: self.secs.len(),
            median: quantile(&sorted, 0.5),
            p10: quantile(&sorted, 0.1),
            p90: quantile(&sorted, 0.9),
            p99: quantile(&sorted, 0.99),
            n_discarded: self.n_discarded,
            drift: middle(&self.secs[self.secs.len() - tenth..]) / middle(&self.secs[..tenth]),
        })
    }

    /// The median over that of `other`, with the interval that 95 % confidence in both medians allows: for samples that were
    /// taken in turns, so that what disturbs one disturbs the other. `None` if either is empty.
    pub fn over(&self, other: &Samples) -> Option<Ratio> {
        if self.secs.is_empty() || other.secs.is_empty() {
            return None;
        }
        let (new, old) = (self.sorted(), other.sorted());
        let (new_at, old_at) = (interval_of_median(&new), interval_of_median(&old));
        Some(Ratio {
            value: quantile(&new, 0.5) / quantile(&old, 0.5),
            low: new_at.0 / old_at.1,
            high: new_at.1 / old_at.0,
        })
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.secs.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// The value below which that share of the sorted numbers lies, between neighbours in proportion.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, rest) = (place.floor() as usize, place.fract());
    match sorted.get(below + 1) {
        Some(next) => sorted[below] + rest * (next - sorted[below]),
        None => sorted[below],
    }
}

/// Order statistics between which the median lies with 95 % confidence, whatever the distribution: ranks
/// n/2 ± 0.98 √n (the normal approximation of the binomial).
fn interval_of_median(sorted: &[f64]) -> (f64, f64) {
    let n = sorted.len() as f64;
    let half = 0.98 * n.sqrt();
    let low = (n / 2.0 - half).floor().max(0.0) as usize;
    let high = ((n / 2.0 + half).ceil() as usize).min(sorted.len() - 1);
    (sorted[low], sorted[high])
}

/// A time over another, with the interval that the spreads (10th to 90th percentile) of both allow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    pub fn of(new: &Timing, old: &Timing) -> Self {
        Ratio {
            value: new.median / old.median,
            low: new.p10 / old.p90,
            high: new.p90 / old.p10,
        }
    }

    /// Slower by more than `margin` (0.05: five hundredths), and by more than the spreads explain.
    pub fn is_slower(&self, margin: f64) -> bool {
        self.low > 1.0 && self.value > 1.0 + margin
    }

    /// The ratio to something that takes `times` as long.
    pub fn over(&self, times: f64) -> Self {
        Ratio {
            value: self.value / times,
            low: self.low / times,
            high: self.high / times,
        }
    }

    /// Whether all of it can be written down.
    pub fn is_sound(&self) -> bool {
        [self.value, self.low, self.high]
            .iter()
            .all(|r| r.is_finite() && *r > 0.0)
    }

    /// Faster by more than the spreads explain.
    pub fn is_faster(&self) -> bool {
        self.high < 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(secs: impl IntoIterator<Item = f64>) -> Samples {
        let mut out = Samples::default();
        secs.into_iter().for_each(|s| out.push(s));
        out
    }

    #[test]
    fn quantiles_of_a_hundred_and_one() {
        let timing = samples((0..=100).rev().map(|i| 1.0 + f64::from(i)))
            .timing()
            .unwrap();
        assert_eq!(
            [timing.p10, timing.median, timing.p90, timing.p99],
            [11.0, 51.0, 91.0, 100.0]
        );
        // The first eleven are 101 to 91, the last eleven 11 to 1.
        assert_eq!(timing.drift, 6.0 / 96.0);
        assert_eq!(samples([]).timing(), None);
        assert_eq!(samples([2.0]).timing().unwrap().p99, 2.0);
    }

    #[test]
    fn a_clock_that_stands_still_is_counted() {
        let timing = samples([0.0, -1.0, f64::NAN, 3.0]).timing().unwrap();
        assert_eq!((timing.n, timing.n_discarded, timing.median), (1, 3, 3.0));
    }

    #[test]
    fn steady_samples_end_early_and_wild_ones_at_the_cap() {
        let budget = Budget::default();
        let steady = samples((0..9).map(|i| 1e-3 * (1.0 + 1e-4 * f64::from(i))));
        assert!(!steady.enough(&budget, 0.01), "too little time was spent");
        assert!(steady.enough(&budget, 0.06));
        let wild = samples((0..40).map(|i| 1e-3 * f64::from(1 + i % 7)));
        assert!(!wild.enough(&budget, 0.5));
        assert!(wild.enough(&budget, 1.0));
        let stuck = samples((0..400).map(|_| 0.0));
        assert!(stuck.enough(&budget, 0.06), "a dead clock must end too");
    }

    #[test]
    fn samples_taken_in_turns_are_told_apart_by_their_medians() {
        // Every fifth is disturbed.
        let disturbed = |i: i32, secs: f64| if i % 5 == 0 { 4.0 * secs } else { secs };
        let a = samples((0..50).map(|i| disturbed(i, 1.2)));
        let b = samples((0..50).map(|i| disturbed(i, 1.0)));
        let ratio = a.over(&b).unwrap();
        assert!(ratio.is_slower(0.05), "{ratio:?}");
        assert!(b.over(&a).unwrap().is_faster());
        assert!(!a.over(&a).unwrap().is_slower(0.0));
        assert_eq!(a.over(&samples([])), None);
    }

    #[test]
    fn a_regression_is_beyond_spread_and_margin() {
        let timing = |median: f64, spread: f64| Timing {
            n: 9,
            median,
            p10: median - spread,
            p90: median + spread,
            ..Timing::default()
        };
        let ratio = Ratio::of(&timing(2.0, 0.1), &timing(1.0, 0.1));
        assert_eq!(ratio.value, 2.0);
        assert!(ratio.is_slower(0.05));
        assert!(!Ratio::of(&timing(1.15, 0.1), &timing(1.0, 0.1)).is_slower(0.05));
        assert!(!Ratio::of(&timing(1.03, 1e-3), &timing(1.0, 1e-3)).is_slower(0.05));
        assert!(!Ratio::of(&timing(0.5, 1e-3), &timing(1.0, 1e-3)).is_slower(0.05));
    }
}
