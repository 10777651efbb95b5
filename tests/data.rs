//! Sound files of every kind, whole and broken, and the real corpora of `AFFEKT_DATA`.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use affekt::data::{Clip, Corpus, Draws, Kind, Protocol};
use affekt::{Error, Result};
use libtest_mimic::{Failed, Trial};

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for &(name, check) in &[
        ("audio/samples_of_every_kind", every_kind as fn()),
        ("audio/written_and_read", written_and_read),
        ("audio/refusals", refusals),
        ("audio/lying_picture", lying_picture),
        ("audio/resampling", resampling),
    ] {
        trials.push(Trial::test(name, move || {
            check();
            Ok(())
        }));
    }
    for file in golden() {
        let name = file
            .file_name()
            .expect("it has one")
            .to_string_lossy()
            .into_owned();
        let long = name == "long16.flac";
        let bytes = std::fs::read(&file).expect("it is there");
        trials.push(Trial::test(format!("audio/broken/{name}"), move || {
            broken(&bytes, if long { 37 } else { 1 });
            Ok(())
        }));
    }
    for (folder, check) in [
        ("speech-emodb", emodb as fn(&Path) -> Result<()>),
        ("speech-fsdd", fsdd),
    ] {
        let name = format!("corpus/{folder}");
        trials.push(match support::data(folder) {
            Ok(root) => Trial::test(name, move || {
                check(&root).map_err(|e| Failed::from(e.to_string()))
            }),
            Err(reason) => support::absent(&name, "data", &reason),
        });
    }
    support::run(trials, &["audio".into(), "corpus".into()])
}

fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("it is there")
        .map(|e| e.expect("it can be listed").path())
        .filter(|p| p.extension().is_some_and(|e| e != "py"))
        .collect();
    files.sort();
    files
}

/// The formula of tests/golden/audio/make.py, averaged over channels.
fn expected(n: usize, channels: usize, bits: u32) -> Vec<f32> {
    let full = 1i64 << (bits - 1);
    (0..n as i64)
        .map(|i| {
            let sum: i64 = (0..channels as i64)
                .map(|c| {
                    let period = 97 + 10 * c;
                    let phase = i % period;
                    let rise = phase.min(period - phase);
                    rise * (full * 3 / 2) / period - full * 3 / 8 + (i * i) % 7
                })
                .sum();
            (sum as f64 / (full as f64 * channels as f64)) as f32
        })
        .collect()
}

fn every_kind() {
    let kinds: &[(&str, usize, usize, u32, u32)] = &[
        ("extensible24.wav", 60, 3, 24, 16_000),
        ("extensible_float.wav", 60, 1, 16, 16_000),
        ("float32.wav", 60, 2, 16, 16_000),
        ("float64.wav", 60, 1, 24, 16_000),
        ("long16.flac", 9000, 1, 16, 16_000),
        ("mono8.flac", 300, 1, 8, 8_000),
        ("pcm16.flac", 700, 1, 16, 16_000),
        ("pcm16.wav", 60, 2, 16, 16_000),
        ("pcm24.wav", 60, 1, 24, 16_000),
        ("pcm32.wav", 60, 1, 32, 48_000),
        ("stereo24.flac", 500, 2, 24, 44_100),
        ("u8.wav", 60, 1, 8, 8_000),
    ];
    let files = golden();
    assert_eq!(files.len(), kinds.len());
    for (file, &(name, n, channels, bits, rate)) in files.iter().zip(kinds) {
        assert!(file.ends_with(name), "{}", file.display());
        let clip = Clip::read(file).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(clip.sample_rate_hz, rate, "{name}");
        let expected = expected(n, channels, bits);
        assert_eq!(clip.samples.len(), expected.len(), "{name}");
        for (i, (got, want)) in clip.samples.iter().zip(&expected).enumerate() {
            assert_eq!(got, want, "{name}, sample {i}");
        }
    }
}

/// A file of our own below the temporary folder, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("affekt-{}-{name}", std::process::id())))
    }

    fn holding(name: &str, bytes: &[u8]) -> Scratch {
        let scratch = Scratch::new(name);
        std::fs::write(&scratch.0, bytes).expect("the temporary folder can be written");
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn read_bytes(bytes: &[u8]) -> Result<Clip> {
    // A name per thread: trials run side by side.
    let name = format!("{:?}.sound", std::thread::current().id());
    Clip::read(&Scratch::holding(&name, bytes).0)
}

fn written_and_read() {
    let clip = Clip {
        samples: vec![0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0, 1.0 / 32767.0],
        sample_rate_hz: 22_050,
    };
    let file = Scratch::new("written.wav");
    clip.write_wav(&file.0).unwrap();
    let back = Clip::read(&file.0).unwrap();
    assert_eq!(back.sample_rate_hz, 22_050);
    let words: Vec<f32> = back.samples.iter().map(|x| x * 32768.0).collect();
    assert_eq!(
        words,
        [
            0.0, 16384.0, -16384.0, 32767.0, -32767.0, 32767.0, -32767.0, 1.0
        ]
    );
    assert!(matches!(
        clip.write_wav(file.0.join("below a file")),
        Err(Error::Io { .. })
    ));
}

/// A WAV file of a format chunk and samples.
fn wav(format: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = b"RIFF".to_vec();
    out.extend((20 + format.len() as u32 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend((format.len() as u32).to_le_bytes());
    out.extend(format);
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

fn format(code: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let frame = channels.wrapping_mul(bits / 8);
    let mut out = Vec::new();
    for word in [code, channels] {
        out.extend(word.to_le_bytes());
    }
    out.extend(rate.to_le_bytes());
    out.extend(rate.wrapping_mul(u32::from(frame)).to_le_bytes());
    for word in [frame, bits] {
        out.extend(word.to_le_bytes());
    }
    out
}

fn refusals() {
    let pcm16 = format(1, 1, 16_000, 16);
    let floats = |values: &[f32]| -> Vec<u8> {
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        wav(&format(3, 1, 16_000, 32), &data)
    };
    let good = wav(&pcm16, &[1, 0, 2, 0, 3, 0]);
    assert!(read_bytes(&good).is_ok());
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let lying = 0xffff_fff0u32.to_le_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "empty file"),
        (b"hello".to_vec(), "neither WAV nor FLAC"),
        (b"RIFF".to_vec(), "cut short"),
        (with(8, b"AVI "), "RIFF, but not WAVE"),
        (
            with(4, &lying),
            "the header promises 4294967280 bytes, 42 follow it",
        ),
        (
            with(40, &lying),
            "chunk \"data\" promises 4294967280 bytes, 6 follow it",
        ),
        (with(16, &lying), "chunk \"fmt \" promises"),
        (with(40, &5u32.to_le_bytes()), "no multiple of a frame of 2"),
        (with(36, b"junk"), "there is no data chunk"),
        (with(12, b"junk"), "the samples come before their format"),
        (good[..good.len() - 1].to_vec(), "cut short"),
        (wav(&pcm16, &[]), "zero-length audio"),
        (wav(&pcm16, &[7, 0, 7, 0, 7, 0]), "silent audio"),
        (wav(&pcm16, &[0; 64]), "silent audio"),
        (floats(&[0.5, f32::NAN, 0.25]), "sample 1 is NaN"),
        (floats(&[0.5, 0.1, f32::NEG_INFINITY]), "sample 2 is -inf"),
        (wav(&format(1, 0, 16_000, 16), &[1, 0]), "0 channels"),
        (
            wav(&format(1, 65_535, 16_000, 16), &[1, 0]),
            "65535 channels",
        ),
        (wav(&format(1, 1, 0, 16), &[1, 0]), "a sample rate of 0 Hz"),
        (
            wav(&format(1, 1, u32::MAX, 16), &[1, 0]),
            "a sample rate of 4294967295 Hz",
        ),
        (
            wav(&format(1, 1, 16_000, 0), &[1, 0]),
            "WAV format 1 of 0 bits",
        ),
        (wav(&format(1, 1, 16_000, 12), &[1, 0]), "of 12 bits"),
        (wav(&format(2, 1, 16_000, 4), &[1, 0]), "WAV format 2"),
        (wav(&format(85, 1, 16_000, 16), &[1, 0]), "WAV format 85"),
        (wav(&pcm16[..12], &[1, 0]), "a format chunk of 12 bytes"),
        (
            wav(&format(0xfffe, 1, 16_000, 16), &[1, 0]),
            "an extensible format chunk of 16 bytes",
        ),
        (with(32, &[9, 0]), "9 bytes per frame, expected 2"),
        (b"fLaC".to_vec(), "cut short"),
        (b"fLaC\x80\xff\xff\xff".to_vec(), "cut short"),
        (b"fLaC\x84\0\0\0".to_vec(), "begins with one STREAMINFO"),
        (
            [&b"fLaC\0\0\0\x22"[..], &[0; 34], b"\x80\0\0\0"].concat(),
            "begins with one STREAMINFO",
        ),
        (
            [&b"fLaC\x80\0\0\x22"[..], &[0; 34]].concat(),
            "malformed stream",
        ),
        (b"RIFX....WAVE".to_vec(), "big-endian"),
    ];
    for (bytes, expected) in cases {
        let error = read_bytes(&bytes).expect_err(expected);
        let Error::Format { message, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            message.contains(expected),
            "{message:?}, expected {expected:?}"
        );
        assert!(!message.contains('\n'), "{message:?}");
    }
    let absent = Clip::read("absent.wav").expect_err("it is not there");
    assert!(matches!(absent, Error::Io { .. }));
    assert!(matches!(
        Clip::read(std::env::temp_dir()),
        Err(Error::Io { .. })
    ));
}

/// A cover picture whose inner lengths promise 4 GiB: it is none of our business.
fn lying_picture() {
    let file = golden().into_iter().find(|f| f.ends_with("pcm16.flac"));
    let bytes = std::fs::read(file.expect("it is there")).expect("it can be read");
    let mut with_picture = bytes[..42].to_vec();
    with_picture.extend(b"\x06\0\0\x0c\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff");
    with_picture.extend(&bytes[42..]);
    assert_eq!(
        read_bytes(&with_picture).unwrap(),
        read_bytes(&bytes).unwrap()
    );
}

/// Cuts a file after every `step`-th byte and flips bits of each `step`-th byte, in FLAC also with the checksum of its
/// one frame set right again. Nothing may panic or take memory by a lying size; no cut passes for a recording.
fn broken(bytes: &[u8], step: usize) {
    let whole = read_bytes(bytes).expect("it is whole");
    let format_error = |result: Result<Clip>, what: &str| match result {
        Ok(_) => false,
        Err(Error::Format { message, .. }) => {
            assert!(
                !message.contains('\n') && !message.contains("gave up"),
                "{what}: {message}"
            );
            true
        }
        Err(other) => panic!("{what}: {other}"),
    };
    for length in (0..bytes.len()).step_by(step) {
        assert!(
            format_error(read_bytes(&bytes[..length]), "cut"),
            "{length} of {}",
            bytes.len()
        );
    }
    let flac = bytes.starts_with(b"fLaC");
    let mut draws = Draws::new(5, 0, bytes.len()).expect("a small number");
    for at in (0..bytes.len()).step_by(step) {
        for flip in [0x01, 0x80, 0xff, 1 << draws.below(8)] {
            let mut file = bytes.to_vec();
            file[at] ^= flip;
            let result = read_bytes(&file);
            let refused = format_error(result.clone(), &format!("byte {at} ^ {flip:#x}"));
            // A FLAC's samples are covered by checksums; all but the header of a WAV is samples.
            if flac && !refused {
                let clip = result.expect("it was read");
                assert_eq!(clip.samples, whole.samples, "byte {at} ^ {flip:#x}");
            }
            if let (true, Some(start)) = (flac, frame_start(bytes)) {
                if at >= start {
                    set_checksum(&mut file, start);
                    format_error(
                        read_bytes(&file),
                        &format!("byte {at} ^ {flip:#x}, repaired"),
                    );
                }
            }
        }
    }
    // Several at once, anywhere in the first 64 bytes.
    for _ in 0..2000 / step {
        let mut file = bytes.to_vec();
        for _ in 0..1 + draws.below(6) {
            let at = draws.below(file.len().min(64) as u32) as usize;
            file[at] = draws.next_u32() as u8;
        }
        format_error(read_bytes(&file), "several");
    }
}

/// Where the frames of a FLAC file begin.
fn frame_start(bytes: &[u8]) -> Option<usize> {
    let mut at = 4;
    loop {
        let header = bytes.get(at..at + 4)?;
        at += 4 + u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if header[0] & 0x80 != 0 {
            return Some(at);
        }
    }
}

/// Sets both checksums of a FLAC frame that reaches from `start` to the end of the file, if its header is as short as
/// those of the test files: the CRC-8 behind six or seven bytes, the CRC-16 at the end.
fn set_checksum(file: &mut [u8], start: usize) {
    let crc = |bytes: &[u8], polynomial: u32, width: u32| {
        let top = 1 << (width - 1);
        bytes.iter().fold(0u32, |mut crc, byte| {
            crc ^= u32::from(*byte) << (width - 8);
            for _ in 0..8 {
                crc = if crc & top != 0 {
                    (crc << 1) ^ polynomial
                } else {
                    crc << 1
                };
            }
            crc & ((top << 1) - 1)
        })
    };
    // Sync, block size and rate, channels and bits, frame number; then a block size of one or two bytes.
    let size_bytes = match file[start + 2] >> 4 {
        6 => 1,
        7 => 2,
        _ => 0,
    };
    let header_end = start + 5 + size_bytes;
    file[header_end] = crc(&file[start..header_end], 0x07, 8) as u8;
    let end = file.len() - 2;
    let sum = crc(&file[start..end], 0x8005, 16) as u16;
    file[end..].copy_from_slice(&sum.to_be_bytes());
}

fn resampling() {
    let tone = |hz: f64, rate: u32, n: usize| -> Vec<f32> {
        (0..n)
            .map(|i| (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin() as f32)
            .collect()
    };
    let clip = |hz, rate| Clip {
        samples: tone(hz, rate, rate as usize / 2),
        sample_rate_hz: rate,
    };
    for (from, to) in [
        (48_000, 16_000),
        (44_100, 16_000),
        (8_000, 16_000),
        (16_000, 22_050),
    ] {
        let there = clip(1000.0, from).resample(to).unwrap();
        assert_eq!(there.sample_rate_hz, to);
        assert_eq!(
            there.samples.len(),
            (from as usize / 2 * to as usize).div_ceil(from as usize)
        );
        let expected = tone(1000.0, to, there.samples.len());
        let middle = 400..there.samples.len() - 400;
        let worst = middle
            .map(|i| (there.samples[i] - expected[i]).abs())
            .fold(0.0f32, f32::max);
        // Ripple of the window, 90 dB down, and the rounding of a sum in f32.
        assert!(worst < 1e-4, "{from} to {to}: {worst}");
    }
    // What the lower rate cannot carry is gone.
    let gone = clip(9_500.0, 48_000).resample(16_000).unwrap();
    let worst = gone.samples[400..gone.samples.len() - 400]
        .iter()
        .fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(worst < 1e-4, "{worst}");
    let same = clip(1000.0, 8_000);
    assert_eq!(same.resample(8_000).unwrap(), same);
    assert!(same.resample(0).is_err());
}

fn emodb(root: &Path) -> Result<()> {
    let corpus = Corpus::open(root, None)?;
    assert_eq!(corpus.name, "emodb");
    assert_eq!(corpus.classes, ["neutral", "anger", "happiness", "sadness"]);
    assert_eq!(corpus.items.len(), 264);
    assert_eq!(corpus.class_counts(), [61, 98, 57, 48]);
    assert_eq!(
        corpus.subjects(),
        ["03", "08", "09", "10", "11", "12", "13", "16"]
    );
    assert_eq!(corpus.unknown, Vec::<PathBuf>::new());
    // The labels and lengths that the list beside the recordings gives.
    let file = root.join("labels.csv");
    let list = std::fs::read_to_string(&file).expect("it is there");
    let rows: BTreeMap<&str, Vec<&str>> = list
        .lines()
        .skip(1)
        .map(|line| {
            (
                line.split(',').next().unwrap_or(""),
                line.split(',').collect(),
            )
        })
        .collect();
    for item in &corpus.items {
        let name = item
            .file
            .file_name()
            .and_then(|n| n.to_str())
            .expect("it has one");
        let row = &rows[name];
        assert_eq!(
            (row[1], row[7]),
            (item.subject.as_str(), item.label.to_string().as_str())
        );
        let clip = Clip::read(&item.file)?;
        assert_eq!(clip.sample_rate_hz, 16_000);
        assert_eq!(row[9], clip.samples.len().to_string(), "{name}");
        let peak = clip.samples.iter().fold(0.0f32, |m, x| m.max(x.abs())) * 32768.0;
        assert_eq!(row[11], peak.to_string(), "{name}");
    }
    let folds = Protocol::LeaveOneSubjectOut.folds(&corpus)?;
    assert_eq!(folds.len(), 8);
    let mut tested = vec![0; corpus.items.len()];
    for fold in &folds {
        assert_eq!(fold.train.len() + fold.test.len(), 264);
        for &i in &fold.test {
            tested[i] += 1;
            assert_eq!(corpus.items[i].subject, fold.name);
        }
        assert!(
            fold.train
                .iter()
                .all(|i| corpus.items[*i].subject != fold.name)
        );
    }
    assert!(tested.iter().all(|n| *n == 1));
    Ok(())
}

fn fsdd(root: &Path) -> Result<()> {
    // No layout of ours: a manifest is made of the list beside the recordings.
    assert!(Corpus::open(root, Some(Kind::EmoDb)).is_err());
    let list = std::fs::read_to_string(root.join("labels.csv")).expect("it is there");
    let folder = ["recordings", "wav", "."]
        .map(|f| root.join(f))
        .into_iter()
        .find(|f| f.join("0_george_0.wav").is_file())
        .expect("the recordings are there");
    let mut text = String::from("path,label,subject,split\n");
    for line in list.lines().skip(1) {
        let row: Vec<&str> = line.split(',').collect();
        let path = folder.join(row[0]);
        text += &format!("\"{}\",{},{},{}\n", path.display(), row[1], row[2], row[4]);
    }
    let manifest = Scratch::holding("fsdd.csv", text.as_bytes());
    let corpus = Corpus::open(&manifest.0, None)?;
    assert_eq!(corpus.items.len(), 1250);
    assert_eq!(corpus.classes.join(""), "0123456789");
    assert_eq!(
        corpus.subjects(),
        ["george", "jackson", "lucas", "nicolas", "yweweler"]
    );
    let fixed = &Protocol::Column.folds(&corpus)?[0];
    assert_eq!((fixed.train.len(), fixed.test.len()), (1000, 250));
    assert_eq!(Protocol::KFold { k: 5, seed: 0 }.folds(&corpus)?.len(), 5);
    for item in &corpus.items {
        assert_eq!(Clip::read(&item.file)?.sample_rate_hz, 8_000);
    }
    Ok(())
}
