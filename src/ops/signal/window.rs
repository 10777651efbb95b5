//! y[i] = window functions of n points, made on the host in f64
//!
//! Periodic windows are those of n + 1 points without the last: their copies, moved by a fraction of n, add up evenly.

use std::f64::consts::TAU;

use crate::error::Result;
use crate::gpu::Device;
use crate::tensor::Tensor;

/// The shape of a window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Window {
    /// 0.5 − 0.5 cos.
    #[default]
    Hann,
    /// 0.54 − 0.46 cos.
    Hamming,
    /// a − (1 − a) cos; Hamming's with a = 0.54, ONNX's HammingWindow with 25/46.
    GeneralHamming(f64),
    /// 0.42 − 0.5 cos + 0.08 cos of the double angle.
    Blackman,
    /// A triangle that is 0 at its ends.
    Bartlett,
    /// I₀(β √(1 − t²)) / I₀(β), t from −1 to 1.
    Kaiser(f64),
    /// Ones.
    Rectangular,
}

pub(super) const WINDOWS: &[&str] = &["hann", "hamming", "blackman", "bartlett", "rectangular"];

impl Window {
    pub(super) fn of(word: &str) -> Window {
        match word {
            "hamming" => Window::Hamming,
            "blackman" => Window::Blackman,
            "bartlett" => Window::Bartlett,
            "rectangular" => Window::Rectangular,
            _ => Window::Hann,
        }
    }

    /// `n` points; a window of one point is 1. Periodic Hann of 4 points: 0, 0.5, 1, 0.5; symmetric: 0, 0.75, 0.75, 0.
    ///
    /// Source: torch.signal.windows, scipy.signal.windows (`periodic` = not `sym`).
    pub fn points(self, n: usize, periodic: bool) -> Vec<f64> {
        if n == 1 {
            return vec![1.0];
        }
        let span = if periodic { n } else { n.saturating_sub(1) } as f64;
        (0..n)
            .map(|i| {
                let turn = i as f64 / span;
                let cos = |k: f64| (k * TAU * turn).cos();
                match self {
                    Window::Hann => 0.5 - 0.5 * cos(1.0),
                    Window::Hamming => 0.54 - 0.46 * cos(1.0),
                    Window::GeneralHamming(a) => a - (1.0 - a) * cos(1.0),
                    // The terms cancel at the ends but for a rounding.
                    Window::Blackman => (0.42 - 0.5 * cos(1.0) + 0.08 * cos(2.0)).max(0.0),
                    Window::Bartlett => 1.0 - (2.0 * turn - 1.0).abs(),
                    Window::Kaiser(beta) => {
                        let t = 2.0 * turn - 1.0;
                        bessel_i0(beta * (1.0 - t * t).max(0.0).sqrt()) / bessel_i0(beta)
                    }
                    Window::Rectangular => 1.0,
                }
            })
            .collect()
    }

    /// The same on a device, `[n]`.
    pub fn tensor(self, device: &Device, n: usize, periodic: bool) -> Result<Tensor> {
        let points: Vec<f32> = self.points(n, periodic).iter().map(|x| *x as f32).collect();
        Tensor::from_slice(device, &points, [n])
    }
}

/// The modified Bessel function of order 0, by its series: Σ ((x/2)ᵏ / k!)².
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1.. {
        term *= x / (2.0 * f64::from(k));
        sum += term * term;
        if !(term * term > 1e-17 * sum) {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (a, b) in got.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{got:?} {expected:?}");
        }
    }

    #[test]
    fn windows_have_their_known_points() {
        close(&Window::Hann.points(4, true), &[0.0, 0.5, 1.0, 0.5]);
        close(&Window::Hann.points(4, false), &[0.0, 0.75, 0.75, 0.0]);
        close(&Window::Hamming.points(4, true), &[0.08, 0.54, 1.0, 0.54]);
        close(&Window::Blackman.points(4, true), &[0.0, 0.34, 1.0, 0.34]);
        close(
            &Window::Bartlett.points(5, false),
            &[0.0, 0.5, 1.0, 0.5, 0.0],
        );
        // numpy.kaiser(3, 1): I0(1) = 1.2660658777520084.
        let end = 1.0 / 1.266_065_877_752_008_4;
        close(&Window::Kaiser(1.0).points(3, false), &[end, 1.0, end]);
        close(&Window::Rectangular.points(2, true), &[1.0, 1.0]);
        close(&Window::Hann.points(1, false), &[1.0]);
        assert!(Window::Hann.points(0, false).is_empty());
    }
}
