//! `affekt spectrogram`: a picture of a recording.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use affekt::data::Clip;
use affekt::gpu::Limits;
use affekt::train::FrontEnd;
use affekt::train::picture::spectrogram_png;
use clap::Args;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::print;
use crate::session::Session;

/// Draw the log-mel spectrogram of a recording
#[derive(Args)]
#[command(
    after_help = "Time runs to the right, low bands are at the bottom, light is loud.\n\n\
                  Example:\n  affekt spectrogram hello.wav hello.png --mels 80"
)]
pub struct Spectrogram {
    /// A WAV or FLAC file
    input: PathBuf,
    /// The PNG file to write
    output: PathBuf,
    /// Mel bands
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..=1024))]
    mels: u16,
    /// Samples of a frame; 25 ms if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    n_fft: Option<u32>,
    /// Samples from one frame to the next; 10 ms if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    hop: Option<u32>,
    /// Pixels of an element along each side
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    scale: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Spectrogram {
    pub fn run(&self, session: &Session) -> Outcome {
        let clip = Clip::read(&self.input)?;
        let samples_of = |ms: u32| (u64::from(clip.sample_rate_hz) * u64::from(ms) / 1000) as u32;
        // Mel bands are those of an even number of samples.
        let n_fft = self
            .n_fft
            .unwrap_or(samples_of(25))
            .next_multiple_of(2)
            .max(4);
        let front_end = FrontEnd {
            sample_rate_hz: clip.sample_rate_hz,
            n_fft: n_fft as usize,
            hop: self.hop.unwrap_or(samples_of(10)).max(1) as usize,
            mels: usize::from(self.mels),
        };
        let device = session.open(Limits::Full)?;
        let spectrogram = front_end.read(&device, &self.input)?;
        let (mels, frames) = (spectrogram.mels, spectrogram.frames);
        let png = spectrogram_png(
            &spectrogram.values,
            mels,
            frames,
            usize::from(self.scale),
            None,
        )?;
        fs::write(&self.output, png)
            .map_err(|e| Failure::Wrong(format!("{}: {e}", self.output.display())))?;
        let mut out = io::stdout().lock();
        if self.json {
            let object = json!({
                "file": self.output.display().to_string(),
                "seconds": clip.seconds(),
                "sample_rate_hz": clip.sample_rate_hz,
                "n_fft": front_end.n_fft,
                "hop": front_end.hop,
                "mels": mels,
                "frames": frames,
                "device": device.adapter().label(),
            });
            print::json(&mut out, &object)?;
        } else {
            writeln!(
                out,
                "{}: {mels} bands, {frames} frames, {:.2} s",
                self.output.display(),
                clip.seconds()
            )?;
        }
        Ok(out.flush()?)
    }
}
