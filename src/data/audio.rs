//! Sound files: WAV and FLAC to mono samples, and 16-bit WAV back. Knows no corpus and no features.
//!
//! symphonia decodes. The chunks of a WAV file are found here: its own reader is lenient about lengths, so that a cut file
//! passes for a shorter recording, and panics on some channel masks, which a mean over channels has no use for. Of a
//! FLAC file, the number of samples that the header promises and the MD5 sum are held against what came out.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia_bundle_flac::{FlacDecoder, FlacReader};
use symphonia_codec_pcm::PcmDecoder;
use symphonia_core::audio::Channels;
use symphonia_core::audio::{Audio as _, GenericAudioBufferRef};
use symphonia_core::codecs::CodecParameters;
use symphonia_core::codecs::audio::well_known as codec;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder as _, AudioDecoderOptions};
use symphonia_core::formats::{FormatOptions, FormatReader as _};
use symphonia_core::io::MediaSourceStream;
use symphonia_core::packet::Packet;
use symphonia_core::units::{Duration, Timestamp};

use crate::disk;
use crate::error::{Error, Result};

/// A mono recording.
///
/// Samples of integer files are in [−1, 1): the integer divided by 2^(bits − 1). Those of float files are as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    pub samples: Vec<f32>,
    pub sample_rate_hz: u32,
}

/// Most channels that a file may have.
const MAX_CHANNELS: u16 = 32;

/// Sample rates that are believed.
const RATES_HZ: std::ops::RangeInclusive<u32> = 100..=1_000_000;

impl Clip {
    /// Reads a WAV (PCM of 8, 16, 24 or 32 bits, float of 32 or 64 bits, A-law, µ-law; plain or extensible header) or a
    /// FLAC file, told apart by content. Channels are averaged.
    ///
    /// Errors: [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is neither, is cut short, contradicts
    /// its header or checksum, holds no sample, a sample that is not finite, or silence (all samples equal).
    pub fn read(file: impl AsRef<Path>) -> Result<Clip> {
        let file = file.as_ref();
        let bytes = std::fs::read(file).map_err(|e| Error::io(file, &e))?;
        Clip::decode(&bytes).map_err(|message| Error::format(file, message))
    }

    /// The same from the bytes of a file; the error is the message alone.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Clip, String> {
        let read: fn(&[u8]) -> Result<Clip, String> = match bytes {
            [] => return Err("empty file".into()),
            [b'R', b'I', b'F', b'F', ..] => read_wav,
            [b'f', b'L', b'a', b'C', ..] => read_flac,
            [b'R', b'I', b'F', b'X', ..] | [b'R', b'F', b'6', b'4', ..] => {
                return Err("big-endian or 64-bit WAV, expected RIFF".into());
            }
            [b'I', b'D', b'3', ..] => return Err("an ID3 tag, expected WAV or FLAC".into()),
            _ => return Err("neither WAV nor FLAC: it begins with neither RIFF nor fLaC".into()),
        };
        // The decoder is not ours: should it panic on some crafted file, that is a bad file all the same.
        let decoded = catch_unwind(AssertUnwindSafe(|| read(bytes)));
        let clip = decoded.unwrap_or_else(|_| Err("the decoder gave up on it".into()))?;
        let Some((&first, rest)) = clip.samples.split_first() else {
            return Err("no samples: zero-length audio".into());
        };
        if let Some(i) = clip.samples.iter().position(|x| !x.is_finite()) {
            return Err(format!(
                "sample {i} is {}, expected a finite number",
                clip.samples[i]
            ));
        }
        if rest.iter().all(|&x| x == first) {
            return Err(format!(
                "silent audio: all {} samples are {first}",
                clip.samples.len()
            ));
        }
        Ok(clip)
    }

    /// Writes mono PCM of 16 bits: samples are clipped to [−1, 1], scaled by 32767 and rounded.
    ///
    /// Errors: [`Error::Io`] if the file cannot be written; [`Error::Format`] if it would not fit into 4 GiB.
    pub fn write_wav(&self, file: impl AsRef<Path>) -> Result<()> {
        let file = file.as_ref();
        let bytes = self
            .wav_bytes()
            .ok_or_else(|| Error::format(file, "more samples than a WAV file can hold"))?;
        disk::write_by_rename(file, &bytes).map_err(|e| Error::io(file, &e))
    }

    fn wav_bytes(&self) -> Option<Vec<u8>> {
        let length = u32::try_from(self.samples.len().checked_mul(2)?).ok()?;
        let rate = self.sample_rate_hz;
        let mut out = Vec::with_capacity(44 + length as usize);
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&length.checked_add(36)?.to_le_bytes());
        out.extend_from_slice(b"WAVEfmt ");
        out.extend_from_slice(&16u32.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes()); // PCM
        out.extend_from_slice(&1u16.to_le_bytes()); // channels
        out.extend_from_slice(&rate.to_le_bytes());
        out.extend_from_slice(&rate.checked_mul(2)?.to_le_bytes());
        out.extend_from_slice(&2u16.to_le_bytes()); // bytes per frame
        out.extend_from_slice(&16u16.to_le_bytes()); // bits per sample
        out.extend_from_slice(b"data");
        out.extend_from_slice(&length.to_le_bytes());
        for x in &self.samples {
            let word = (f64::from(*x).clamp(-1.0, 1.0) * 32767.0).round() as i16;
            out.extend_from_slice(&word.to_le_bytes());
        }
        Some(out)
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate_hz)
    }

    /// This recording at another rate: `ceil(n · target / rate)` samples, the first at the same instant.
    ///
    /// A windowed sinc of 32 zero crossings on each side (Kaiser, β = 9: stop band below −90 dB), cut off at 0.92 of the
    /// lower Nyquist frequency; outside of the recording is silence.
    /// Errors: [`Error::Attribute`] if `target_hz` is 0.
    /// Source: Smith 2002, "Digital Audio Resampling", and Kaiser 1974.
    pub fn resample(&self, target_hz: u32) -> Result<Clip> {
        if target_hz == 0 || self.sample_rate_hz == 0 {
            return Err(Error::attribute(
                "resample",
                format!("from {} Hz to {target_hz} Hz", self.sample_rate_hz),
            ));
        }
        if target_hz == self.sample_rate_hz {
            return Ok(self.clone());
        }
        let divisor = gcd(u64::from(target_hz), u64::from(self.sample_rate_hz));
        let up = u64::from(target_hz) / divisor;
        let down = u64::from(self.sample_rate_hz) / divisor;
        let n_in = self.samples.len();
        let n_out = (n_in as u64).saturating_mul(up).div_ceil(down);
        // In units of the input's Nyquist frequency.
        let cutoff = 0.92 * (up as f64 / down as f64).min(1.0);
        let reach = (32.0 / cutoff).ceil() as i64;
        // Taps depend on the fraction of a sample only, of which there are `up`; those of 44.1 to 16 kHz are 160.
        let tap = |phase: u64, k: i64| {
            let t = k as f64 - phase as f64 / up as f64;
            let x = std::f64::consts::PI * cutoff * t;
            let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
            let edge = t / (reach as f64 + 1.0);
            let window = bessel_i0(9.0 * (1.0 - edge * edge).max(0.0).sqrt()) / bessel_i0(9.0);
            cutoff * sinc * window
        };
        let row = 2 * reach as usize + 1;
        let tabled = up <= 4096;
        let table: Vec<f64> = (0..if tabled { up } else { 0 })
            .flat_map(|phase| (-reach..=reach).map(move |k| (phase, k)))
            .map(|(phase, k)| tap(phase, k))
            .collect();
        let mut samples = Vec::with_capacity(usize::try_from(n_out).unwrap_or(0));
        for i in 0..n_out {
            let (centre, phase) = ((i * down / up) as i64, (i * down) % up);
            let mut sum = 0.0f64;
            for k in -reach..=reach {
                let at = centre + k;
                if at < 0 || at >= n_in as i64 {
                    continue;
                }
                let weight = match tabled {
                    true => table[phase as usize * row + (k + reach) as usize],
                    false => tap(phase, k),
                };
                sum += weight * f64::from(self.samples[at as usize]);
            }
            samples.push(sum as f32);
        }
        Ok(Clip {
            samples,
            sample_rate_hz: target_hz,
        })
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..60 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

/// What the header of a WAV file says, and its samples.
struct Wav<'a> {
    /// 1: integers, 3: floats, 6: A-law, 7: µ-law.
    code: u16,
    channels: u16,
    rate_hz: u32,
    bits: u16,
    data: &'a [u8],
}

/// Finds the format and the samples; refuses a file whose chunks reach past its end or whose format makes no sense.
///
/// Source: Microsoft 1991 and 1994, "Multimedia Programming Interface and Data Specifications", RIFF and WAVE.
fn parse_wav(bytes: &[u8]) -> Result<Wav<'_>, String> {
    let u32_at = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
    };
    let u16_at = |at: usize| -> Option<u16> {
        Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
    };
    let cut = || format!("cut short: a WAV header of {} bytes", bytes.len());
    let promised = u32_at(4).ok_or_else(cut)?;
    if bytes.get(8..12).ok_or_else(cut)? != b"WAVE" {
        return Err("RIFF, but not WAVE".into());
    }
    let there = bytes.len() as u64 - 8;
    if u64::from(promised) > there {
        return Err(format!(
            "cut short: the header promises {promised} bytes, {there} follow it"
        ));
    }
    let end = 8 + promised as usize;
    let mut format = None;
    let mut at = 12;
    while at < end {
        let cut_chunk = || format!("cut short: a chunk begins at byte {at} of {end}");
        let length = u32_at(at + 4)
            .filter(|_| at + 8 <= end)
            .ok_or_else(cut_chunk)? as usize;
        let name: String = bytes[at..at + 4].escape_ascii().to_string();
        if length > end - at - 8 {
            return Err(format!(
                "chunk {name:?} promises {length} bytes, {} follow it",
                end - at - 8
            ));
        }
        match &bytes[at..at + 4] {
            b"fmt " => {
                if length < 16 {
                    return Err(format!(
                        "a format chunk of {length} bytes, expected 16 or more"
                    ));
                }
                let field = |i| u16_at(at + 8 + i).ok_or_else(cut);
                let (code, channels, bits) = (field(0)?, field(2)?, field(14)?);
                let rate = u32_at(at + 12).ok_or_else(cut)?;
                let code = match code {
                    0xfffe if length < 40 => {
                        return Err(format!(
                            "an extensible format chunk of {length} bytes, expected 40"
                        ));
                    }
                    0xfffe => field(24)?,
                    code => code,
                };
                if !matches!(
                    (code, bits),
                    (1, 8 | 16 | 24 | 32) | (3, 32 | 64) | (6 | 7, 8)
                ) {
                    return Err(format!(
                        "WAV format {code} of {bits} bits, expected PCM (1) of 8, 16, 24 or 32, float (3) of 32 or 64"
                    ));
                }
                if !(1..=MAX_CHANNELS).contains(&channels) {
                    return Err(format!("{channels} channels, expected 1 to {MAX_CHANNELS}"));
                }
                if !RATES_HZ.contains(&rate) {
                    return Err(format!("a sample rate of {rate} Hz"));
                }
                let expected = channels * (bits / 8);
                if field(12)? != expected {
                    return Err(format!(
                        "{} bytes per frame, expected {expected}: {channels} channels of {bits} bits",
                        field(12)?
                    ));
                }
                format = Some((code, channels, rate, bits));
            }
            b"data" => {
                let Some((code, channels, rate_hz, bits)) = format else {
                    return Err("the samples come before their format".into());
                };
                let frame = usize::from(channels * (bits / 8));
                if length % frame != 0 {
                    return Err(format!(
                        "{length} bytes of samples are no multiple of a frame of {frame}"
                    ));
                }
                return Ok(Wav {
                    code,
                    channels,
                    rate_hz,
                    bits,
                    data: &bytes[at + 8..at + 8 + length],
                });
            }
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    Err("no samples: there is no data chunk".into())
}

fn read_wav(bytes: &[u8]) -> Result<Clip, String> {
    let wav = parse_wav(bytes)?;
    let codec = match (wav.code, wav.bits) {
        (1, 8) => codec::CODEC_ID_PCM_U8,
        (1, 16) => codec::CODEC_ID_PCM_S16LE,
        (1, 24) => codec::CODEC_ID_PCM_S24LE,
        (1, _) => codec::CODEC_ID_PCM_S32LE,
        (3, 32) => codec::CODEC_ID_PCM_F32LE,
        (3, _) => codec::CODEC_ID_PCM_F64LE,
        (6, _) => codec::CODEC_ID_PCM_ALAW,
        _ => codec::CODEC_ID_PCM_MULAW,
    };
    let mut parameters = AudioCodecParameters::new();
    parameters
        .for_codec(codec)
        .with_sample_rate(wav.rate_hz)
        .with_channels(Channels::Discrete(wav.channels));
    let mut decoder =
        PcmDecoder::try_new(&parameters, &AudioDecoderOptions::default()).map_err(told)?;
    let frame = usize::from(wav.channels * (wav.bits / 8));
    let mut samples = Vec::with_capacity(wav.data.len() / frame);
    // Pieces, so that the planes of the decoder stay small.
    for piece in wav.data.chunks(frame << 14) {
        let packet = Packet::new(0, Timestamp::ZERO, Duration::ZERO, piece);
        mix(&decoder.decode(&packet).map_err(told)?, &mut samples)?;
    }
    Ok(Clip {
        samples,
        sample_rate_hz: wav.rate_hz,
    })
}

/// A FLAC file without its metadata (pictures, tags, whose lengths may lie), but for STREAMINFO.
///
/// Source: RFC 9639, sections 6 to 8.
fn bare_flac(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut at = 4;
    let mut bare = b"fLaC".to_vec();
    loop {
        let cut = || "cut short: the file ends in its metadata".to_string();
        let &[kind, high, middle, low] = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(cut)?;
        let end = at + 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
        let block = bytes.get(at..end).ok_or_else(cut)?;
        match (at, kind & 0x7f, block.len()) {
            (4, 0, 38) => bare.extend_from_slice(block),
            (4, ..) | (_, 0, _) => {
                return Err(
                    "a FLAC file begins with one STREAMINFO of 34 bytes, this one does not".into(),
                );
            }
            _ => {}
        }
        at = end;
        if kind & 0x80 != 0 {
            break;
        }
    }
    bare[4] |= 0x80; // now the last block
    bare.extend_from_slice(&bytes[at..]);
    Ok(bare)
}

fn read_flac(bytes: &[u8]) -> Result<Clip, String> {
    let bare = bare_flac(bytes)?;
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bare)), Default::default());
    let mut reader = FlacReader::try_new(stream, FormatOptions::default()).map_err(told)?;
    let track = reader.tracks().first().ok_or("no track")?;
    let promised = track.num_frames;
    let Some(CodecParameters::Audio(parameters)) = track.codec_params.clone() else {
        return Err("no sound in it".into());
    };
    let rate = parameters.sample_rate.unwrap_or(0);
    if !RATES_HZ.contains(&rate) {
        return Err(format!("a sample rate of {rate} Hz"));
    }
    let options = AudioDecoderOptions::default().verify(true);
    let mut decoder = FlacDecoder::try_new(&parameters, &options).map_err(told)?;
    let mut samples = Vec::new();
    loop {
        match reader.next_packet() {
            Ok(None) => break,
            Ok(Some(packet)) => mix(&decoder.decode(&packet).map_err(told)?, &mut samples)?,
            Err(error) if ended(&error) => break,
            Err(error) => return Err(told(error)),
        }
    }
    // A length of 0 says that the encoder did not know it.
    if let Some(n) = promised.filter(|&n| n != 0 && n != samples.len() as u64) {
        return Err(format!(
            "cut short or damaged: the header promises {n} samples, {} were found",
            samples.len()
        ));
    }
    if decoder.finalize().verify_ok == Some(false) {
        return Err("damaged: the samples do not match the file's MD5 sum".into());
    }
    Ok(Clip {
        samples,
        sample_rate_hz: rate,
    })
}

fn ended(error: &symphonia_core::errors::Error) -> bool {
    matches!(error, symphonia_core::errors::Error::IoError(e)
        if e.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// A decoder's error in our words, on one line.
fn told(error: symphonia_core::errors::Error) -> String {
    match ended(&error) {
        true => "cut short: the file ends in the middle".into(),
        false => error.to_string().replace('\n', " "),
    }
}

/// Appends the mean over channels of each frame.
fn mix(buffer: &GenericAudioBufferRef, samples: &mut Vec<f32>) -> Result<(), String> {
    macro_rules! mean {
        ($buffer:expr, $scale:expr, $to_f64:expr) => {{
            let n_channels = $buffer.num_planes();
            let start = samples.len();
            samples.resize(start + $buffer.frames(), 0.0);
            if n_channels == 1 {
                for (y, x) in samples[start..]
                    .iter_mut()
                    .zip($buffer.plane(0).unwrap_or(&[]))
                {
                    *y = ($to_f64(*x) / $scale) as f32;
                }
            } else {
                let factor = $scale * n_channels as f64;
                for (i, y) in samples[start..].iter_mut().enumerate() {
                    let sum: f64 = $buffer.iter_planes().map(|p| $to_f64(p[i])).sum();
                    *y = (sum / factor) as f32;
                }
            }
        }};
    }
    const TWO_31: f64 = 2_147_483_648.0;
    match buffer {
        GenericAudioBufferRef::U8(b) => mean!(b, 128.0, |x: u8| f64::from(x) - 128.0),
        GenericAudioBufferRef::S16(b) => mean!(b, 32_768.0, f64::from),
        GenericAudioBufferRef::S24(b) => {
            mean!(b, 8_388_608.0, |x: symphonia_core::audio::sample::i24| {
                f64::from(x.inner())
            })
        }
        GenericAudioBufferRef::S32(b) => mean!(b, TWO_31, f64::from),
        GenericAudioBufferRef::F32(b) => mean!(b, 1.0, f64::from),
        GenericAudioBufferRef::F64(b) => mean!(b, 1.0, |x: f64| x),
        _ => return Err("samples of a kind that WAV and FLAC do not have".into()),
    }
    Ok(())
}
