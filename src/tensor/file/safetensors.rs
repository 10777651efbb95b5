//! The safetensors format: a JSON header with names, types, shapes and byte ranges, then the bytes.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use safetensors::tensor::{SafeTensorError, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Kind, Stored, shape_of};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Bytes of the length that a file begins with.
const LENGTH: usize = 8;

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Stored<'_>>, String> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        return Err(format!(
            "cut short: {} bytes, a safetensors file begins with {LENGTH} bytes of header length",
            bytes.len()
        ));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length)
        .ok()
        .and_then(|n| rest.get(..n))
        .ok_or_else(|| {
            format!(
                "cut short, or no safetensors file: a header of {length} bytes is promised, {} follow",
                rest.len()
            )
        })?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| match e {
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "cut short, or a header that lies: its tensors do not end where the {} bytes after it do",
            rest.len() - header.len()
        ),
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor {name:?} has a byte range that overlaps another or leaves a gap")
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor has another number of bytes than its type and shape ask for".to_string()
        }
        other => other.to_string(),
    })?;
    // The crate's map keeps the last of two entries with one name.
    if let Some(name) = repeated_key(header)? {
        return Err(format!("two tensors are named {name:?}"));
    }
    let mut views = file.tensors();
    views.sort_by(|a, b| {
        let place = |v: &TensorView| v.data().as_ptr() as usize;
        (place(&a.1), &a.0).cmp(&(place(&b.1), &b.0))
    });
    views
        .into_iter()
        .map(|(name, view)| {
            let wrong = |what: String| format!("tensor {name:?}: {what}");
            let kind = kind_of(view.dtype()).map_err(wrong)?;
            let shape = shape_of(view.shape()).map_err(wrong)?;
            let (dtype, bytes) = kind.convert(view.data()).map_err(wrong)?;
            Ok(Stored {
                name,
                dtype,
                shape,
                fortran: false,
                bytes,
            })
        })
        .collect()
}

/// The key of a file's metadata that notes are kept under. There is one only: the crate writes several in any order.
const NOTE: &str = "affekt";

/// The note of a file that has been parsed.
pub(super) fn note(bytes: &[u8]) -> Option<String> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    header.metadata().as_ref()?.get(NOTE).cloned()
}

pub(super) fn write(path: &Path, tensors: &[Stored], note: Option<&str>) -> Result<Vec<u8>> {
    let wrong = |e: SafeTensorError| Error::format(path, e.to_string());
    let views = tensors
        .iter()
        .map(|t| {
            let dtype = match t.dtype {
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::I32 => Dtype::I32,
                DType::U32 => Dtype::U32,
            };
            let view = TensorView::new(dtype, t.shape.to_vec(), &t.bytes).map_err(wrong)?;
            Ok((t.name.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    let note = note.map(|text| [(NOTE.to_string(), text.to_string())].into());
    safetensors::serialize(views, note).map_err(wrong)
}

fn kind_of(dtype: Dtype) -> Result<Kind, String> {
    Ok(match dtype {
        Dtype::F32 => Kind::Is(DType::F32),
        Dtype::F16 => Kind::Is(DType::F16),
        Dtype::I32 => Kind::Is(DType::I32),
        Dtype::U32 => Kind::Is(DType::U32),
        Dtype::I64 => Kind::I64,
        Dtype::F64 => Kind::F64,
        Dtype::BOOL => Kind::Bool,
        other => {
            return Err(format!(
                "type {other}, expected F32, F16, I32, U32, I64, F64 or BOOL"
            ));
        }
    })
}

/// The first key of a JSON object that occurs twice.
fn repeated_key(header: &[u8]) -> Result<Option<String>, String> {
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object of tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut seen = std::collections::HashSet::new();
            let mut repeated = None;
            while let Some(key) = map.next_key::<Cow<str>>()? {
                map.next_value::<IgnoredAny>()?;
                if let Some(key) = seen.replace(key) {
                    repeated.get_or_insert(key.into_owned());
                }
            }
            Ok(repeated)
        }
    }
    serde_json::Deserializer::from_slice(header)
        .deserialize_map(Keys)
        .map_err(|e| format!("the header is no JSON: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    /// A file with this header and that many bytes of data.
    fn file(header: &str, n: usize) -> Vec<u8> {
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend_from_slice(header.as_bytes());
        out.extend((0..n).map(|i| i as u8));
        out
    }

    fn refused(bytes: &[u8], because: &str) {
        let message = parse(bytes).expect_err(because);
        assert!(message.contains(because), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    const ONE: &str = r#"{"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#;

    #[test]
    fn what_is_written_is_read_back() {
        let stored = [
            ("b", DType::F32, vec![2, 1], 8usize),
            ("a", DType::F16, vec![3], 6),
            ("none", DType::I32, vec![0, 5], 0),
            ("one", DType::U32, vec![], 4),
        ]
        .map(|(name, dtype, dims, n)| Stored {
            name: name.to_string(),
            dtype,
            shape: Shape::of(&dims),
            fortran: false,
            bytes: Cow::Owned((1..=n as u8).collect()),
        });
        let bytes = write(Path::new("x.safetensors"), &stored, None).unwrap();
        let mut read = parse(&bytes).unwrap();
        assert_eq!(read.len(), stored.len());
        read.sort_by(|a, b| a.name.cmp(&b.name));
        let mut stored = stored;
        stored.sort_by(|a, b| a.name.cmp(&b.name));
        for (got, expected) in read.iter().zip(&stored) {
            assert_eq!(format!("{got:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn every_cut_is_told() {
        let whole = file(ONE, 8);
        assert_eq!(parse(&whole).unwrap()[0].shape, Shape::of(&[2, 1]));
        for n in 0..whole.len() {
            refused(&whole[..n], "cut short");
        }
        refused(&file(ONE, 9), "lies");
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let header = |rest: &str| format!(r#"{{"x":{{"dtype":{rest}}}}}"#);
        refused(&[0xff; 64], "header of 18446744073709551615 bytes");
        refused(b"\x93NUMPY\x01\x00v\x00{'descr'", "no safetensors file");
        refused(&file("", 0), "header");
        refused(&file("[]", 0), "header");
        refused(&file("{\"x\":", 0), "JSON");
        refused(&file("\u{7b}\"\\ud800\":1}", 0), "JSON");
        for (rest, because) in [
            (r#""F32","shape":[2,2],"data_offsets":[0,8]"#, "bytes"),
            (r#""F32","shape":[2,1],"data_offsets":[8,0]"#, "byte range"),
            (r#""F32","shape":[2,1],"data_offsets":[4,12]"#, "byte range"),
            (
                r#""F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]"#,
                "overflow",
            ),
            (
                r#""F32","shape":[2,-1],"data_offsets":[0,8]"#,
                "invalid JSON",
            ),
            (
                r#""F32","shape":[1,1,1,1,1,1,2],"data_offsets":[0,8]"#,
                "7 axes",
            ),
            (
                r#""F32","shape":[18446744073709551615,0],"data_offsets":[0,8]"#,
                "",
            ),
        ] {
            refused(&file(&header(rest), 8), because);
        }
    }

    #[test]
    fn a_name_given_twice_is_told() {
        let twice = r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#;
        refused(&file(twice, 8), "two tensors are named \"x\"");
    }

    #[test]
    fn other_types_are_refused_by_name() {
        for (dtype, size) in [
            ("BF16", 2),
            ("I8", 1),
            ("U8", 1),
            ("I16", 2),
            ("U16", 2),
            ("U64", 8),
            ("F8_E4M3", 1),
        ] {
            let header =
                format!(r#"{{"w\n":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{size}]}}}}"#);
            refused(&file(&header, size), &format!("type {dtype}"));
        }
    }

    #[test]
    fn metadata_is_no_tensor() {
        let header = r#"{"__metadata__":{"format":"pt"},"x":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#;
        let bytes = file(header, 2);
        let read = parse(&bytes).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].dtype, DType::U32);
        assert_eq!(read[0].bytes.as_ref(), &[0, 0, 0, 0, 1, 0, 0, 0]);
    }
}
