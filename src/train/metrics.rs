//! How well predictions match references: confusion matrix, UAR, WAR, macro F1.

use crate::error::{Error, Result};

/// Counts of predictions: a row per reference class, a column per predicted class.
///
/// ```
/// use affekt::train::Confusion;
///
/// let mut confusion = Confusion::new(2);
/// for (reference, predicted) in [(0, 0), (0, 0), (0, 1), (1, 1)] {
///     confusion.add(reference, predicted)?;
/// }
/// let scores = confusion.scores().expect("something was predicted");
/// assert_eq!((scores.n, scores.war), (4, 0.75));
/// assert_eq!(scores.uar, (2.0 / 3.0 + 1.0) / 2.0);
/// assert_eq!(scores.f1, (0.8 + 2.0 / 3.0) / 2.0);
/// # Ok::<(), affekt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    counts: Vec<u64>,
}

/// The scores of one test set, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Items.
    pub n: u64,
    /// Unweighted average recall: the mean recall of the classes that the references hold.
    pub uar: f64,
    /// Weighted average recall: the share of right predictions, the accuracy.
    pub war: f64,
    /// Mean F1 of the classes that references or predictions hold.
    pub f1: f64,
}

impl Confusion {
    /// No predictions of `n_classes` classes.
    pub fn new(n_classes: usize) -> Self {
        Confusion {
            n_classes,
            counts: vec![0; n_classes * n_classes],
        }
    }

    /// The matrix of two lists of classes.
    ///
    /// Errors: [`Error::Shape`] if they are not of one length or hold a class beyond `n_classes`.
    pub fn of(n_classes: usize, references: &[usize], predicted: &[usize]) -> Result<Self> {
        if references.len() != predicted.len() {
            return Err(Error::shape(
                "confusion",
                format!(
                    "{} references, {} predictions",
                    references.len(),
                    predicted.len()
                ),
            ));
        }
        let mut confusion = Confusion::new(n_classes);
        for (r, p) in references.iter().zip(predicted) {
            confusion.add(*r, *p)?;
        }
        Ok(confusion)
    }

    /// Counts one prediction.
    ///
    /// Errors: [`Error::Shape`] for a class beyond those there are.
    pub fn add(&mut self, reference: usize, predicted: usize) -> Result<()> {
        if reference.max(predicted) >= self.n_classes {
            return Err(Error::shape(
                "confusion",
                format!(
                    "reference {reference}, prediction {predicted}, expected classes below {}",
                    self.n_classes
                ),
            ));
        }
        self.counts[reference * self.n_classes + predicted] += 1;
        Ok(())
    }

    /// Adds the counts of another test set, as of the next fold.
    ///
    /// Errors: [`Error::Shape`] if it has another number of classes.
    pub fn merge(&mut self, other: &Confusion) -> Result<()> {
        if self.n_classes != other.n_classes {
            return Err(Error::shape(
                "confusion",
                format!("{} classes met {}", self.n_classes, other.n_classes),
            ));
        }
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(a, b)| *a += b);
        Ok(())
    }

    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How often `predicted` was said of `reference`; 0 for a class that is not.
    pub fn count(&self, reference: usize, predicted: usize) -> u64 {
        match reference.max(predicted) < self.n_classes {
            true => self.counts[reference * self.n_classes + predicted],
            false => 0,
        }
    }

    /// Predictions in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Items of a reference class.
    pub fn support(&self, reference: usize) -> u64 {
        (0..self.n_classes).map(|p| self.count(reference, p)).sum()
    }

    /// How often a class was predicted.
    pub fn predicted(&self, class: usize) -> u64 {
        (0..self.n_classes).map(|r| self.count(r, class)).sum()
    }

    /// Share of a class's items that were recognised; nothing for a class without items.
    pub fn recall(&self, class: usize) -> Option<f64> {
        let support = self.support(class);
        (support > 0).then(|| self.count(class, class) as f64 / support as f64)
    }

    /// 2 right / (items + predictions) of a class; nothing for a class with neither.
    pub fn f1(&self, class: usize) -> Option<f64> {
        let sum = self.support(class) + self.predicted(class);
        (sum > 0).then(|| 2.0 * self.count(class, class) as f64 / sum as f64)
    }

    /// The scores; nothing of an empty test set.
    ///
    /// A class absent from the test set is not part of the UAR: its recall is 0 / 0. If it was predicted all the same,
    /// it counts in the macro F1 with 0, as in scikit-learn; if not, it is not part of that either.
    /// Source: Schuller et al. 2009, "The INTERSPEECH 2009 Emotion Challenge", for UAR and WAR.
    pub fn scores(&self) -> Option<Scores> {
        let n = self.total();
        if n == 0 {
            return None;
        }
        let right: u64 = (0..self.n_classes).map(|c| self.count(c, c)).sum();
        Some(Scores {
            n,
            uar: mean((0..self.n_classes).filter_map(|c| self.recall(c)))?,
            war: right as f64 / n as f64,
            f1: mean((0..self.n_classes).filter_map(|c| self.f1(c)))?,
        })
    }
}

impl Scores {
    /// Mean of the scores of folds or seeds, each with the same weight; `n` is their sum. Nothing of none.
    pub fn mean(scores: &[Scores]) -> Option<Scores> {
        let of = |f: fn(&Scores) -> f64| mean(scores.iter().map(f));
        Some(Scores {
            n: scores.iter().map(|s| s.n).sum(),
            uar: of(|s| s.uar)?,
            war: of(|s| s.war)?,
            f1: of(|s| s.f1)?,
        })
    }

    /// Deviation of the scores of folds or seeds with n − 1 in the denominator; 0 of one, nothing of none.
    pub fn deviation(scores: &[Scores]) -> Option<Scores> {
        let mean = Scores::mean(scores)?;
        let freedom = scores.len().saturating_sub(1).max(1) as f64;
        let of = |f: fn(&Scores) -> f64, m: f64| {
            let squares: f64 = scores.iter().map(|s| (f(s) - m).powi(2)).sum();
            (squares / freedom).sqrt()
        };
        Some(Scores {
            n: mean.n,
            uar: of(|s| s.uar, mean.uar),
            war: of(|s| s.war, mean.war),
            f1: of(|s| s.f1, mean.f1),
        })
    }

    /// `{"uar": …, "war": …, "f1": …}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"uar": self.uar, "war": self.war, "f1": self.f1})
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a}, expected {b}");
    }

    #[test]
    fn scores_by_hand() {
        // Rows: 5 of 8 right, 1 of 2, 0 of 0 but predicted twice, 3 of 3; class 4 nowhere.
        let references = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3, 3, 3];
        let predicted = [0, 0, 0, 0, 0, 1, 2, 2, 1, 0, 3, 3, 3];
        let confusion = Confusion::of(5, &references, &predicted).unwrap();
        assert_eq!(
            (
                confusion.count(0, 2),
                confusion.count(2, 0),
                confusion.total()
            ),
            (2, 0, 13)
        );
        assert_eq!((confusion.support(0), confusion.predicted(0)), (8, 6));
        assert_eq!((confusion.recall(2), confusion.recall(4)), (None, None));
        assert_eq!((confusion.f1(2), confusion.f1(4)), (Some(0.0), None));
        let scores = confusion.scores().unwrap();
        assert_eq!(scores.n, 13);
        near(scores.uar, (5.0 / 8.0 + 0.5 + 1.0) / 3.0);
        near(scores.war, 9.0 / 13.0);
        near(scores.f1, (10.0 / 14.0 + 2.0 / 4.0 + 0.0 + 1.0) / 4.0);
    }

    #[test]
    fn folds_add_up() {
        let mut sum = Confusion::of(2, &[0, 1], &[0, 0]).unwrap();
        sum.merge(&Confusion::of(2, &[1, 1, 0], &[1, 1, 1]).unwrap())
            .unwrap();
        assert_eq!(
            sum,
            Confusion::of(2, &[0, 1, 1, 1, 0], &[0, 0, 1, 1, 1]).unwrap()
        );
        assert!(sum.merge(&Confusion::new(3)).is_err());
    }

    #[test]
    fn nothing_and_too_much() {
        assert_eq!(Confusion::new(3).scores(), None);
        assert_eq!(Confusion::new(0).scores(), None);
        assert!(Confusion::new(2).add(0, 2).is_err() && Confusion::new(2).add(2, 0).is_err());
        assert!(Confusion::of(2, &[0], &[]).is_err());
        assert_eq!(Confusion::new(2).count(0, 2), 0);
        assert_eq!((Scores::mean(&[]), Scores::deviation(&[])), (None, None));
    }

    #[test]
    fn mean_and_deviation() {
        let score = |uar| Scores {
            n: 2,
            uar,
            war: 1.0,
            f1: 0.5,
        };
        let list = [score(0.2), score(0.4), score(0.9)];
        let mean = Scores::mean(&list).unwrap();
        near(mean.uar, 0.5);
        assert_eq!(mean.n, 6);
        near(
            Scores::deviation(&list).unwrap().uar,
            (0.26f64 / 2.0).sqrt(),
        );
        near(Scores::deviation(&list).unwrap().war, 0.0);
        near(Scores::deviation(&list[..1]).unwrap().uar, 0.0);
    }
}
