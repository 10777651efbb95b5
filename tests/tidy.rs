//! What every file keeps to, whatever is in it.

use std::path::{Path, PathBuf};

/// Files of `src` that may be longer than [`MOST_LINES`], with the reason.
const LONG: &[(&str, &str)] = &[
    (
        "src/ops/linalg/matmul.rs",
        "one operator with its cases, twin and the test that every variant is verified",
    ),
    ("src/ops/op.rs", "one idea with its tests"),
];
const MOST_LINES: usize = 700;

/// Words that have no place outside of tests.
const UNWELCOME: &[&str] = &["todo!(", "unimplemented!(", ".unwrap()", "dbg!("];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder with one of these endings, as paths from the root with `/`.
fn files(folder: &str, endings: &[&str]) -> Vec<String> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return; // not every folder of the plan exists yet
        };
        for entry in entries {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    walk(&path, out);
                }
            } else {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    let mut names: Vec<String> = paths
        .iter()
        .filter(|p| {
            p.extension()
                .is_some_and(|e| endings.iter().any(|w| *w == e))
        })
        .filter_map(|p| Some(p.strip_prefix(root()).ok()?.to_str()?.replace('\\', "/")))
        .collect();
    names.sort();
    names
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).expect("it can be read")
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_shader_is_used_has_a_header_and_mirrors_its_operator() {
    let rust: String = files("src", &["rs"]).iter().map(|f| read(f)).collect();
    let shaders = files("shaders", &["wgsl"]);
    assert!(shaders.len() > 10, "{shaders:?}");
    let texts: String = shaders.iter().map(|f| read(f)).collect();
    let mut found = Vec::new();
    for file in &shaders {
        let name = file
            .trim_start_matches("shaders/")
            .trim_end_matches(".wgsl");
        if !rust.contains(&format!("/{file}\"")) && !rust.contains(&format!("wgsl!(\"{name}\")")) {
            found.push(format!("{file}: no file of src includes it"));
        }
        if !read(file).starts_with("// ") {
            found.push(format!("{file}: does not open with a comment"));
        }
        let path = file
            .trim_start_matches("shaders/")
            .trim_end_matches(".wgsl");
        let Some((family, name)) = path.split_once('/') else {
            found.push(format!("{file}: lies in no family"));
            continue;
        };
        if family == "shared" {
            let import = format!("#import {path}");
            if !texts.contains(&import) && !rust.contains(&import) {
                found.push(format!("{file}: nobody imports it"));
            }
            continue;
        }
        // What instruments measure with and spoil is no operator's.
        if ["bench", "check"].contains(&family) {
            continue;
        }
        // norm/layer_norm_vjp belongs to ops/norm/layer_norm.
        let mirrors = files(&format!("src/ops/{family}"), &["rs"])
            .iter()
            .any(|rs| {
                let op = rs.rsplit('/').next().unwrap_or("").trim_end_matches(".rs");
                name == op
                    || name
                        .strip_prefix(op)
                        .is_some_and(|rest| rest.starts_with('_'))
            });
        if !mirrors {
            found.push(format!(
                "{file}: no operator in src/ops/{family} is named so"
            ));
        }
    }
    none(found);
}

#[test]
fn every_operator_opens_with_formula_gradient_and_source() {
    let mut found = Vec::new();
    let mut n_operators = 0;
    for file in files("src/ops", &["rs"]) {
        let text = read(&file);
        let in_a_family = file.matches('/').count() > 2 && !file.ends_with("/mod.rs");
        if !in_a_family || !text.contains("Signature {\n") {
            continue;
        }
        n_operators += 1;
        let header: Vec<&str> = text.lines().take_while(|l| l.starts_with("//!")).collect();
        let place = |word: &str| header.iter().position(|l| l.starts_with(word));
        let places = [place("//! y"), place("//! vjp:"), place("//! source:")];
        if places[0] != Some(0) || places.contains(&None) || !places.is_sorted() {
            found.push(format!("{file}: does not open with y, vjp and source"));
        }
    }
    assert!(n_operators > 8, "{n_operators} operators found");
    none(found);
}

#[test]
fn no_file_is_too_long() {
    let mut found = Vec::new();
    for file in files("src", &["rs"]) {
        let lines = read(&file).lines().count();
        let excused = LONG.iter().any(|(name, _)| *name == file);
        if lines > MOST_LINES && !excused {
            found.push(format!("{file}: {lines} lines, at most {MOST_LINES}"));
        }
        if lines <= MOST_LINES && excused {
            found.push(format!(
                "{file}: {lines} lines; it needs no excuse any more"
            ));
        }
    }
    none(found);
}

#[test]
fn nothing_unfinished_or_careless_outside_of_tests() {
    let mut found = Vec::new();
    for folder in ["src", "tools"] {
        for file in files(folder, &["rs"]) {
            if file.contains("/tests/") {
                continue;
            }
            let text = read(&file);
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
            for (i, line) in code.lines().enumerate() {
                let comment = line.trim_start().starts_with("//");
                for word in UNWELCOME.iter().filter(|w| !comment && line.contains(**w)) {
                    found.push(format!("{file}:{}: {word}", i + 1));
                }
            }
        }
    }
    none(found);
}

#[test]
fn no_tabs_and_no_trailing_whitespace() {
    let folders = [
        "src", "shaders", "tests", "tools", "examples", "benches", ".ci",
    ];
    let endings = ["rs", "wgsl", "toml", "md", "sh", "html", "js", "css"];
    let mut found = Vec::new();
    let top = ["Cargo.toml", "README.md"].map(String::from);
    let below = folders.iter().flat_map(|f| files(f, &endings));
    for file in below.chain(top.into_iter().filter(|f| root().join(f).exists())) {
        let text = read(&file);
        for (i, line) in text.lines().enumerate() {
            if line.contains('\t') {
                found.push(format!("{file}:{}: a tab", i + 1));
            }
            if line.ends_with(char::is_whitespace) {
                found.push(format!("{file}:{}: trailing whitespace", i + 1));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            found.push(format!("{file}: the last line does not end"));
        }
    }
    none(found);
}
