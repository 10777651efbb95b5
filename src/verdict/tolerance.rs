//! How far a result may be from its twin, and why.

/// Bound on `|got − expected|`: `absolute + relative · |expected| + scaled · scale`, where `scale` is the size of the
/// terms that went into the result (for a dot product Σ|aᵢbᵢ|), not of what is left after they cancelled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
    /// Why this much is right, for the reader of a report.
    pub reason: &'static str,
}

/// Unit roundoff of `f32`.
const U: f64 = 5.960_464_477_539_063e-8;

impl Tolerance {
    /// Bits are copied: nothing may differ.
    pub const EXACT: Tolerance = Tolerance {
        relative: 0.0,
        absolute: 0.0,
        reason: "copies bits",
    };

    /// `n` units of roundoff of results of size up to `magnitude`, for a function of few operations.
    pub fn ulps(n: f64, magnitude: f64) -> Self {
        Tolerance {
            relative: n * U,
            absolute: n * U * magnitude,
            reason: "a few roundings of terms of this size",
        }
    }

    /// A sum of `n` terms of size up to `magnitude`. The rounding errors of a sum are independent enough that their
    /// growth is √n (Higham 2002, section 2.8); 4 √n + 8 leaves room for the worst of thousands of results.
    pub fn sum(n: usize, magnitude: f64) -> Self {
        let growth = 4.0 * (n as f64).sqrt() + 8.0;
        Tolerance {
            relative: growth * U,
            absolute: growth * U * magnitude * (n as f64).sqrt().max(1.0),
            reason: "probabilistic bound of a sum: (4 √n + 8) u × √n terms",
        }
    }

    /// A sum made in blocks of 64: errors grow with the block and the number of blocks instead of their product.
    pub fn blocked_sum(n: usize, magnitude: f64) -> Self {
        let steps = n.min(64) + n.div_ceil(64);
        let growth = 4.0 * (steps as f64).sqrt() + 8.0;
        Tolerance {
            relative: growth * U,
            absolute: growth * U * magnitude * (n as f64).sqrt().max(1.0),
            reason: "probabilistic bound of a blocked sum: 4 √(64 + n/64) u × √n terms",
        }
    }

    /// The same bound for results that are rounded to `unit_roundoff` when stored.
    pub fn stored(self, unit_roundoff: f64) -> Self {
        if unit_roundoff <= U {
            return self;
        }
        // Conversion may round to nearest or towards zero (2 u); numbers below 6.1e-5 lose bits as f16 subnormals.
        Tolerance {
            relative: self.relative + 2.0 * unit_roundoff,
            absolute: self.absolute + 6e-8,
            reason: self.reason,
        }
    }

    /// Both bounds widened by a factor.
    pub fn times(self, factor: f64) -> Self {
        Tolerance {
            relative: self.relative * factor,
            absolute: self.absolute * factor,
            reason: self.reason,
        }
    }
}

/// The worst element of a comparison that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    pub index: usize,
    pub got: f64,
    pub expected: f64,
    pub bound: f64,
    /// Elements outside of their bound.
    pub n_wrong: usize,
    pub n: usize,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "element {} is {:e}, expected {:e} within {:.1e} ({} of {} wrong)",
            self.index, self.got, self.expected, self.bound, self.n_wrong, self.n
        )
    }
}

/// Compares element by element so that NaN fails unless it is expected, and infinities must agree in sign.
pub fn compare(
    got: &[f64],
    expected: &[f64],
    bound: impl Fn(usize) -> f64,
) -> Result<(), Mismatch> {
    let n = expected.len();
    if got.len() != n {
        return Err(Mismatch {
            index: got.len().min(n),
            got: f64::NAN,
            expected: f64::NAN,
            bound: 0.0,
            n_wrong: got.len().abs_diff(n),
            n,
        });
    }
    let mut worst: Option<(f64, Mismatch)> = None;
    let mut n_wrong = 0;
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let bound = bound(index);
        let right = if expected.is_nan() {
            got.is_nan()
        } else if expected.is_infinite() {
            got == expected
        } else {
            (got - expected).abs() <= bound
        };
        if right {
            continue;
        }
        n_wrong += 1;
        let excess = (got - expected).abs() / bound.max(f64::MIN_POSITIVE);
        let excess = if excess.is_nan() {
            f64::INFINITY
        } else {
            excess
        };
        if worst.as_ref().is_none_or(|(e, _)| excess > *e) {
            worst = Some((
                excess,
                Mismatch {
                    index,
                    got,
                    expected,
                    bound,
                    n_wrong: 0,
                    n,
                },
            ));
        }
    }
    match worst {
        None => Ok(()),
        Some((_, mismatch)) => Err(Mismatch {
            n_wrong,
            ..mismatch
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_fails_unless_expected_and_infinities_have_signs() {
        let inf = f64::INFINITY;
        let same = |a: f64, b: f64| compare(&[a], &[b], |_| 1.0).is_ok();
        assert!(!same(f64::NAN, 0.0));
        assert!(!same(0.0, f64::NAN));
        assert!(same(f64::NAN, f64::NAN));
        assert!(same(inf, inf));
        assert!(!same(inf, -inf));
        assert!(!same(inf, 1e300));
        assert!(!same(1e300, inf));
        assert!(same(0.5, 1.5));
        assert!(!same(0.5, 1.6));
        assert!(compare(&[1.0], &[1.0, 2.0], |_| 9.0).is_err());
    }
}
