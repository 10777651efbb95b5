//! What the tests of the command share: running it, reading what it says, files of its own.
//!
//! Trials that need an adapter are ignored where there is none, with that reason; `AFFEKT_REQUIRE=adapter` makes
//! them fail instead.

#![allow(
    dead_code,
    reason = "every test program uses its own part of this file"
)]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

pub type Test = (&'static str, fn());

pub fn main(anywhere: &'static [Test], on_a_device: &'static [Test]) -> ExitCode {
    let arguments = Arguments::from_args();
    let adapter = command(&["adapters", "--json"]).output().unwrap();
    let has_adapter = adapter.status.success();
    let required = std::env::var("AFFEKT_REQUIRE").is_ok_and(|r| r.contains("adapter"));
    let mut trials = Vec::new();
    for (name, test) in anywhere {
        trials.push(Trial::test(*name, move || {
            test();
            Ok(())
        }));
    }
    for (name, test) in on_a_device {
        let trial = Trial::test(*name, move || {
            assert!(
                has_adapter,
                "AFFEKT_REQUIRE asks for an adapter and there is none"
            );
            test();
            Ok(())
        });
        trials.push(match has_adapter || required {
            true => trial,
            false => trial.with_kind("no adapter").with_ignored_flag(true),
        });
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _ = std::fs::remove_dir_all(folder());
    conclusion.exit_code()
}

/// A folder of this process, for files and the cache.
pub fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("affekt-command-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_affekt"));
    command
        .args(arguments)
        .env("XDG_CACHE_HOME", folder().join("cache"))
        // Mesa complains on stderr where there is none.
        .env("XDG_RUNTIME_DIR", folder());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The standard output of a call that goes well and has nothing to say.
pub fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new()),
        "{arguments:?}"
    );
    text(&output.stdout)
}

pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(arguments)).unwrap()
}

/// A call that is refused with exit code 2 and one line, which holds all of `words`.
pub fn refused(arguments: &[&str], words: &[&str]) {
    refusal(&run(arguments), words, &format!("{arguments:?}"));
}

pub fn refusal(output: &Output, words: &[&str], what: &str) {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {line}");
    assert!(line.starts_with("affekt: "), "{what}: {line}");
    assert_eq!(line.lines().count(), 1, "{what}: {line}");
    assert!(!line.contains("panicked"), "{what}: {line}");
    for word in words {
        assert!(line.contains(word), "{what}: {line} lacks {word:?}");
    }
}

pub fn file(name: &str, content: &[u8]) -> String {
    let path = folder().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_string()
}

pub fn path(name: &str) -> String {
    folder().join(name).to_str().unwrap().to_string()
}
