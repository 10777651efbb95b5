//! What can be had without the order of time: logistic regression on the mean and deviation of each mel bin.
//!
//! A model of speech is worth its trouble where it beats this. Everything is f64 on the host, and exact enough that the
//! result is a property of the data, not of an optimiser's mood: the problem is convex and solved until its gradient is gone.

use crate::error::{Error, Result};

const OP: &str = "baseline";

/// Weight of ½‖W‖² against the mean cross-entropy. A hundredth keeps 128 correlated features of some hundred items from
/// fitting noise; accuracy on synthetic speech varies by less than .02 from 1e-3 to 1e-1.
const L2: f64 = 1e-2;

/// The gradient's largest element at which the problem counts as solved: weights then move by less than `SOLVED / L2`.
const SOLVED: f64 = 1e-6;

/// Never reached by a solvable problem: the error falls by e every √(d / 2 L2) ≈ 80 steps.
const MOST_STEPS: usize = 20_000;

/// Mean and deviation over time of each row.
///
/// Shapes: `log_mel [mels, frames]`, row-major → `[2 · mels]`: all means, then all deviations. The deviation is biased
/// (divides by the number of frames), so one frame has deviation 0.
/// Errors: [`Error::Empty`] without mels or frames; [`Error::Shape`] if the length is no multiple of `mels`.
///
/// ```
/// let features = affekt::train::baseline::mean_and_deviation(&[1.0, 3.0, 5.0, 5.0], 2)?;
/// assert_eq!(features, [2.0, 5.0, 1.0, 0.0]);
/// # Ok::<(), affekt::Error>(())
/// ```
pub fn mean_and_deviation(log_mel: &[f32], mels: usize) -> Result<Vec<f64>> {
    if mels == 0 || log_mel.is_empty() {
        return Err(Error::Empty {
            op: OP,
            message: format!("{} values in {mels} mels have no mean", log_mel.len()),
        });
    }
    if log_mel.len() % mels != 0 {
        let message = format!("{} values are no [{mels}, frames]", log_mel.len());
        return Err(Error::shape(OP, message));
    }
    let n = log_mel.len() / mels;
    let mut features = vec![0.0; 2 * mels];
    for (mel, row) in log_mel.chunks_exact(n).enumerate() {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2));
        features[mel] = mean;
        features[mels + mel] = (squares.sum::<f64>() / n as f64).sqrt();
    }
    Ok(features)
}

/// Multinomial logistic regression on standardised features.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    /// `[classes, features + 1]`; the last column is the bias.
    weight: Vec<f64>,
    n_classes: usize,
}

/// Fits a model: features standardised by their mean and deviation here, cross-entropy plus an L2 penalty (biases free).
///
/// Shapes: `features [items][d]`, `labels [items]`, each below `n_classes`. A feature that never varies is left out.
/// Errors: [`Error::Empty`] without items, features or classes; [`Error::Shape`] where lengths differ;
/// [`Error::Attribute`] for a label or a feature out of range (NaN, infinite).
/// Source: Nesterov 2004, "Introductory lectures on convex optimization", section 2.2 (constant step scheme); the
/// curvature of the softmax is at most ½ (Böhning 1992).
pub fn fit(features: &[Vec<f64>], labels: &[usize], n_classes: usize) -> Result<Model> {
    check(features, labels, n_classes)?;
    let (n, d) = (features.len(), features[0].len());
    let column = |k: usize| features.iter().map(move |row| row[k]);
    let mean: Vec<f64> = (0..d).map(|k| column(k).sum::<f64>() / n as f64).collect();
    let deviation: Vec<f64> = (0..d)
        .map(|k| (column(k).map(|x| (x - mean[k]).powi(2)).sum::<f64>() / n as f64).sqrt())
        .collect();
    let mut model = Model {
        mean,
        deviation,
        weight: vec![0.0; n_classes * (d + 1)],
        n_classes,
    };
    let rows: Vec<Vec<f64>> = features.iter().map(|row| model.standardise(row)).collect();

    // Standardised features and the 1 of the bias have squares that sum to at most d + 1: no eigenvalue is larger.
    let curvature = 0.5 * (d + 1) as f64 + L2;
    let ratio = (L2 / curvature).sqrt();
    let momentum = (1.0 - ratio) / (1.0 + ratio);
    let mut ahead = model.weight.clone();
    for _ in 0..MOST_STEPS {
        let gradient = gradient(&rows, labels, &ahead, n_classes);
        let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for ((w, ahead), g) in model.weight.iter_mut().zip(&mut ahead).zip(&gradient) {
            let next = *ahead - g / curvature;
            *ahead = next + momentum * (next - *w);
            *w = next;
        }
        if largest < SOLVED {
            break;
        }
    }
    Ok(model)
}

impl Model {
    /// The most probable class; the lowest label where several are.
    ///
    /// Errors: [`Error::Shape`] if there are not as many features as in [`fit`].
    pub fn predict(&self, features: &[f64]) -> Result<usize> {
        let probabilities = self.probabilities(features)?;
        let best = |best: usize, k: usize| match probabilities[k] > probabilities[best] {
            true => k,
            false => best,
        };
        Ok((0..self.n_classes).fold(0, best))
    }

    /// Probability of each class.
    ///
    /// Errors: [`Error::Shape`] if there are not as many features as in [`fit`].
    pub fn probabilities(&self, features: &[f64]) -> Result<Vec<f64>> {
        if features.len() != self.mean.len() {
            let message = format!(
                "{} features, expected {} as in training",
                features.len(),
                self.mean.len()
            );
            return Err(Error::shape(OP, message));
        }
        let row = self.standardise(features);
        Ok(softmax(&row, &self.weight, self.n_classes))
    }

    /// Part of the items whose label is predicted; 0 without items.
    ///
    /// Errors: those of [`Model::predict`]; [`Error::Shape`] if there are not as many labels as items.
    pub fn accuracy(&self, features: &[Vec<f64>], labels: &[usize]) -> Result<f64> {
        same_number(features, labels)?;
        let mut n_right = 0usize;
        for (row, label) in features.iter().zip(labels) {
            n_right += usize::from(self.predict(row)? == *label);
        }
        Ok(n_right as f64 / features.len().max(1) as f64)
    }

    /// Features of training mean 0 and deviation 1, with the 1 of the bias behind them.
    fn standardise(&self, features: &[f64]) -> Vec<f64> {
        let scaled = features.iter().zip(&self.mean).zip(&self.deviation);
        // Rounding leaves a constant column a deviation of some 1e-16 of its mean.
        let scaled = scaled.map(|((x, m), s)| match *s > 1e-12 * (1.0 + m.abs()) {
            true => (x - m) / s,
            false => 0.0,
        });
        scaled.chain([1.0]).collect()
    }
}

fn softmax(row: &[f64], weight: &[f64], n_classes: usize) -> Vec<f64> {
    let dot = |k: usize| -> f64 {
        let weight = &weight[k * row.len()..(k + 1) * row.len()];
        row.iter().zip(weight).map(|(x, w)| x * w).sum()
    };
    let logits: Vec<f64> = (0..n_classes).map(dot).collect();
    let highest = logits.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
    let exps: Vec<f64> = logits.iter().map(|x| (x - highest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// Of mean cross-entropy + ½ L2 ‖W‖², biases excepted from the penalty.
fn gradient(rows: &[Vec<f64>], labels: &[usize], weight: &[f64], n_classes: usize) -> Vec<f64> {
    let width = weight.len() / n_classes;
    let mut gradient = vec![0.0; weight.len()];
    for (row, label) in rows.iter().zip(labels) {
        let probabilities = softmax(row, weight, n_classes);
        for (k, p) in probabilities.iter().enumerate() {
            let error = (p - f64::from(u8::from(k == *label))) / rows.len() as f64;
            for (g, x) in gradient[k * width..(k + 1) * width].iter_mut().zip(row) {
                *g += error * x;
            }
        }
    }
    for (i, (g, w)) in gradient.iter_mut().zip(weight).enumerate() {
        if i % width + 1 < width {
            *g += L2 * w;
        }
    }
    gradient
}

fn same_number(features: &[Vec<f64>], labels: &[usize]) -> Result<()> {
    if features.len() != labels.len() {
        let message = format!("{} items have {} labels", features.len(), labels.len());
        return Err(Error::shape(OP, message));
    }
    Ok(())
}

fn check(features: &[Vec<f64>], labels: &[usize], n_classes: usize) -> Result<()> {
    same_number(features, labels)?;
    let d = features.first().map_or(0, Vec::len);
    if d == 0 || n_classes == 0 {
        return Err(Error::Empty {
            op: OP,
            message: format!(
                "{} items of {d} features in {n_classes} classes",
                features.len()
            ),
        });
    }
    for (i, (row, label)) in features.iter().zip(labels).enumerate() {
        if row.len() != d {
            let message = format!("item {i} has {} features, expected {d}", row.len());
            return Err(Error::shape(OP, message));
        }
        if let Some(k) = row.iter().position(|x| !x.is_finite()) {
            let message = format!("feature {k} of item {i} is {}", row[k]);
            return Err(Error::attribute(OP, message));
        }
        if *label >= n_classes {
            let message = format!("label {label} of item {i}, expected less than {n_classes}");
            return Err(Error::attribute(OP, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of three clusters on a line and one feature that never varies.
    fn clusters() -> (Vec<Vec<f64>>, Vec<usize>) {
        let items = (0..60).map(|i| {
            let label = i % 3;
            let wobble = f64::from(i as u32 * 7 % 11) / 11.0 - 0.5;
            (vec![100.0 + 3.0 * label as f64 + wobble, 5.0], label)
        });
        items.unzip()
    }

    #[test]
    fn clusters_are_told_apart() {
        let (features, labels) = clusters();
        let model = fit(&features, &labels, 3).expect("the input is right");
        assert_eq!(model.accuracy(&features, &labels), Ok(1.0));
        assert_eq!(model.predict(&[90.0, 5.0]), Ok(0));
        assert_eq!(model.predict(&[120.0, 5.0]), Ok(2));
        // What never varied in training is not looked at.
        assert_eq!(model.predict(&[120.0, -1e9]), Ok(2));
        assert_eq!(fit(&features, &labels, 3), Ok(model));
    }

    #[test]
    fn the_fit_is_where_the_gradient_vanishes() {
        let (features, mut labels) = clusters();
        labels[4] = 2;
        let model = fit(&features, &labels, 3).expect("the input is right");
        let rows: Vec<Vec<f64>> = features.iter().map(|row| model.standardise(row)).collect();
        let left = gradient(&rows, &labels, &model.weight, 3);
        assert!(left.iter().all(|g| g.abs() < 2.0 * SOLVED), "{left:?}");
        // The gradient against differences of the loss itself.
        let loss = |weight: &[f64]| {
            let entropy = rows.iter().zip(&labels);
            let entropy = entropy.map(|(row, label)| -softmax(row, weight, 3)[*label].ln());
            let width = weight.len() / 3;
            let squares = weight.iter().enumerate();
            let squares = squares
                .filter(|(i, _)| i % width + 1 < width)
                .map(|(_, w)| w * w);
            entropy.sum::<f64>() / rows.len() as f64 + 0.5 * L2 * squares.sum::<f64>()
        };
        let at: Vec<f64> = (0..9).map(|i| 0.3 * f64::from(i) - 1.0).collect();
        let analytic = gradient(&rows, &labels, &at, 3);
        for i in 0..9 {
            let moved = |h: f64| {
                let mut weight = at.clone();
                weight[i] += h;
                loss(&weight)
            };
            let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            // Central differences: h² times a third derivative of about 1, and roundoff / h.
            assert!(
                (numeric - analytic[i]).abs() < 1e-8,
                "{i}: {numeric} {analytic:?}"
            );
        }
    }

    #[test]
    fn wrong_input_is_named() {
        let (features, labels) = clusters();
        let message = |r: Result<Model>| r.err().map_or(String::new(), |e| e.to_string());
        let cases = [
            (
                fit(&[], &[], 3),
                "baseline: 0 items of 0 features in 3 classes",
            ),
            (
                fit(&features, &labels[1..], 3),
                "baseline: 60 items have 59 labels",
            ),
            (
                fit(&features, &labels, 2),
                "baseline: label 2 of item 2, expected less than 2",
            ),
            (
                fit(&[vec![1.0], vec![f64::NAN]], &[0, 1], 2),
                "baseline: feature 0 of item 1 is NaN",
            ),
            (
                fit(&[vec![1.0], vec![]], &[0, 1], 2),
                "baseline: item 1 has 0 features, expected 1",
            ),
        ];
        for (result, expected) in cases {
            assert_eq!(message(result), expected);
        }
        let lengths = mean_and_deviation(&[0.0; 5], 2).map_err(|e| e.to_string());
        assert_eq!(lengths, Err("baseline: 5 values are no [2, frames]".into()));
        let model = fit(&features, &labels, 3).expect("the input is right");
        let short = model.predict(&[1.0]).map_err(|e| e.to_string());
        assert_eq!(
            short,
            Err("baseline: 1 features, expected 2 as in training".into())
        );
    }
}
