//! How a verb ends when it does not end well, and the way to stderr.

use std::io::{self, Write as _};

/// Why a verb ended early.
#[derive(Debug)]
pub enum Failure {
    /// A check failed: exit 1.
    Checked(String),
    /// Wrong use or broken input: exit 2.
    Wrong(String),
    /// Nobody reads stdout any more: exit 0.
    Closed,
}

pub type Outcome = Result<(), Failure>;

impl From<affekt::Error> for Failure {
    fn from(error: affekt::Error) -> Self {
        match error {
            affekt::Error::KernelWrong { .. } => Failure::Checked(error.to_string()),
            other => Failure::Wrong(other.to_string()),
        }
    }
}

/// Only stdout is written through `io` here.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Wrong(format!("stdout: {error}")),
        }
    }
}

/// A line to stderr. Unlike `eprintln!` it does not panic where that is closed.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// One line, whatever was in it.
pub fn flatten(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
