//! Variation of training items: on waveforms and on log-mel arrays `[mels, frames]` (row-major, a row per mel).
//!
//! Everything random comes from a [`Draws`], so the same item of the same epoch varies in the same way.

use crate::data::draws::Draws;
use crate::error::{Error, Result};

/// What a mask writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    Value(f32),
    /// The mean of the array before any mask.
    Mean,
}

/// Masks of frames and of mel bands: stripes of a random width at a random place.
///
/// A width is uniform in 0 ..= the maximum (at most the axis), its place uniform where it fits; masks may overlap.
/// Source: Park et al. 2019, arXiv:1904.08779, section 2, without the time warp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpecAugment {
    pub time_masks: u32,
    /// Widest time mask, in frames.
    pub max_frames: u32,
    pub mel_masks: u32,
    /// Widest frequency mask, in mel bands.
    pub max_mels: u32,
    pub fill: Fill,
}

impl SpecAugment {
    /// Masks an array in place.
    ///
    /// Errors: [`Error::Shape`] unless `x` has `mels · frames` elements.
    pub fn apply(
        &self,
        x: &mut [f32],
        mels: usize,
        frames: usize,
        draws: &mut Draws,
    ) -> Result<()> {
        check("spec_augment", x, mels, frames)?;
        if x.is_empty() {
            return Ok(());
        }
        let fill = match self.fill {
            Fill::Value(value) => value,
            Fill::Mean => (x.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64) as f32,
        };
        let mut stripe = |widest: u32, axis: usize| {
            let axis = u32::try_from(axis).unwrap_or(u32::MAX);
            let width = draws.below(widest.min(axis).saturating_add(1));
            let start = draws.below(axis - width + 1);
            start as usize..(start + width) as usize
        };
        for _ in 0..self.time_masks {
            let masked = stripe(self.max_frames, frames);
            x.chunks_exact_mut(frames)
                .for_each(|row| row[masked.clone()].fill(fill));
        }
        for _ in 0..self.mel_masks {
            let masked = stripe(self.max_mels, mels);
            x[masked.start * frames..masked.end * frames].fill(fill);
        }
        Ok(())
    }
}

/// What follows an array that is shorter than the piece that is cut of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pad<'a> {
    /// Its minimum: in a log-mel array, its silence.
    Minimum,
    /// A number for each mel band: the mean of a training set becomes 0 when the array is normalised.
    Bands(&'a [f32]),
}

/// `width` frames of an array from a random place, uniform where it fits; a shorter one is padded as in [`centre_crop`].
///
/// Shapes: `x [mels, frames]` → `[mels, width]`.
/// Errors: as [`centre_crop`].
pub fn random_crop(
    x: &[f32],
    mels: usize,
    frames: usize,
    width: usize,
    pad: Pad<'_>,
    draws: &mut Draws,
) -> Result<Vec<f32>> {
    let room = u32::try_from(frames.saturating_sub(width)).unwrap_or(u32::MAX - 1);
    crop(
        "random_crop",
        x,
        mels,
        frames,
        width,
        pad,
        draws.below(room + 1) as usize,
    )
}

/// The `width` middle frames of an array; one frame more is left out at the end if the rest is odd.
///
/// A shorter array keeps its place at the start and is followed by what `pad` says.
/// Shapes: `x [mels, frames]` → `[mels, width]`.
/// Errors: [`Error::Shape`] unless `x` has `mels · frames` elements, at least one, and `pad` a number for each band.
pub fn centre_crop(
    x: &[f32],
    mels: usize,
    frames: usize,
    width: usize,
    pad: Pad<'_>,
) -> Result<Vec<f32>> {
    crop(
        "centre_crop",
        x,
        mels,
        frames,
        width,
        pad,
        frames.saturating_sub(width) / 2,
    )
}

/// Pieces of `width` frames that overlap by half, the last one ending where the array does, so that no frame is left out.
///
/// An array of at most `width` frames is one piece, padded as in [`centre_crop`].
/// Shapes: `x [mels, frames]` → pieces `[mels, width]`.
/// Errors: as [`centre_crop`]; [`Error::Shape`] for a `width` of 0.
pub fn segments(
    x: &[f32],
    mels: usize,
    frames: usize,
    width: usize,
    pad: Pad<'_>,
) -> Result<Vec<Vec<f32>>> {
    (0..n_segments(frames, width))
        .map(|i| segment(x, mels, frames, width, pad, i))
        .collect()
}

/// Number of [`segments`] of an array of so many frames; at least one.
pub fn n_segments(frames: usize, width: usize) -> usize {
    let last = frames.saturating_sub(width);
    last.div_ceil(width.div_ceil(2).max(1)) + 1
}

/// One of the [`segments`], counted from 0; the last one for a higher number.
///
/// Errors: as [`segments`].
pub fn segment(
    x: &[f32],
    mels: usize,
    frames: usize,
    width: usize,
    pad: Pad<'_>,
    i: usize,
) -> Result<Vec<f32>> {
    if width == 0 {
        return Err(Error::shape("segment", "a segment of 0 frames".to_string()));
    }
    let start = i.saturating_mul(width.div_ceil(2));
    let last = frames.saturating_sub(width);
    crop("segment", x, mels, frames, width, pad, start.min(last))
}

fn crop(
    op: &'static str,
    x: &[f32],
    mels: usize,
    frames: usize,
    width: usize,
    pad: Pad<'_>,
    start: usize,
) -> Result<Vec<f32>> {
    check(op, x, mels, frames)?;
    if x.is_empty() {
        return Err(Error::shape(op, format!("x [{mels}, {frames}] is empty")));
    }
    let pads = match pad {
        Pad::Minimum => vec![x.iter().copied().fold(f32::INFINITY, f32::min); mels],
        Pad::Bands(bands) if bands.len() == mels => bands.to_vec(),
        Pad::Bands(bands) => {
            return Err(Error::shape(
                op,
                format!("pad has {} bands, x has {mels}", bands.len()),
            ));
        }
    };
    let mut out = Vec::with_capacity(mels * width);
    let taken = width.min(frames);
    for (row, pad) in x.chunks_exact(frames).zip(pads) {
        out.extend_from_slice(&row[start..start + taken]);
        out.extend(std::iter::repeat_n(pad, width - taken));
    }
    Ok(out)
}

/// Adds white Gaussian noise so that signal power / noise power is `snr_db`. Silence stays silence.
pub fn add_noise(samples: &mut [f32], snr_db: f32, draws: &mut Draws) {
    let power =
        samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
    let deviation = (power / 10f64.powf(f64::from(snr_db) / 10.0)).sqrt() as f32;
    if deviation > 0.0 && deviation.is_finite() {
        samples
            .iter_mut()
            .for_each(|x| *x += deviation * draws.normal());
    }
}

/// Multiplies by 10^(`gain_db` / 20); values may leave [−1, 1].
pub fn gain(samples: &mut [f32], gain_db: f32) {
    let factor = 10f32.powf(gain_db / 20.0);
    samples.iter_mut().for_each(|x| *x *= factor);
}

/// [`gain`] by a random number of decibels, uniform in the range; returns it.
pub fn random_gain(samples: &mut [f32], range_db: std::ops::Range<f32>, draws: &mut Draws) -> f32 {
    let chosen = draws.uniform(range_db.start, range_db.end);
    gain(samples, chosen);
    chosen
}

fn check(op: &'static str, x: &[f32], mels: usize, frames: usize) -> Result<()> {
    if mels.checked_mul(frames) == Some(x.len()) {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!("x has {} elements, expected [{mels}, {frames}]", x.len()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(item: usize) -> Draws {
        Draws::new(11, 2, item).unwrap()
    }

    fn ramp(mels: usize, frames: usize) -> Vec<f32> {
        (0..mels * frames).map(|i| i as f32 + 1.0).collect()
    }

    #[test]
    fn masks_are_stripes_within_their_widths() {
        let (mels, frames) = (9, 21);
        let mut widths = (
            std::collections::BTreeSet::new(),
            std::collections::BTreeSet::new(),
        );
        for item in 0..400 {
            let mask = |time, mel| {
                let augment = SpecAugment {
                    time_masks: time,
                    max_frames: 5,
                    mel_masks: mel,
                    max_mels: 3,
                    fill: Fill::Value(-1.0),
                };
                let mut x = ramp(mels, frames);
                augment
                    .apply(&mut x, mels, frames, &mut draws(item))
                    .unwrap();
                assert!(
                    x.iter()
                        .zip(ramp(mels, frames))
                        .all(|(a, b)| *a == -1.0 || *a == b)
                );
                x
            };
            let x = mask(1, 0);
            let masked: Vec<usize> = (0..frames).filter(|t| x[*t] == -1.0).collect();
            let same = |row: &[f32]| (0..frames).all(|t| (row[t] == -1.0) == masked.contains(&t));
            assert!(x.chunks_exact(frames).all(same));
            assert!(masked.windows(2).all(|w| w[1] == w[0] + 1));
            widths.0.insert(masked.len());
            let x = mask(0, 1);
            let rows: Vec<usize> = (0..mels).filter(|m| x[m * frames] == -1.0).collect();
            assert_eq!(
                x.iter().filter(|v| **v == -1.0).count(),
                rows.len() * frames
            );
            assert!(rows.windows(2).all(|w| w[1] == w[0] + 1));
            widths.1.insert(rows.len());
        }
        assert_eq!(widths.0, (0..=5).collect());
        assert_eq!(widths.1, (0..=3).collect());
    }

    #[test]
    fn a_mask_wider_than_the_axis_fits_it_and_the_mean_is_that_of_the_whole() {
        let augment = SpecAugment {
            time_masks: 3,
            max_frames: 100,
            mel_masks: 0,
            max_mels: 0,
            fill: Fill::Mean,
        };
        let masked = |item| {
            let mut x = ramp(2, 4);
            augment.apply(&mut x, 2, 4, &mut draws(item)).unwrap();
            x
        };
        let changed: Vec<Vec<f32>> = (0..50).map(masked).collect();
        assert!(
            changed.iter().any(|x| x.iter().all(|v| *v == 4.5)),
            "mean of 1 to 8"
        );
        assert_eq!(changed, (0..50).map(masked).collect::<Vec<_>>());
        let error = augment
            .apply(&mut [0.0; 7], 2, 4, &mut draws(0))
            .unwrap_err();
        assert!(
            error.to_string().contains("7 elements, expected [2, 4]"),
            "{error}"
        );
        augment.apply(&mut [], 0, 0, &mut draws(0)).unwrap();
    }

    #[test]
    fn crops_and_their_padding() {
        let x = [5.0, 6.0, 7.0, 8.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(
            centre_crop(&x, 2, 5, 3, Pad::Minimum).unwrap(),
            [6.0, 7.0, 8.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(
            centre_crop(&x, 2, 5, 2, Pad::Minimum).unwrap(),
            [6.0, 7.0, 2.0, 3.0]
        );
        let padded = [
            5.0, 6.0, 7.0, 8.0, 9.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 1.0,
        ];
        assert_eq!(centre_crop(&x, 2, 5, 7, Pad::Minimum).unwrap(), padded);
        let bands = centre_crop(&x, 2, 5, 6, Pad::Bands(&[-1.0, -2.0])).unwrap();
        assert_eq!((bands[5], bands[11]), (-1.0, -2.0));
        assert!(centre_crop(&x, 2, 5, 6, Pad::Bands(&[-1.0])).is_err());
        assert_eq!(
            random_crop(&x, 2, 5, 7, Pad::Minimum, &mut draws(0)).unwrap(),
            padded
        );
        let starts: std::collections::BTreeSet<u32> = (0..100)
            .map(|i| random_crop(&x, 2, 5, 3, Pad::Minimum, &mut draws(i)).unwrap()[0] as u32)
            .collect();
        assert_eq!(starts, [5, 6, 7].into());
        assert!(
            centre_crop(&x, 3, 5, 3, Pad::Minimum).is_err()
                && centre_crop(&[], 0, 0, 3, Pad::Minimum).is_err()
        );
        assert_eq!(segments(&x, 2, 5, 7, Pad::Minimum).unwrap(), [padded]);
        let pieces = segments(&x, 2, 5, 4, Pad::Minimum).unwrap();
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0], [x[0], x[1], x[2], x[3], x[5], x[6], x[7], x[8]]);
        assert_eq!(pieces[1], [x[1], x[2], x[3], x[4], x[6], x[7], x[8], x[9]]);
        // By half: from 0, 1, 2 and 3.
        assert_eq!(segments(&x, 2, 5, 2, Pad::Minimum).unwrap().len(), 4);
        assert!(
            segments(&x, 2, 5, 0, Pad::Minimum).is_err()
                && segments(&[], 0, 0, 3, Pad::Minimum).is_err()
        );
        assert!(centre_crop(&x, 2, 5, 0, Pad::Minimum).unwrap().is_empty());
    }

    #[test]
    fn noise_has_the_ratio_asked_for() {
        let clean: Vec<f32> = (0..20_000).map(|i| (i as f32 * 0.1).sin()).collect();
        let mut noisy = clean.clone();
        add_noise(&mut noisy, 12.0, &mut draws(0));
        let power = |x: &[f32]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let noise: Vec<f32> = noisy.iter().zip(&clean).map(|(a, b)| a - b).collect();
        let snr_db = 10.0 * (power(&clean) / power(&noise)).log10();
        // Power of 20,000 normal numbers: deviation 1 %, 0.043 dB.
        assert!((snr_db - 12.0).abs() < 0.2, "{snr_db}");
        let mut silence = [0.0; 5];
        add_noise(&mut silence, 12.0, &mut draws(0));
        assert_eq!(silence, [0.0; 5]);
        add_noise(&mut [], 12.0, &mut draws(0));
    }

    #[test]
    fn gains_are_in_decibels() {
        let mut x = [1.0f32, -0.5];
        gain(&mut x, 20.0);
        assert_eq!(x, [10.0, -5.0]);
        let db = random_gain(&mut x, -6.0..6.0, &mut draws(3));
        assert!((-6.0..6.0).contains(&db) && (x[0] / 10.0 - 10f32.powf(db / 20.0)).abs() < 1e-6);
    }
}
