//! Which module may name which: a layer uses those below it, and wgpu is named in `gpu` alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module with those it may use, besides `error` and itself.
const LAYERS: &[(&str, &[&str])] = &[
    // Writing files by rename; below everything.
    ("disk", &[]),
    // The shell of pages; below everything.
    ("page", &[]),
    ("gpu", &[]),
    ("verdict", &["gpu"]),
    ("tensor", &["gpu"]),
    ("fuse", &["verdict", "tensor", "gpu"]),
    ("tape", &["fuse", "verdict", "tensor", "gpu"]),
    ("ops", &["tape", "fuse", "verdict", "tensor", "gpu"]),
    ("nn", &["ops", "tape", "fuse", "verdict", "tensor", "gpu"]),
    (
        "models",
        &["nn", "ops", "tape", "fuse", "verdict", "tensor", "gpu"],
    ),
    ("data", &["ops", "tape", "fuse", "verdict", "tensor", "gpu"]),
    (
        "train",
        &[
            "data", "models", "nn", "ops", "tape", "fuse", "verdict", "tensor", "gpu",
        ],
    ),
    (
        "check",
        &["ops", "tape", "fuse", "verdict", "tensor", "gpu"],
    ),
    (
        "bench",
        &[
            "check", "models", "nn", "ops", "tape", "fuse", "verdict", "tensor", "gpu",
        ],
    ),
];

#[test]
fn a_layer_names_only_those_below_it() {
    let reexports = reexports();
    let mut found = Vec::new();
    let mut n_paths = 0;
    for file in rust_files(&source()) {
        let place = file.strip_prefix(source()).expect("it was found there");
        let Some(own) = layer_of(place) else { continue };
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == own) else {
            found.push(format!(
                "{}: {own} is no layer of tests/layering.rs",
                place.display()
            ));
            continue;
        };
        for (line, name) in crate_paths(&code_of(&file)) {
            let module = reexports.get(&name).unwrap_or(&name);
            n_paths += 1;
            if module != "error"
                && module != "disk"
                && module != "page"
                && *module != own
                && !below.contains(&module.as_str())
            {
                found.push(format!(
                    "{}:{line}: {own} names crate::{name}",
                    place.display()
                ));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert!(n_paths > 100, "the scan found {n_paths} paths only");
}

#[test]
fn only_gpu_names_wgpu() {
    let mut found = Vec::new();
    for file in rust_files(&source()) {
        let place = file.strip_prefix(source()).expect("it was found there");
        // lib.rs hands wgpu out, so that an app can name the types of its device.
        if place.starts_with("gpu") || place == Path::new("lib.rs") {
            continue;
        }
        for (i, line) in code_of(&file).lines().enumerate() {
            if line.contains("wgpu::") || line.trim_start().starts_with("use wgpu") {
                found.push(format!("{}:{}: {}", place.display(), i + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// `gpu` of `gpu/device.rs` and of `gpu.rs`; nothing for `lib.rs` and `error.rs`, which belong to all.
fn layer_of(place: &Path) -> Option<String> {
    let first = Path::new(place.iter().next()?).file_stem()?;
    let name = first.to_string_lossy().into_owned();
    (name != "lib" && name != "error").then_some(name)
}

/// A file without comments and without its tests.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("it can be read");
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    let blank = |line: &str| match line.trim_start().starts_with("//") {
        true => String::from("\n"),
        false => format!("{line}\n"),
    };
    code.lines().map(blank).collect()
}

/// First names of the paths below `crate::`, with their lines.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = 1 + code[..at].matches('\n').count();
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            paths.push((line, word(rest)));
            continue;
        };
        // The names right inside the braces.
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => paths.push((line, word(std::mem::take(&mut item).trim()))),
                c => item.push(c),
            }
        }
        if !item.trim().is_empty() {
            paths.push((line, word(item.trim())));
        }
    }
    paths
}

/// The module behind each name that lib.rs re-exports.
fn reexports() -> BTreeMap<String, String> {
    let code = code_of(&source().join("lib.rs"));
    let mut names = BTreeMap::new();
    for statement in code.split(';') {
        let Some((_, path)) = statement.split_once("pub use ") else {
            continue;
        };
        let (module, rest) = path.split_once("::").unwrap_or((path.trim(), path));
        for name in rest.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if !name.is_empty() {
                names.insert(name.to_string(), module.trim().to_string());
            }
        }
    }
    names
}

#[test]
fn the_scan_reads_grouped_and_plain_paths() {
    let code =
        "use crate::{gpu::{Device, Mode}, ops, tape::no_grad};\nlet x = crate::fuse::cast(x);";
    let names: Vec<(usize, String)> = crate_paths(code);
    let expected = [(1, "gpu"), (1, "ops"), (1, "tape"), (2, "fuse")];
    assert!(
        names.iter().map(|(l, n)| (*l, n.as_str())).eq(expected),
        "{names:?}"
    );
    assert_eq!(reexports().get("Device").map(String::as_str), Some("gpu"));
}
