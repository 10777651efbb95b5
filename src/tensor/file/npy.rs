//! The npy format, versions 1.0 to 3.0: a magic word, a header that is a Python dictionary, one array.
//!
//! Source: NumPy Enhancement Proposal 1 and `numpy.lib.format`. Version 3.0 differs from 2.0 only in that the header
//! is UTF-8, which matters to names of fields; those are refused anyway.

use super::{Kind, Stored, shape_of};
use crate::tensor::DType;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is looked at: NumPy's own bound for headers it does not trust.
const MAX_HEADER: usize = 10_000;

pub(super) fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<Stored<'a>, String> {
    let cut = |what: &str| {
        format!(
            "cut short: the file ends in its {what}, after {} bytes",
            bytes.len()
        )
    };
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err("no npy file: it does not begin with \\x93NUMPY".to_string());
    }
    let version = bytes
        .get(MAGIC.len()..MAGIC.len() + 2)
        .ok_or_else(|| cut("magic word"))?;
    let rest = &bytes[MAGIC.len() + 2..];
    let (length, rest) = match version {
        [1, 0] => rest
            .split_first_chunk()
            .map(|(n, rest)| (usize::from(u16::from_le_bytes(*n)), rest)),
        [2 | 3, 0] => rest
            .split_first_chunk()
            .map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest)),
        _ => {
            return Err(format!(
                "npy version {}.{}, expected 1.0, 2.0 or 3.0",
                version[0], version[1]
            ));
        }
    }
    .ok_or_else(|| cut("header length"))?;
    if length > MAX_HEADER {
        return Err(format!(
            "a header of {length} bytes, expected at most {MAX_HEADER}"
        ));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(|| cut("header"))?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is no text".to_string())?;
    let header = Header::parse(header)?;
    let kind = kind_of(&header.descr)?;
    let shape = shape_of(&header.dims)?;
    let promised = shape
        .numel()
        .checked_mul(kind.size())
        .ok_or_else(|| format!("shape {shape:?} has more bytes than can be counted"))?;
    if promised != data.len() {
        return Err(format!(
            "{} of shape {shape:?} takes {promised} bytes, {} follow the header",
            header.descr,
            data.len()
        ));
    }
    let (dtype, bytes) = kind.convert(data)?;
    Ok(Stored {
        name: name.to_string(),
        dtype,
        shape,
        fortran: header.fortran_order,
        bytes,
    })
}

pub(super) fn write(tensor: &Stored) -> Vec<u8> {
    let descr = match tensor.dtype {
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
    };
    let dims: String = tensor.shape.iter().map(|n| format!("{n}, ")).collect();
    // Python writes (3,) and (3, 4); it reads (3, 4, ) as well.
    let dims = match tensor.shape.len() {
        1 => dims.trim_end(),
        _ => dims.trim_end_matches(", "),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    // The array begins at a multiple of 64 bytes and the header ends in a line feed.
    let before = MAGIC.len() + 2 + 2;
    let padded = (before + header.len() + 1).next_multiple_of(64) - before;
    header.extend(std::iter::repeat_n(' ', padded - 1 - header.len()));
    header.push('\n');
    let length = u16::try_from(header.len()).expect("six numbers are short");
    let mut out = Vec::with_capacity(before + header.len() + tensor.bytes.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&tensor.bytes);
    out
}

fn kind_of(descr: &str) -> Result<Kind, String> {
    Ok(match descr {
        "<f4" => Kind::Is(DType::F32),
        "<f2" => Kind::Is(DType::F16),
        "<i4" => Kind::Is(DType::I32),
        "<u4" => Kind::Is(DType::U32),
        "<i8" => Kind::I64,
        "<f8" => Kind::F64,
        "|b1" => Kind::Bool,
        other => {
            return Err(format!(
                "type {other:?}, expected <f4, <f2, <i4, <u4, <i8, <f8 or |b1"
            ));
        }
    })
}

/// What the dictionary says.
struct Header {
    descr: String,
    fortran_order: bool,
    dims: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let mut text = Text { rest: text };
        let mut descr = None;
        let mut fortran_order = None;
        let mut dims = None;
        text.expect('{')?;
        while !text.takes('}') {
            let key = text.string()?;
            text.expect(':')?;
            let repeated = match key {
                "descr" => descr.replace(text.descr()?.to_string()).is_some(),
                "fortran_order" => fortran_order.replace(text.truth()?).is_some(),
                "shape" => dims.replace(text.tuple()?).is_some(),
                other => return Err(format!("the header has an unknown key {other:?}")),
            };
            if repeated {
                return Err(format!("the header has two keys {key:?}"));
            }
            if !text.takes(',') {
                text.expect('}')?;
                break;
            }
        }
        if !text.rest.trim().is_empty() {
            return Err(text.wrong("the end of the header"));
        }
        let missing = |key: &str| format!("the header has no key {key:?}");
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            dims: dims.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// The part of the header that is still to be read. Blanks may stand anywhere.
struct Text<'a> {
    rest: &'a str,
}

impl<'a> Text<'a> {
    fn wrong(&self, expected: &str) -> String {
        let found: String = self.rest.trim().chars().take(16).collect();
        format!("the header reads {found:?} where {expected} should be")
    }

    fn takes(&mut self, c: char) -> bool {
        match self.rest.trim_start().strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        match self.takes(c) {
            true => Ok(()),
            false => Err(self.wrong(&format!("{c:?}"))),
        }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        for quote in ['\'', '"'] {
            if self.takes(quote) {
                let (text, rest) = self
                    .rest
                    .split_once(quote)
                    .ok_or_else(|| self.wrong("a closing quote"))?;
                self.rest = rest;
                return Ok(text);
            }
        }
        Err(self.wrong("a string"))
    }

    /// A type; that of records is a list, which is refused.
    fn descr(&mut self) -> Result<&'a str, String> {
        if self.takes('[') {
            return Err("an array of records, expected one of numbers".to_string());
        }
        self.string()
    }

    fn truth(&mut self) -> Result<bool, String> {
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.trim_start().strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.wrong("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut out = Vec::new();
        self.expect('(')?;
        while !self.takes(')') {
            let text = self.rest.trim_start();
            let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let number = text[..n_digits]
                .parse()
                .map_err(|_| self.wrong("the length of an axis"))?;
            out.push(number);
            // Python 2 wrote long numbers as 3L.
            let text = &text[n_digits..];
            self.rest = text.strip_prefix('L').unwrap_or(text);
            if !self.takes(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::tensor::Shape;

    fn file(version: u8, header: &str, n: usize) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[version, 0]);
        match version {
            1 => out.extend_from_slice(&(header.len() as u16).to_le_bytes()),
            _ => out.extend_from_slice(&(header.len() as u32).to_le_bytes()),
        }
        out.extend_from_slice(header.as_bytes());
        out.extend((0..n).map(|i| i as u8));
        out
    }

    fn refused(bytes: &[u8], because: &str) {
        let message = parse("x", bytes).expect_err(because);
        assert!(message.contains(because), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn the_bytes_are_numpys() {
        // numpy.save of numpy.arange(3, dtype="<f4").reshape(1, 3), NumPy 1.24.
        let mut expected = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }                                                          \n".to_vec();
        assert_eq!(expected.len(), 128);
        let numbers: &[u8] = bytemuck::cast_slice(&[0.0f32, 1.0, 2.0]);
        expected.extend_from_slice(numbers);
        let stored = Stored {
            name: "x".to_string(),
            dtype: DType::F32,
            shape: Shape::of(&[1, 3]),
            fortran: false,
            bytes: Cow::Borrowed(numbers),
        };
        assert_eq!(write(&stored), expected);
        assert_eq!(
            format!("{:?}", parse("x", &expected).unwrap()),
            format!("{stored:?}")
        );
    }

    #[test]
    fn every_rank_and_type_is_read_back() {
        for dtype in DType::ALL {
            for dims in [&[] as &[usize], &[5], &[2, 0], &[1, 2, 1, 3, 1, 2]] {
                let shape = Shape::of(dims);
                let stored = Stored {
                    name: "x".to_string(),
                    dtype,
                    shape,
                    fortran: false,
                    bytes: Cow::Owned(vec![7; shape.numel() * dtype.size()]),
                };
                let bytes = write(&stored);
                assert_eq!(
                    format!("{:?}", parse("x", &bytes).unwrap()),
                    format!("{stored:?}")
                );
            }
        }
    }

    #[test]
    fn versions_orders_and_spellings() {
        for version in [1, 2, 3] {
            let header = r#" {"shape" :(2L,3),"fortran_order":True,'descr': "<f4"}  "#;
            let bytes = file(version, header, 24);
            let read = parse("x", &bytes).unwrap();
            assert_eq!(read.shape, Shape::of(&[2, 3]));
            assert!(read.fortran);
        }
        refused(&file(4, "{}", 0), "npy version 4.0");
    }

    #[test]
    fn every_cut_is_told() {
        let whole = file(
            1,
            "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}\n",
            16,
        );
        let mut zeroed = whole.clone();
        let n = zeroed.len();
        zeroed[n - 16..].fill(0);
        assert_eq!(parse("x", &zeroed).unwrap().dtype, DType::I32);
        for n in 0..whole.len() {
            let message = parse("x", &whole[..n]).expect_err("it is cut");
            assert!(
                message.contains("cut short") || message.contains("takes 16 bytes"),
                "{n}: {message}"
            );
        }
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let header = |descr: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n")
        };
        let short = |h: &str| file(1, h, 8);
        refused(b"PK\x03\x04", "no npy file");
        refused(&short(&header("'<f4'", "(3,)")), "takes 12 bytes, 8 follow");
        refused(&short(&header("'<f4'", "(1,)")), "takes 4 bytes, 8 follow");
        for shape in [
            "(4611686018427387904,)",
            "(4294967296, 4294967296, 2)",
            "(99999999999999999999999,)",
        ] {
            assert!(parse("x", &short(&header("'<f4'", shape))).is_err());
        }
        refused(&short(&header("'<f4'", "(-2,)")), "length of an axis");
        refused(&short(&header("'<f4'", "(2.0,)")), "should be");
        refused(&short(&header("'<f4'", "(1, 1, 1, 1, 1, 1, 2)")), "7 axes");
        refused(&short(&header("'<f4'", "2")), "should be");
        refused(&short(&header("[('a', '<f4')]", "(2,)")), "records");
        refused(&short("{'descr': '<f4', 'shape': (2,)}"), "fortran_order");
        refused(&short("{'descr': '<f4', 'descr': '<f4'}"), "two keys");
        refused(&short("{'descr': '<f4"), "closing quote");
        refused(&short("{'descr' '<f4'}"), "should be");
        refused(&short("{'colour': 1}"), "unknown key");
        refused(&short(""), "should be");
        refused(
            &short(&format!("{} import", header("'<f4'", "(2,)").trim())),
            "end of the header",
        );
        let mut huge = MAGIC.to_vec();
        huge.extend_from_slice(&[2, 0, 0xff, 0xff, 0xff, 0xff]);
        refused(&huge, "a header of 4294967295 bytes");
        let mut no_text = short(&header("'<f4'", "(2,)"));
        no_text[20] = 0xff;
        refused(&no_text, "no text");
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for descr in [
            ">f4", "<u8", "|u1", "|i1", "<i2", "<u2", "<c8", "|O", "<U4", "<M8[s]", "",
        ] {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,)}}\n");
            refused(&file(1, &header, 8), &format!("type {descr:?}"));
        }
    }
}
