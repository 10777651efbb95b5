//! Tensors from and to files: safetensors and npy, by the ending of the name.
//!
//! A file is read whole and everything its header says is checked against the bytes that are there before anything is
//! allocated from it. `F32`, `F16`, `I32` and `U32` are taken as they are; `I64` becomes `I32` and `F64` becomes
//! `F32` if every number fits, `BOOL` becomes `U32`. Any other type is refused by its name.

mod npy;
mod safetensors;

use std::borrow::Cow;
use std::path::Path;

use crate::disk::write_durably;
use crate::error::{Error, Result};
use crate::gpu::Device;
use crate::tensor::{DType, Shape, Tensor};

/// Loads every tensor of a `.safetensors` or `.npy` file, in the order of their bytes in the file.
///
/// The array of an npy file has no name of its own: it gets that of the file, without folder and ending. An array in
/// Fortran order becomes a strided view, without a copy.
///
/// Errors: [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is not what its ending promises, is cut
/// short, or holds a type or a number that no tensor can; [`Error::Limit`], [`Error::OutOfMemory`].
///
/// ```no_run
/// # fn main() -> affekt::Result<()> {
/// # let device = affekt::Device::open_default()?;
/// for (name, tensor) in affekt::tensor::file::load(&device, "weights.safetensors")? {
///     println!("{name} {:?}", tensor.shape());
/// }
/// # Ok(())
/// # }
/// ```
pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
    Ok(load_with_note(device, path)?.0)
}

/// As [`load`], with the text that [`save_with_note`] put beside the tensors.
pub fn load_with_note(
    device: &Device,
    path: impl AsRef<Path>,
) -> Result<(Vec<(String, Tensor)>, Option<String>)> {
    let path = path.as_ref();
    let format = Format::of(path)?;
    let bytes = read(path)?;
    let stored = parse(format, path, &bytes)?;
    let note = match format {
        Format::Safetensors => safetensors::note(&bytes),
        Format::Npy => None,
    };
    let mut out = Vec::with_capacity(stored.len());
    for tensor in stored {
        let loaded = if tensor.fortran {
            // Reversed axes lie row-major in the file.
            let mut dims = tensor.shape.to_vec();
            dims.reverse();
            let reversed = Tensor::from_bytes(device, tensor.dtype, &tensor.bytes, dims)?;
            let axes: Vec<usize> = (0..tensor.shape.len()).rev().collect();
            let layout = reversed.layout().permute(&axes);
            reversed.view(layout)
        } else {
            Tensor::from_bytes(device, tensor.dtype, &tensor.bytes, tensor.shape)?
        };
        out.push((tensor.name, loaded));
    }
    Ok((out, note))
}

/// Saves tensors to a `.safetensors` file, or one tensor to an `.npy` file, row-major.
///
/// The file is written beside and renamed, so whoever opens it sees the old content or the new one. Names must differ;
/// an npy file keeps none.
///
/// Errors: [`Error::Format`] for two tensors of one name, several tensors in an npy file, or another ending;
/// [`Error::Io`] if the file cannot be written: the old one is still there.
///
/// ```no_run
/// # fn main() -> affekt::Result<()> {
/// # let device = affekt::Device::open_default()?;
/// let x = affekt::Tensor::from_slice(&device, &[1.0f32, 2.0], [2])?;
/// affekt::tensor::file::save("x.safetensors", &[("x", &x)])?;
/// # Ok(())
/// # }
/// ```
pub fn save(path: impl AsRef<Path>, tensors: &[(&str, &Tensor)]) -> Result<()> {
    save_all(path.as_ref(), tensors, None, Numbers::Any)
}

/// As [`save`], to a safetensors file, with a text of one's own in its header. Equal tensors and text give equal bytes.
///
/// Errors: as there; [`Error::Format`] for an npy file, which has no place for a text.
pub fn save_with_note(
    path: impl AsRef<Path>,
    tensors: &[(&str, &Tensor)],
    note: &str,
) -> Result<()> {
    save_all(path.as_ref(), tensors, Some(note), Numbers::Any)
}

/// As [`save_with_note`], for what must be fit to go on from.
///
/// Errors: as there; [`Error::NotFinite`] with the name of the first `F32` tensor that holds such a number, and nothing is
/// written.
#[cfg(feature = "train")]
pub(crate) fn save_finite_with_note(
    path: &Path,
    tensors: &[(&str, &Tensor)],
    note: &str,
) -> Result<()> {
    save_all(path, tensors, Some(note), Numbers::Finite)
}

/// Which numbers may be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Any,
    Finite,
}

fn save_all(
    path: &Path,
    tensors: &[(&str, &Tensor)],
    note: Option<&str>,
    numbers: Numbers,
) -> Result<()> {
    let format = Format::of(path)?;
    if let Some((i, (name, _))) = tensors
        .iter()
        .enumerate()
        .find(|(i, (name, _))| tensors[..*i].iter().any(|(other, _)| other == name))
    {
        return Err(Error::format(
            path,
            format!("tensor {i} is named {name:?}, and so is one before it"),
        ));
    }
    let stored = tensors
        .iter()
        .map(|(name, tensor)| {
            let bytes = row_major(tensor)?;
            let finite = |b: &[u8]| {
                b.try_into()
                    .is_ok_and(|b| f32::from_ne_bytes(b).is_finite())
            };
            if numbers == Numbers::Finite
                && tensor.dtype() == DType::F32
                && !bytes.chunks_exact(4).all(finite)
            {
                return Err(Error::NotFinite {
                    what: name.to_string(),
                    step: None,
                });
            }
            Ok(Stored {
                name: name.to_string(),
                dtype: tensor.dtype(),
                shape: *tensor.shape(),
                fortran: false,
                bytes: Cow::Owned(bytes),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = match format {
        Format::Safetensors => safetensors::write(path, &stored, note)?,
        Format::Npy if note.is_some() => {
            return Err(Error::format(path, "an npy file has no place for a note"));
        }
        Format::Npy => match stored.as_slice() {
            [one] => npy::write(one),
            several => {
                return Err(Error::format(
                    path,
                    format!("an npy file holds one tensor, {} given", several.len()),
                ));
            }
        },
    };
    write_durably(path, &bytes).map_err(|e| Error::io(path, &e))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    Npy,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Ok(Format::Safetensors),
            Some("npy") => Ok(Format::Npy),
            _ => Err(Error::format(
                path,
                "the name ends neither in .safetensors nor in .npy",
            )),
        }
    }
}

/// One tensor as a file holds it, in a type that a [`Tensor`] can have.
#[derive(Debug)]
struct Stored<'a> {
    name: String,
    dtype: DType,
    shape: Shape,
    /// Whether the first axis is the one whose elements lie side by side.
    fortran: bool,
    bytes: Cow<'a, [u8]>,
}

/// Element types of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Is(DType),
    Bool,
    I64,
    F64,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Kind::Is(dtype) => dtype.size(),
            Kind::Bool => 1,
            Kind::I64 | Kind::F64 => 8,
        }
    }

    /// Little-endian bytes in a type that a tensor can have, or what is wrong with them.
    fn convert(self, bytes: &[u8]) -> Result<(DType, Cow<'_, [u8]>), String> {
        let words = || {
            bytes
                .chunks_exact(8)
                .map(|b| b.try_into().expect("a chunk has eight bytes"))
        };
        let mut out = Vec::new();
        match self {
            Kind::Is(dtype) => return Ok((dtype, Cow::Borrowed(bytes))),
            Kind::Bool => {
                out.reserve_exact(bytes.len() * 4);
                for (i, b) in bytes.iter().enumerate() {
                    if *b > 1 {
                        return Err(format!("element {i} is {b}, expected a BOOL, 0 or 1"));
                    }
                    out.extend_from_slice(&u32::from(*b).to_le_bytes());
                }
                Ok((DType::U32, Cow::Owned(out)))
            }
            Kind::I64 => {
                out.reserve_exact(bytes.len() / 2);
                for (i, b) in words().enumerate() {
                    let wide = i64::from_le_bytes(b);
                    let narrow = i32::try_from(wide)
                        .map_err(|_| format!("element {i} is {wide}, which no i32 holds"))?;
                    out.extend_from_slice(&narrow.to_le_bytes());
                }
                Ok((DType::I32, Cow::Owned(out)))
            }
            Kind::F64 => {
                out.reserve_exact(bytes.len() / 2);
                for (i, b) in words().enumerate() {
                    let wide = f64::from_le_bytes(b);
                    let narrow = wide as f32;
                    if narrow.is_infinite() && wide.is_finite() {
                        return Err(format!("element {i} is {wide:e}, which no f32 holds"));
                    }
                    out.extend_from_slice(&narrow.to_le_bytes());
                }
                Ok((DType::F32, Cow::Owned(out)))
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let about = std::fs::metadata(path).map_err(|e| Error::io(path, &e))?;
    if !about.is_file() {
        // A pipe or a device file may never end.
        return Err(Error::format(path, "not a regular file"));
    }
    if about.len() == 0 {
        return Err(Error::format(path, "the file is empty"));
    }
    std::fs::read(path).map_err(|e| Error::io(path, &e))
}

fn parse<'a>(format: Format, path: &Path, bytes: &'a [u8]) -> Result<Vec<Stored<'a>>> {
    let parsed = match format {
        Format::Safetensors => safetensors::parse(bytes),
        Format::Npy => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            npy::parse(&name, bytes).map(|one| vec![one])
        }
    };
    parsed.map_err(|message| Error::format(path, message))
}

/// The shape of a tensor in a file, or what is wrong with it.
fn shape_of(dims: &[usize]) -> Result<Shape, String> {
    Shape::new(dims).map_err(|e| match e {
        Error::Rank { message, .. } => message,
        _ => format!("shape {dims:?} has more elements than can be counted"),
    })
}

fn row_major(tensor: &Tensor) -> Result<Vec<u8>> {
    Ok(match tensor.dtype() {
        DType::F32 => bytemuck::cast_slice(&tensor.to_vec::<f32>()?).to_vec(),
        DType::F16 => bytemuck::cast_slice(&tensor.to_vec::<half::f16>()?).to_vec(),
        DType::I32 => bytemuck::cast_slice(&tensor.to_vec::<i32>()?).to_vec(),
        DType::U32 => bytemuck::cast_slice(&tensor.to_vec::<u32>()?).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_are_named() {
        let wide: Vec<u8> = [1i64, -(1 << 31), 1 << 31]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let (dtype, narrow) = Kind::I64.convert(&wide[..16]).unwrap();
        assert_eq!(dtype, DType::I32);
        assert_eq!(
            bytemuck::pod_collect_to_vec::<u8, i32>(&narrow),
            [1, i32::MIN]
        );
        assert_eq!(
            Kind::I64.convert(&wide).unwrap_err(),
            "element 2 is 2147483648, which no i32 holds"
        );
        let wide: Vec<u8> = [0.1f64, f64::INFINITY, 1e39]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let (_, narrow) = Kind::F64.convert(&wide[..16]).unwrap();
        assert_eq!(
            bytemuck::pod_collect_to_vec::<u8, f32>(&narrow),
            [0.1f32, f32::INFINITY]
        );
        assert!(Kind::F64.convert(&wide).unwrap_err().contains("element 2"));
        assert_eq!(
            Kind::Bool.convert(&[1, 0]).unwrap().1.as_ref(),
            &[1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert!(Kind::Bool.convert(&[1, 2]).is_err());
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let folder = std::env::temp_dir().join(format!("affekt-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let empty = folder.join("empty.npy");
        std::fs::write(&empty, b"").unwrap();
        let message = |path: &Path| read(path).unwrap_err().to_string();
        assert!(message(&empty).ends_with("empty.npy: the file is empty"));
        assert!(message(&folder).ends_with("not a regular file"));
        assert!(matches!(
            read(&folder.join("absent.npy")),
            Err(Error::Io { .. })
        ));
        assert!(matches!(
            Format::of(Path::new("weights.bin")),
            Err(Error::Format { .. })
        ));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
