//! Fourier transforms against rustfft in f64, spectra and filters against published references, and identities that
//! hold for signals of any content.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use affekt::gpu::Limits;
use affekt::ops::probe::Numbers;
use affekt::signal::{
    Continuation, Decibels, MelFilters, MelNorm, MelScale, Norm, Reference, Stft, Window,
};
use affekt::tensor::file;
use affekt::{Device, Result, Tensor};
use libtest_mimic::{Failed, Trial};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Largest relative error, root mean square, of a transform of random complex numbers. Observed: 2.1e-7 up to
/// 4096, 1.7e-7 of 2²⁰, 2.6e-7 of other long ones.
const MOST_RMS: f64 = 5e-7;

type Test = fn(&Device) -> std::result::Result<(), Failed>;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let on_device: &[(&str, Test)] = &[
        ("fft/every length to 4096", |d| sweep(d, 1..=4096)),
        ("fft/powers of 2 to 2^20", |d| {
            sweep(d, (13..=20).map(|k| 1 << k))
        }),
        ("fft/lengths beyond one pass", |d| {
            sweep(d, [4097, 6561, 16_807, 44_100, 65_537, 99_991, 262_143])
        }),
        ("fft/inverse and norms", inverse_and_norms),
        ("rfft/every length to 600", real_lengths),
        ("stft/a sine peaks in its bin", sine),
        ("stft/energy per frame", parseval),
        ("stft/istft round trip", round_trip),
        ("stft/a window that is a tensor", window_tensor),
        ("istft/refuses a vanishing envelope of a tensor", vanishing),
        ("decibel/largest is 0 dB", against_largest),
        ("mel/gradient descent reaches a spectrum", descent),
    ];
    for (profile, device) in support::profiles() {
        for &(name, test) in on_device {
            let name = format!("signal/{profile}/{name}");
            tests.push(match &device {
                Err(reason) => support::absent(&name, "adapter", reason),
                Ok(device) => {
                    let device = device.clone();
                    Trial::test(name, move || test(&device))
                }
            });
        }
    }
    tests.push(Trial::test("signal/mel/empty filters", empty_filters));
    for (folder, name, test) in [
        (
            "reference-librosa",
            "signal/reference/spectra of librosa",
            librosa_spectra as fn(&Device, &Path) -> std::result::Result<(), Failed>,
        ),
        (
            "reference-librosa",
            "signal/reference/filters of librosa",
            librosa_filters,
        ),
        (
            "reference-whisper-mel",
            "signal/reference/filters of whisper",
            whisper_filters,
        ),
    ] {
        tests.push(match (support::data(folder), support::open(Limits::Full)) {
            (Err(reason), _) => support::absent(name, "data", &reason),
            (_, Err(reason)) => support::absent(name, "adapter", &reason),
            (Ok(folder), Ok(device)) => {
                let folder: PathBuf = folder;
                Trial::test(name, move || test(&device, &folder))
            }
        });
    }
    support::run(tests, &["signal/".to_string()])
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut numbers = Numbers::new(seed);
    (0..n)
        .map(|_| (2.0 * numbers.unit() - 1.0) as f32)
        .collect()
}

/// √(Σ|got − expected|² / Σ|expected|²); NaN if a number is.
fn relative_rms(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let pairs = got.iter().zip(expected);
    let error: f64 = pairs.map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|b| b * b).sum();
    (error / size).sqrt()
}

/// The transform in f64.
fn reference(x: &[f32], inverse: bool) -> Vec<f64> {
    let mut planner = FftPlanner::<f64>::new();
    let n = x.len() / 2;
    let fft = match inverse {
        true => planner.plan_fft_inverse(n),
        false => planner.plan_fft_forward(n),
    };
    let mut z: Vec<Complex<f64>> = x
        .chunks(2)
        .map(|z| Complex::new(f64::from(z[0]), f64::from(z[1])))
        .collect();
    fft.process(&mut z);
    z.into_iter().flat_map(|z| [z.re, z.im]).collect()
}

fn sweep(
    device: &Device,
    lengths: impl IntoIterator<Item = usize>,
) -> std::result::Result<(), Failed> {
    let mut worst = (0.0, 0);
    for n in lengths {
        let x = noise(2 * n, n as u64);
        let got: Vec<f32> = Tensor::from_slice(device, &x, [n, 2])?.fft()?.to_vec()?;
        let error = relative_rms(&got, &reference(&x, false));
        if !(error <= MOST_RMS) {
            return Err(format!("length {n}: relative error {error:e}").into());
        }
        if error > worst.0 {
            worst = (error, n);
        }
    }
    eprintln!(
        "largest relative error {:.2e} at length {}",
        worst.0, worst.1
    );
    Ok(())
}

fn inverse_and_norms(device: &Device) -> std::result::Result<(), Failed> {
    for n in [1usize, 2, 15, 64, 97, 1000, 1021, 4096] {
        let x = noise(2 * n, 77 + n as u64);
        let tensor = Tensor::from_slice(device, &x, [n, 2])?;
        let root = 1.0 / (n as f64).sqrt();
        for (norm, forward, inverse) in [
            (Norm::Backward, 1.0, 1.0 / n as f64),
            (Norm::Ortho, root, root),
            (Norm::Forward, 1.0 / n as f64, 1.0),
        ] {
            for (way, scale) in [(false, forward), (true, inverse)] {
                let got: Vec<f32> = match way {
                    false => tensor.fft_with(None, norm)?,
                    true => tensor.ifft_with(None, norm)?,
                }
                .to_vec()?;
                let expected: Vec<f64> =
                    reference(&x, way).into_iter().map(|y| y * scale).collect();
                let error = relative_rms(&got, &expected);
                if !(error <= MOST_RMS) {
                    return Err(format!("{n}, {norm:?}, inverse {way}: {error:e}").into());
                }
            }
        }
    }
    Ok(())
}

/// Half spectra are those of complex numbers without imaginary parts, and lead back.
fn real_lengths(device: &Device) -> std::result::Result<(), Failed> {
    for n in (1..=200).chain((201..=600).step_by(7)) {
        let x = noise(n, n as u64);
        let complex: Vec<f32> = x.iter().flat_map(|x| [*x, 0.0]).collect();
        let half = Tensor::from_slice(device, &x, [n])?.rfft()?;
        let got: Vec<f32> = half.to_vec()?;
        let error = relative_rms(&got, &reference(&complex, false)[..2 * (n / 2 + 1)]);
        let back: Vec<f32> = half.irfft(n)?.to_vec()?;
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let error_back = relative_rms(&back, &x);
        if !(error <= MOST_RMS && error_back <= 2.0 * MOST_RMS) {
            return Err(format!("length {n}: {error:e} there, {error_back:e} back").into());
        }
    }
    Ok(())
}

/// A sine of amplitude A in the middle of a bin: the sum of the window times A/2 there, half of that beside it.
fn sine(device: &Device) -> std::result::Result<(), Failed> {
    let (n, bin) = (512, 37.0);
    let x: Vec<f32> = (0..8 * n)
        .map(|i| (0.7 * (std::f64::consts::TAU * bin * i as f64 / n as f64).sin()) as f32)
        .collect();
    let spectrum = Tensor::from_slice(device, &x, [x.len()])?
        .stft(Stft::new(n).center(false))?
        .magnitude()?;
    let frames = spectrum.shape()[1];
    let got: Vec<f32> = spectrum.to_vec()?;
    for t in 0..frames {
        for (k, size) in [(36, 0.5), (37, 1.0), (38, 0.5), (39, 0.0), (200, 0.0)] {
            let expected = size * 0.7 * n as f64 / 4.0;
            let error = (f64::from(got[k * frames + t]) - expected).abs();
            if !(error < 1e-3) {
                return Err(format!("frame {t}, bin {k}: off by {error:e}").into());
            }
        }
    }
    Ok(())
}

/// Σₖ c[k] |X[k]|² = n Σ |w x|² for every frame.
fn parseval(device: &Device) -> std::result::Result<(), Failed> {
    for n in [400usize, 401, 512] {
        let x = noise(4 * n, 5);
        let power: Vec<f32> = Tensor::from_slice(device, &x, [x.len()])?
            .stft(
                Stft::new(n)
                    .hop(n / 2)
                    .center(false)
                    .window(Window::Hamming),
            )?
            .power()?
            .to_vec()?;
        let window = Window::Hamming.points(n, true);
        let frames = 1 + (4 * n - n) / (n / 2);
        for t in 0..frames {
            let spectrum: f64 = (0..n / 2 + 1)
                .map(|k| {
                    let single = k == 0 || 2 * k == n;
                    f64::from(power[k * frames + t]) * if single { 1.0 } else { 2.0 }
                })
                .sum();
            let frame = &x[t * (n / 2)..][..n];
            let energy: f64 = frame
                .iter()
                .zip(&window)
                .map(|(x, w)| (f64::from(*x) * w).powi(2))
                .sum();
            let error = (spectrum / (n as f64 * energy) - 1.0).abs();
            if !(error < 1e-6) {
                return Err(format!("n_fft {n}, frame {t}: off by {error:e}").into());
            }
        }
    }
    Ok(())
}

fn round_trip(device: &Device) -> std::result::Result<(), Failed> {
    for (n, hop, length) in [
        (400usize, 160usize, 3000usize),
        (512, 128, 3001),
        (401, 100, 2000),
    ] {
        for normalized in [false, true] {
            let x = noise(2 * length, 9);
            let options = Stft::new(n).hop(hop).normalized(normalized);
            let back: Vec<f32> = Tensor::from_slice(device, &x, [2, length])?
                .stft(&options)?
                .istft(&options, Some(length))?
                .to_vec()?;
            // The last samples may lie beyond the last frame.
            let covered = (length - n / 2) / hop * hop;
            for row in 0..2 {
                for i in row * length..row * length + covered {
                    let error = (back[i] - x[i]).abs();
                    if !(error < 2e-6) {
                        return Err(format!("n_fft {n}: sample {i} off by {error:e}").into());
                    }
                }
            }
        }
    }
    Ok(())
}

/// Given as a tensor, a window does what the same one by name does, to the bit.
fn window_tensor(device: &Device) -> std::result::Result<(), Failed> {
    let x = Tensor::from_slice(device, &noise(2000, 3), [2, 1000])?;
    for length in [64, 50] {
        let named = Stft::new(64).win_length(length).window(Window::Blackman);
        let points = Window::Blackman.tensor(device, length, true)?;
        let given = Stft::new(64).win_length(length).window_tensor(&points);
        let a: Vec<f32> = x.stft(&named)?.to_vec()?;
        let b: Vec<f32> = x.stft(&given)?.to_vec()?;
        if a != b {
            return Err(Failed::from("spectra differ"));
        }
        let a: Vec<f32> = x.stft(&named)?.istft(&named, None)?.to_vec()?;
        let b: Vec<f32> = x.stft(&given)?.istft(&given, None)?.to_vec()?;
        if a != b {
            return Err(Failed::from("signals differ"));
        }
    }
    Ok(())
}

fn vanishing(device: &Device) -> std::result::Result<(), Failed> {
    let window = Tensor::from_slice(device, &[0.0f32, 1.0, 1.0, 0.0], [4])?;
    let options = Stft::new(4).hop(4).center(false).window_tensor(&window);
    let spectrum = Tensor::from_slice(device, &noise(12, 1), [3, 2, 2])?;
    match spectrum.istft(&options, None) {
        Err(error) if error.to_string().contains("at sample 0") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn against_largest(device: &Device) -> std::result::Result<(), Failed> {
    let x = Tensor::from_slice(device, &[1e-12f32, 2.0, 20.0, 200.0], [2, 2])?;
    let options = Decibels {
        reference: Reference::Largest,
        ..Decibels::default()
    };
    let got: Vec<f32> = x.power_to_db(options)?.to_vec()?;
    for (got, expected) in got.iter().zip([-80.0, -20.0, -10.0, 0.0]) {
        if !((got - expected).abs() < 1e-4) {
            return Err(format!("{got} dB, expected {expected}").into());
        }
    }
    Ok(())
}

/// A wave moves towards the log mel spectrum of a glide by the gradient alone: everything between them has the right
/// one. Plain steps of Adam; after 100 the squared distance is a fourth of the first at most (observed: 93 to 12).
fn descent(device: &Device) -> std::result::Result<(), Failed> {
    let n = 8000;
    let glide: Vec<f32> = (0..n)
        .scan(0.0f64, |phase, i| {
            *phase += std::f64::consts::TAU * (150.0 + 100.0 * i as f64 / n as f64) / 16_000.0;
            let harmonics = (1..=7).map(|k| (f64::from(k) * *phase).sin() / f64::from(k));
            Some((0.3 * harmonics.sum::<f64>()) as f32)
        })
        .collect();
    let options = Stft::new(400).hop(160);
    let features = |x: &Tensor| -> Result<Tensor> {
        x.stft(&options)?
            .power()?
            .mel(16_000.0, 64)?
            .log_clamped(1e-5)
    };
    let target = features(&Tensor::from_slice(device, &glide, [n])?)?;
    let mut wave: Vec<f32> = noise(n, 21).iter().map(|x| 0.17 * x).collect();
    let (mut mean, mut square) = (vec![0.0f32; n], vec![0.0f32; n]);
    let mut losses = Vec::new();
    for step in 1..=101i32 {
        let x = Tensor::from_slice(device, &wave, [n])?.requires_grad()?;
        let difference = features(&x)?.sub(&target)?;
        let loss = difference.mul(&difference)?.mean(&[], false)?;
        losses.push(loss.item::<f32>()?);
        let gradients = loss.backward()?;
        let dx: Vec<f32> = gradients
            .get(&x)
            .ok_or_else(|| Failed::from("no gradient"))?
            .to_vec()?;
        for i in 0..n {
            mean[i] = 0.9 * mean[i] + 0.1 * dx[i];
            square[i] = 0.999 * square[i] + 0.001 * dx[i] * dx[i];
            let m = mean[i] / (1.0 - 0.9f32.powi(step));
            let v = square[i] / (1.0 - 0.999f32.powi(step));
            wave[i] -= 0.01 * m / (v.sqrt() + 1e-8);
        }
    }
    let (first, last) = (losses[0], losses[100]);
    eprintln!("squared distance {first:.1}, after 100 steps {last:.1}");
    if !(last <= first / 4.0) {
        return Err(format!("{first} became {last}").into());
    }
    Ok(())
}

/// HTK, 128 bands of 16 kHz: bins of n_fft 400 miss four, those of 512 one, those of 1024 none.
fn empty_filters() -> std::result::Result<(), Failed> {
    let filters = MelFilters::new(16_000.0, 128);
    for (n_fft, expected) in [(400, 4), (512, 1), (1024, 0)] {
        let got = filters.empty_filters(n_fft);
        if got.len() != expected {
            return Err(format!("n_fft {n_fft}: {got:?}, expected {expected}").into());
        }
    }
    for n_mels in [64, 80] {
        if !MelFilters::new(16_000.0, n_mels)
            .empty_filters(400)
            .is_empty()
        {
            return Err(format!("{n_mels} bands: one is empty").into());
        }
    }
    Ok(())
}

fn json(path: &Path) -> std::result::Result<serde_json::Value, Failed> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// The mean of both channels of a 16-bit stereo file.
fn mono(path: &Path) -> std::result::Result<Vec<f32>, Failed> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let start = bytes
        .windows(4)
        .position(|w| w == b"data")
        .ok_or_else(|| Failed::from("no data chunk"))?;
    let samples = bytes[start + 8..].chunks_exact(4).map(|both| {
        let left = i16::from_le_bytes([both[0], both[1]]);
        let right = i16::from_le_bytes([both[2], both[3]]);
        (f32::from(left) + f32::from(right)) / 65_536.0
    });
    Ok(samples.take(101_155).collect())
}

fn all(device: &Device, path: &Path) -> std::result::Result<BTreeMap<String, Tensor>, Failed> {
    Ok(file::load(device, path)?.into_iter().collect())
}

fn librosa_spectra(device: &Device, folder: &Path) -> std::result::Result<(), Failed> {
    let cases = json(&folder.join("librosa_reference.json"))?;
    let tensors = all(device, &folder.join("librosa_reference.safetensors"))?;
    let samples = mono(&folder.join("test1_22050.wav"))?;
    let x = Tensor::from_slice(device, &samples, [samples.len()])?;
    let cases = cases["stft"].as_array().ok_or("no list of spectra")?;
    for case in cases {
        let name = case["tensor"].as_str().ok_or("a case without a tensor")?;
        let number = |key: &str| case[key].as_u64().unwrap_or(0) as usize;
        let window = match case["window"].as_str() {
            Some("rectangular") => Window::Rectangular,
            _ => Window::Hann,
        };
        let options = Stft::new(number("n_fft"))
            .hop(number("hop"))
            .win_length(number("window_length"))
            .window(window)
            .pad_mode(Continuation::Constant)
            .center(false);
        let got = x.stft(options)?;
        let expected = tensors.get(name).ok_or("a tensor is missing")?;
        if got.shape() != expected.shape() {
            return Err(
                format!("{name}: {:?}, expected {:?}", got.shape(), expected.shape()).into(),
            );
        }
        let expected: Vec<f64> = expected
            .to_vec::<f32>()?
            .into_iter()
            .map(f64::from)
            .collect();
        let error = relative_rms(&got.to_vec::<f32>()?, &expected);
        eprintln!("{name}: relative error {error:.1e}");
        if !(error <= MOST_RMS) {
            return Err(format!("{name}: relative error {error:e}").into());
        }
    }
    match cases.len() {
        6 => Ok(()),
        n => Err(format!("{n} spectra, expected 6").into()),
    }
}

fn librosa_filters(device: &Device, folder: &Path) -> std::result::Result<(), Failed> {
    let cases = json(&folder.join("librosa_reference.json"))?;
    let tensors = all(device, &folder.join("librosa_reference.safetensors"))?;
    let list = cases["mel_filterbank"]
        .as_array()
        .ok_or("no list of filters")?;
    for case in list {
        let name = case["tensor"].as_str().ok_or("a case without a tensor")?;
        let number = |key: &str| case[key].as_f64().unwrap_or(f64::NAN);
        let htk = case["htk"].as_bool().unwrap_or(false);
        let filters = MelFilters::new(number("sample_rate"), number("n_mels") as usize)
            .f_min(number("f_min"))
            .f_max(number("f_max"))
            .norm(MelNorm::Slaney)
            .scale(if htk { MelScale::Htk } else { MelScale::Slaney });
        let edges = case["band_edges_hz"].as_array().ok_or("no edges")?;
        for (got, expected) in filters.band_edges_hz().iter().zip(edges) {
            let expected = expected.as_f64().unwrap_or(f64::NAN);
            if !((got - expected).abs() < 1e-8 * expected.max(1.0)) {
                return Err(format!("{name}: an edge at {got}, expected {expected}").into());
            }
        }
        let expected = tensors.get(name).ok_or("a tensor is missing")?;
        same_filters(name, device, &filters, number("n_fft") as usize, expected)?;
    }
    for case in cases["scalar"].as_array().ok_or("no list of scalars")? {
        let scale = match case["htk"].as_bool() {
            Some(true) => MelScale::Htk,
            _ => MelScale::Slaney,
        };
        let convert: &dyn Fn(f64) -> f64 = match case["function"].as_str() {
            Some("hz_to_mel") => &|x| scale.mel_from_hz(x),
            Some("mel_to_hz") => &|x| scale.hz_from_mel(x),
            // Octaves are not in affekt.
            _ => continue,
        };
        let numbers = |key: &str| -> Vec<f64> {
            let list = case[key].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(serde_json::Value::as_f64).collect()
        };
        for (x, expected) in numbers("input").into_iter().zip(numbers("result")) {
            let got = convert(x);
            if !((got - expected).abs() < 1e-9 * expected.abs().max(1.0)) {
                return Err(
                    format!("{} of {x} is {got}, expected {expected}", case["function"]).into(),
                );
            }
        }
    }
    match list.len() {
        48 => Ok(()),
        n => Err(format!("{n} banks, expected 48").into()),
    }
}

fn whisper_filters(device: &Device, folder: &Path) -> std::result::Result<(), Failed> {
    let tensors = all(device, &folder.join("mel_filters.safetensors"))?;
    for n_mels in [80, 128] {
        let name = format!("mel_{n_mels}");
        let expected = tensors.get(&name).ok_or("a tensor is missing")?;
        let filters = MelFilters::librosa(16_000.0, n_mels);
        same_filters(&name, device, &filters, 400, expected)?;
    }
    Ok(())
}

fn same_filters(
    name: &str,
    device: &Device,
    filters: &MelFilters,
    n_fft: usize,
    expected: &Tensor,
) -> std::result::Result<(), Failed> {
    let got = filters.tensor(device, n_fft)?;
    if got.shape() != expected.shape() {
        return Err(format!("{name}: {:?}, expected {:?}", got.shape(), expected.shape()).into());
    }
    let (got, expected): (Vec<f32>, Vec<f32>) = (got.to_vec()?, expected.to_vec()?);
    let largest = expected.iter().copied().fold(0.0, f32::max);
    for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
        // Corners that fall onto a bin may lie on either side of it by a rounding.
        if !((a - b).abs() <= 1e-6 * largest) {
            return Err(format!("{name}: weight {i} is {a}, expected {b}").into());
        }
    }
    Ok(())
}
