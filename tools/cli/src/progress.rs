//! One line on stderr that is written over and over; none where that is no terminal.

use std::io::{self, IsTerminal as _, Write as _};

/// Most letters of a line: one that wraps cannot be written over.
const WIDTH: usize = 78;

#[derive(Default)]
pub struct Progress {
    shown: bool,
}

impl Progress {
    pub fn show(&mut self, line: &str) {
        if io::stderr().is_terminal() {
            let line: String = line.chars().take(WIDTH).collect();
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            self.shown = true;
        }
    }

    pub fn clear(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.shown = false;
        }
    }

    /// A line that stays.
    pub fn say(&mut self, line: &str) {
        self.clear();
        crate::outcome::say(line);
    }
}

/// `[########            ]` for a share from 0 to 1.
pub fn bar(share: f64) -> String {
    const CELLS: usize = 20;
    let full = (share.clamp(0.0, 1.0) * CELLS as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), " ".repeat(CELLS - full))
}

/// `1:05`, `2:03:04`.
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// `0.123`; a dash before the first loss has been read, which is some steps late.
pub fn loss(loss: f64) -> String {
    match loss.is_nan() {
        true => "-".to_string(),
        false => format!("{loss:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_clocks() {
        assert_eq!(bar(0.5), "[##########          ]");
        assert_eq!(bar(7.0), "[####################]");
        assert_eq!(clock(65.2), "1:05");
        assert_eq!(clock(7384.0), "2:03:04");
        assert_eq!([loss(f64::NAN), loss(1.0)], ["-", "1.000"]);
    }
}
