//! From recordings to log-mel spectrograms, on the device.

use std::path::Path;

use serde_json::{Value, json};

use crate::data::Clip;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::ops::signal::{MelFilters, Stft};
use crate::tape::no_grad;
use crate::tensor::Tensor;
use crate::train::spectrograms::Spectrogram;

/// How a log-mel spectrogram is made: power of a short-time spectrum with a periodic Hann window, HTK mel bands from 0 to
/// half the sample rate, natural logarithm of band + 1e-6.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontEnd {
    pub sample_rate_hz: u32,
    pub n_fft: usize,
    pub hop: usize,
    pub mels: usize,
}

impl Default for FrontEnd {
    /// 16 kHz, frames of 25 ms every 10 ms, 64 bands.
    fn default() -> Self {
        FrontEnd {
            sample_rate_hz: 16_000,
            n_fft: 400,
            hop: 160,
            mels: 64,
        }
    }
}

/// Keeps the logarithm of silence finite: −13.8.
const FLOOR: f64 = 1e-6;

impl FrontEnd {
    /// The spectrogram of a recording; one of another sample rate is resampled first.
    ///
    /// Errors: those of [`Clip::read`]; [`Error::Format`] for less than a quarter of the sample rate, which leaves most bands
    /// empty, or fewer samples than half a frame.
    pub fn read(&self, device: &Device, file: &Path) -> Result<Spectrogram> {
        let clip = Clip::read(file)?;
        let lowest_hz = self.sample_rate_hz / 4;
        if clip.sample_rate_hz < lowest_hz {
            return Err(Error::format(
                file,
                format!(
                    "{} Hz, expected at least {lowest_hz} Hz",
                    clip.sample_rate_hz
                ),
            ));
        }
        let clip = clip.resample(self.sample_rate_hz)?;
        let least = self.n_fft / 2 + 1;
        if clip.samples.len() < least {
            return Err(Error::format(
                file,
                format!("{} samples, expected at least {least}", clip.samples.len()),
            ));
        }
        if clip.samples.iter().all(|x| *x == 0.0) {
            return Err(Error::format(
                file,
                "nothing but silence: every sample is 0",
            ));
        }
        self.log_mel(device, &clip.samples)
    }

    /// The spectrogram of samples in [−1, 1].
    ///
    /// Errors: those of [`Tensor::stft`]; [`Error::NotFinite`] if it has a NaN.
    pub fn log_mel(&self, device: &Device, samples: &[f32]) -> Result<Spectrogram> {
        let mut all = self.log_mels(device, samples, samples.len())?;
        all.pop().ok_or_else(|| Error::Empty {
            op: "log_mel",
            message: "there are no samples".to_string(),
        })
    }

    /// The spectrograms of recordings of one length, one after the other in `samples`.
    ///
    /// Errors: as [`log_mel`](Self::log_mel); [`Error::Shape`] if `samples` is no multiple of `length`.
    pub fn log_mels(
        &self,
        device: &Device,
        samples: &[f32],
        length: usize,
    ) -> Result<Vec<Spectrogram>> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        if length == 0 || !samples.len().is_multiple_of(length) {
            return Err(Error::shape(
                "log_mel",
                format!("{} samples are no recordings of {length}", samples.len()),
            ));
        }
        let bands = no_grad(|| {
            Tensor::from_slice(device, samples, [samples.len() / length, length])?
                .stft(Stft::new(self.n_fft).hop(self.hop))?
                .power()?
                .mel_with(&MelFilters::new(f64::from(self.sample_rate_hz), self.mels))?
                .add(FLOOR)?
                .log()
        })?;
        let values = bands.to_vec::<f32>()?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite {
                what: "a log-mel spectrogram".to_string(),
                step: None,
            });
        }
        let frames = bands.shape()[2];
        Ok(values
            .chunks_exact(self.mels * frames)
            .map(|values| Spectrogram {
                mels: self.mels,
                frames,
                values: values.to_vec(),
            })
            .collect())
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "sample_rate_hz": self.sample_rate_hz,
            "n_fft": self.n_fft,
            "hop": self.hop,
            "mels": self.mels,
        })
    }

    /// Nothing for numbers that no recording needs: tables and resampled sound would take any memory.
    pub(crate) fn of_json(value: &Value) -> Option<Self> {
        let size = |key: &str, most: u64| {
            let number = value[key].as_u64()?;
            (1..=most).contains(&number).then_some(number as usize)
        };
        Some(FrontEnd {
            sample_rate_hz: size("sample_rate_hz", 1_000_000)? as u32,
            n_fft: size("n_fft", 65_536)?,
            hop: size("hop", 65_536)?,
            mels: size("mels", 1024)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_lies_are_not() {
        let usual = FrontEnd::default();
        assert_eq!(FrontEnd::of_json(&usual.to_json()), Some(usual.clone()));
        for key in ["sample_rate_hz", "n_fft", "hop", "mels"] {
            for lie in [json!(0), json!(1u64 << 40), json!("many"), Value::Null] {
                let mut value = usual.to_json();
                value[key] = lie;
                assert_eq!(FrontEnd::of_json(&value), None, "{value}");
            }
        }
    }
}
