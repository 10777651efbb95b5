//! A spectrogram as PNG, and a PNG as part of an HTML page.

use crate::error::{Error, Result};

/// Colours from dark violet over red to light yellow.
///
/// Even steps look even: lightness grows linearly in OKLab while the hue turns, and chroma is as much as sRGB can show,
/// at most 0.17. It reads the same in grey. Source: Ottosson 2020, "A perceptual color space for image processing".
pub fn colour_map() -> [[u8; 3]; 256] {
    let mut map = [[0; 3]; 256];
    for (i, colour) in map.iter_mut().enumerate() {
        let t = i as f64 / 255.0;
        let lightness = 0.12 + 0.85 * t;
        let hue = (285.0 + 170.0 * t).to_radians();
        let wanted = 0.17 * (std::f64::consts::PI * t.clamp(0.04, 0.9)).sin().powf(0.5);
        // The largest chroma up to `wanted` that sRGB can show.
        let (mut low, mut high) = (0.0, wanted);
        for _ in 0..20 {
            let middle = (low + high) / 2.0;
            let linear = linear_srgb(lightness, middle * hue.cos(), middle * hue.sin());
            match linear.iter().all(|c| (0.0..=1.0).contains(c)) {
                true => low = middle,
                false => high = middle,
            }
        }
        let linear = linear_srgb(lightness, low * hue.cos(), low * hue.sin());
        *colour = linear.map(|c| {
            let c = c.clamp(0.0, 1.0);
            let encoded = match c <= 0.003_130_8 {
                true => 12.92 * c,
                false => 1.055 * c.powf(1.0 / 2.4) - 0.055,
            };
            (255.0 * encoded).round() as u8
        });
    }
    map
}

/// OKLab to linear sRGB; the matrices are those of the source.
fn linear_srgb(lightness: f64, a: f64, b: f64) -> [f64; 3] {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
}

/// The PNG of a `[mels, frames]` array (row-major, a row per mel or frequency bin): time to the right, the first row at
/// the bottom, each element a square of `scale` pixels, coloured by [`colour_map`].
///
/// `range` is what the darkest and the lightest colour stand for; without it, the 2 % and 99.9 % quantiles, so that a few
/// empty bins do not take all the colours. Elements that are not finite are grey.
/// Errors: [`Error::Shape`] unless `x` has `mels · frames` elements, at least one; [`Error::Limit`] for a picture of more
/// than 64 megapixels.
pub fn spectrogram_png(
    x: &[f32],
    mels: usize,
    frames: usize,
    scale: usize,
    range: Option<(f32, f32)>,
) -> Result<Vec<u8>> {
    const OP: &str = "spectrogram_png";
    if mels.checked_mul(frames) != Some(x.len()) || x.is_empty() {
        let message = format!(
            "x has {} elements, expected [{mels}, {frames}], at least one",
            x.len()
        );
        return Err(Error::shape(OP, message));
    }
    let scale = scale.max(1);
    let (width, height) = (frames.saturating_mul(scale), mels.saturating_mul(scale));
    const MOST_PIXELS: usize = 64 << 20;
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(Error::Limit {
            what: "pixels of a spectrogram",
            requested: width.saturating_mul(height) as u64,
            limit: MOST_PIXELS as u64,
        });
    }
    let (low, high) = range.unwrap_or_else(|| quantiles(x));
    let map = colour_map();
    let colour = |v: f32| {
        let t = (v - low) / (high - low);
        match (v.is_finite(), t.is_nan()) {
            (false, _) => [128; 3],
            // All elements are the same.
            (true, true) => map[0],
            (true, false) => map[(t.clamp(0.0, 1.0) * 255.0).round() as usize],
        }
    };
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in x.chunks_exact(frames).rev() {
        let line: Vec<u8> = row
            .iter()
            .flat_map(|v| std::iter::repeat_n(colour(*v), scale))
            .flatten()
            .collect();
        (0..scale).for_each(|_| pixels.extend_from_slice(&line));
    }
    encode(&pixels, width, height).map_err(|e| Error::shape(OP, e.to_string()))
}

fn encode(
    pixels: &[u8],
    width: usize,
    height: usize,
) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut out = Vec::new();
    // Both are at most 64 Mi.
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(out)
}

/// The 2 % and 99.9 % quantiles of the finite elements.
fn quantiles(x: &[f32]) -> (f32, f32) {
    let mut sorted: Vec<f32> = x.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let at = |q: f64| {
        let index = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(index).copied().unwrap_or(0.0)
    };
    (at(0.02), at(0.999))
}

/// A PNG as `data:` URI, for the `src` of an image in a page that stands alone.
pub fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

/// Base 64 with padding. Source: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..1 + chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (text, expected) in cases {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(data_uri(&[0xff, 0xef]), "data:image/png;base64,/+8=");
    }

    #[test]
    fn lightness_of_the_colours_grows() {
        let luminance = |c: &[u8; 3]| {
            let linear = c.map(|x| (f64::from(x) / 255.0).powf(2.2));
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let map = colour_map();
        assert!(
            map.windows(2)
                .all(|w| luminance(&w[0]) < luminance(&w[1]) + 1e-4)
        );
        assert!(luminance(&map[0]) < 0.02 && luminance(&map[255]) > 0.8);
        // No step is as large as a seam that one would see.
        let step = |w: &[[u8; 3]]| (0..3).map(|i| w[0][i].abs_diff(w[1][i])).max();
        assert!(map.windows(2).all(|w| step(w) <= Some(6)));
    }

    #[test]
    fn low_bins_lie_at_the_bottom_and_time_runs_right() {
        let x = [0.0, 1.0, 2.0, 3.0, 4.0, f32::NAN];
        let png = spectrogram_png(&x, 2, 3, 2, Some((0.0, 4.0))).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (6, 4));
        let at = |row: usize, column: usize| {
            let i = (row * 6 + column) * 3;
            [pixels[i], pixels[i + 1], pixels[i + 2]]
        };
        let map = colour_map();
        assert_eq!((at(3, 0), at(2, 1), at(3, 5)), (map[0], map[0], map[128]));
        assert_eq!(
            (at(0, 0), at(1, 3), at(0, 5)),
            (map[191], map[255], [128; 3])
        );
    }

    #[test]
    fn odd_arrays() {
        assert!(spectrogram_png(&[], 0, 5, 1, None).is_err());
        assert!(spectrogram_png(&[1.0], 2, 3, 1, None).is_err());
        assert!(matches!(
            spectrogram_png(&[1.0], 1, 1, 100_000, None),
            Err(Error::Limit { .. })
        ));
        spectrogram_png(&[1.0; 6], 2, 3, 1, None).unwrap();
        spectrogram_png(&[f32::NAN; 6], 2, 3, 1, None).unwrap();
        spectrogram_png(&[f32::NEG_INFINITY, 1.0], 2, 1, 0, None).unwrap();
    }
}
