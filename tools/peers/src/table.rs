//! The table on stdout. Measures nothing.

use affekt::bench::report::{Row, RowVerdict};

use crate::work::Work;

/// The load averages of this machine, where the system tells them.
pub fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    Some(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

pub fn head() {
    println!(
        "{:<26}  {:>10}  {:>10}  {:>8}  {:>6}",
        "", "affekt ms", "burn ms", "speed", "hoped"
    );
}

/// One row: both medians, how many times faster affekt is, and a mark where that is less than was hoped for.
pub fn line(work: &Work, [ours, theirs]: &[Row; 2]) {
    let ms = |row: &Row| match row.median {
        Some(secs) => format!("{:.3}", secs * 1e3),
        None => "-".to_string(),
    };
    let (speed, mark) = match (ours.median, theirs.median) {
        (Some(ours), Some(theirs)) => {
            let speed = theirs / ours;
            let mark = match speed {
                s if s < 1.0 => "  SLOWER",
                s if s < work.hoped => "  short",
                _ => "",
            };
            (format!("{speed:.2} x"), mark.to_string())
        }
        _ => {
            let why = theirs.detail.as_deref().unwrap_or("");
            let mark = match theirs.verdict {
                RowVerdict::Wrong => format!("  WRONG: {why}"),
                _ => format!("  burn: {why}"),
            };
            ("-".to_string(), mark)
        }
    };
    let noisy = match ours.noisy || theirs.noisy {
        true => "  noisy",
        false => "",
    };
    println!(
        "{:<26}  {:>10}  {:>10}  {speed:>8}  {:>4} x{mark}{noisy}",
        work.name(),
        ms(ours),
        ms(theirs),
        work.hoped
    );
}

pub fn foot(slowdown: f64) {
    println!(
        "\nload after      {}",
        load().as_deref().unwrap_or("unknown")
    );
    println!("slowdown        {slowdown:.2}, of a product of 512 after the run over before it");
}
