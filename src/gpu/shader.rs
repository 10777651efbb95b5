//! WGSL sources: prelude, imports, reflection, and errors that point into the file they came from.
//!
//! A source is one file of `shaders/` or text made by a generator. The loader prepends the prelude, replaces each
//! `#import shared/NAME` by that file once, and remembers which line came from where.

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::error::{Error, Result};

/// A shader: a file of `shaders/` or generated text.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path below `shaders/` without the ending, e.g. `norm/layer_norm`; the operator's words for generated text.
    pub name: Cow<'static, str>,
    pub text: Cow<'static, str>,
}

impl Source {
    /// A file of the source tree, brought in by `include_str!`.
    pub const fn file(name: &'static str, text: &'static str) -> Self {
        Source {
            name: Cow::Borrowed(name),
            text: Cow::Borrowed(text),
        }
    }

    /// Text made by a generator.
    pub fn generated(name: impl Into<String>, text: String) -> Self {
        Source {
            name: Cow::Owned(name.into()),
            text: Cow::Owned(text),
        }
    }
}

/// The files that others import.
const SHARED: &[(&str, &str)] = &[
    (
        "shared/matmul",
        include_str!("../../shaders/shared/matmul.wgsl"),
    ),
    (
        "shared/half",
        include_str!("../../shaders/shared/half.wgsl"),
    ),
    ("shared/nan", include_str!("../../shaders/shared/nan.wgsl")),
    (
        "shared/axes",
        include_str!("../../shaders/shared/axes.wgsl"),
    ),
    (
        "shared/index",
        include_str!("../../shaders/shared/index.wgsl"),
    ),
    (
        "shared/special",
        include_str!("../../shaders/shared/special.wgsl"),
    ),
    (
        "shared/exponential",
        include_str!("../../shaders/shared/exponential.wgsl"),
    ),
    (
        "shared/logarithm",
        include_str!("../../shaders/shared/logarithm.wgsl"),
    ),
    (
        "shared/trigonometry",
        include_str!("../../shaders/shared/trigonometry.wgsl"),
    ),
    (
        "shared/power",
        include_str!("../../shaders/shared/power.wgsl"),
    ),
    (
        "shared/philox",
        include_str!("../../shaders/shared/philox.wgsl"),
    ),
    (
        "shared/window",
        include_str!("../../shaders/shared/window.wgsl"),
    ),
    (
        "shared/reduce",
        include_str!("../../shaders/shared/reduce.wgsl"),
    ),
];

/// What the storage type `Elem` of a kernel stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Elem {
    F32,
    F16,
    I32,
    U32,
}

impl Elem {
    pub(crate) fn wgsl(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::F16 => "f16",
            Elem::I32 => "i32",
            Elem::U32 => "u32",
        }
    }
}

/// A source with prelude and imports resolved.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub text: String,
    /// For each line of `text`, the file and the line in it, counted from 1.
    lines: Vec<(Cow<'static, str>, u32)>,
}

/// Resolves `source` for one storage type.
///
/// `Acc`, the type sums are made in, is `f32` for floating point and the type itself for integers.
pub fn resolve(source: &Source, elem: Elem) -> Result<Resolved> {
    let mut out = Resolved {
        text: String::with_capacity(source.text.len() + 512),
        lines: Vec::new(),
    };
    let acc = match elem {
        Elem::F16 => Elem::F32,
        other => other,
    };
    for line in [
        if elem == Elem::F16 { "enable f16;" } else { "" },
        &format!("alias Elem = {};", elem.wgsl()),
        &format!("alias Acc = {};", acc.wgsl()),
    ] {
        if !line.is_empty() {
            out.push(line, Cow::Borrowed("prelude"), 1);
        }
    }
    let mut seen = Vec::new();
    out.append(&source.name, &source.text, &mut seen)?;
    Ok(out)
}

impl Resolved {
    fn push(&mut self, line: &str, file: Cow<'static, str>, number: u32) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push((file, number));
    }

    fn append(
        &mut self,
        name: &Cow<'static, str>,
        text: &str,
        seen: &mut Vec<&'static str>,
    ) -> Result<()> {
        for (i, line) in text.lines().enumerate() {
            let number = i as u32 + 1;
            let Some(wanted) = line.trim().strip_prefix("#import ") else {
                self.push(line, name.clone(), number);
                continue;
            };
            let wanted = wanted.trim();
            let Some(&(shared, body)) = SHARED.iter().find(|(n, _)| *n == wanted) else {
                return Err(Error::Shader {
                    name: name.to_string(),
                    report: format!("line {number}: no shared file {wanted}"),
                });
            };
            if !seen.contains(&shared) {
                seen.push(shared);
                self.append(&Cow::Borrowed(shared), body, seen)?;
            }
        }
        Ok(())
    }

    /// Parses the text and reads off what a pipeline needs to know.
    pub fn reflect(&self, name: &str, entry: &str) -> Result<Reflection> {
        let module =
            naga::front::wgsl::parse_str(&self.text).map_err(|e| self.explain(name, &e))?;
        let mut storage: Vec<(u32, bool, String)> = Vec::new();
        let mut params_size = None;
        for (_, var) in module.global_variables.iter() {
            let Some(binding) = &var.binding else {
                continue;
            };
            match var.space {
                naga::AddressSpace::Storage { access } if binding.group == 0 => {
                    let writes = access.contains(naga::StorageAccess::STORE);
                    let name = var.name.clone().unwrap_or_default();
                    storage.push((binding.binding, writes, name));
                }
                naga::AddressSpace::Uniform if binding.group == 1 && binding.binding == 0 => {
                    params_size = Some(module.types[var.ty].inner.size(module.to_ctx()));
                }
                _ => {
                    return Err(Error::Shader {
                        name: name.to_string(),
                        report: format!(
                            "binding @group({}) @binding({}) is neither a buffer of group 0 nor the params of group 1",
                            binding.group, binding.binding
                        ),
                    });
                }
            }
        }
        storage.sort_unstable();
        // Two entry points of a file may see one binding as different types.
        storage.dedup_by_key(|(b, _, _)| *b);
        if storage
            .iter()
            .enumerate()
            .any(|(i, (b, _, _))| *b != i as u32)
        {
            return Err(Error::Shader {
                name: name.to_string(),
                report: "bindings of group 0 must count 0, 1, 2, …".to_string(),
            });
        }
        if !module.entry_points.iter().any(|e| e.name == entry) {
            return Err(Error::Shader {
                name: name.to_string(),
                report: format!("no entry point {entry}"),
            });
        }
        let overrides = module
            .overrides
            .iter()
            .filter_map(|(_, o)| o.name.clone())
            .collect();
        Ok(Reflection {
            writes: storage.iter().map(|(_, w, _)| *w).collect(),
            names: storage.into_iter().map(|(_, _, n)| n).collect(),
            params_size: params_size.unwrap_or(0),
            overrides,
        })
    }

    /// naga's complaint, with the place given in the file that the line came from.
    fn explain(&self, name: &str, error: &naga::front::wgsl::ParseError) -> Error {
        let place = error.location(&self.text).and_then(|l| {
            let (file, line) = self.lines.get(l.line_number as usize - 1)?;
            let text = self.text.lines().nth(l.line_number as usize - 1)?;
            let caret = " ".repeat(l.line_position.saturating_sub(1) as usize);
            Some(format!(
                "{file}.wgsl:{line}:{}\n  {text}\n  {caret}^",
                l.line_position
            ))
        });
        Error::Shader {
            name: name.to_string(),
            report: match place {
                Some(place) => format!("{} at {place}", error.message()),
                None => error.message().to_string(),
            },
        }
    }
}

/// What a pipeline needs to know of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reflection {
    /// For each storage binding, whether the kernel writes it.
    pub writes: Vec<bool>,
    /// The names of the storage bindings.
    pub names: Vec<String>,
    /// Bytes of the uniform `params`; 0 if there is none.
    pub params_size: u32,
    pub overrides: Vec<String>,
}

/// A hash of everything that decides what a kernel computes; part of the key of a verdict.
pub fn fingerprint(resolved: &Resolved, entry: &str, constants: &[(&'static str, f64)]) -> u64 {
    // DefaultHasher is SipHash with fixed keys: stable within one version of the standard library, and a changed
    // hash only costs one more verification.
    let mut hasher = DefaultHasher::new();
    resolved.text.hash(&mut hasher);
    entry.hash(&mut hasher);
    for (name, value) in constants {
        name.hash(&mut hasher);
        value.to_bits().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_come_once_and_errors_name_the_file() {
        let source = Source::file(
            "norm/broken",
            "#import shared/index\n#import shared/index\nfn f() { let x = y; }\n",
        );
        let resolved = resolve(&source, Elem::F32).unwrap();
        assert_eq!(resolved.text.matches("fn linear_workgroup").count(), 1);
        let error = resolved.reflect("norm/broken", "f").unwrap_err();
        assert!(error.to_string().contains("norm/broken.wgsl:3:"), "{error}");
    }

    #[test]
    fn an_unknown_import_is_named() {
        let source = Source::file("a", "#import shared/nothing\n");
        let error = resolve(&source, Elem::F32).unwrap_err();
        assert!(error.to_string().contains("shared/nothing"), "{error}");
    }
}
