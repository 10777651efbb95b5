//! The results that are kept: files that this version reads, without wrong rows, and a README that says what they say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use affekt::bench::Report;
use affekt::bench::report::{Machine, RowVerdict};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/results")
}

/// Every kept file by its name without the ending.
fn kept() -> BTreeMap<String, Report> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).expect("results are kept") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().and_then(|n| n.to_str());
        let report = Report::read(&path).expect("this version reads it");
        out.insert(name.expect("a plain name").to_string(), report);
    }
    out
}

#[test]
fn kept_results_are_read_and_right() {
    let kept = kept();
    for name in ["lavapipe", "swiftshader"] {
        let report = kept
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        let [machine] = report.machines.as_slice() else {
            panic!("{name} has {} machines", report.machines.len());
        };
        assert!(machine.ceilings.is_some(), "{name}");
        assert!(machine.rows.len() > 100, "{name}: {}", machine.rows.len());
    }
    for (name, report) in &kept {
        assert!(!report.machines.is_empty(), "{name}");
        for machine in &report.machines {
            assert!(!machine.environment.engine.is_empty(), "{name}");
            for row in &machine.rows {
                let said = row.detail.as_deref().unwrap_or_default();
                assert_ne!(
                    row.verdict,
                    RowVerdict::Wrong,
                    "{name}: {}: {said}",
                    row.name()
                );
                let timed = row.median.is_some_and(|m| m > 0.0);
                assert_eq!(
                    timed,
                    row.verdict == RowVerdict::Right,
                    "{name}: {}",
                    row.name()
                );
            }
        }
    }
}

/// Seconds of a row or of a training step.
fn median(machine: &Machine, name: &str) -> Option<f64> {
    let row = machine.rows.iter().find(|r| r.name() == name);
    let step = machine
        .steps
        .iter()
        .find(|s| format!("step/{}", s.model) == name);
    row.map_or(step.and_then(|s| s.median), |r| r.median)
}

/// `3.52 ms` in seconds.
fn secs(cell: &str) -> Option<f64> {
    let (number, unit) = cell.split_once(' ')?;
    let unit = match unit {
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

/// Cells of a line of a table, without blanks and backticks.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner
        .split('|')
        .map(|c| c.trim().trim_matches('`').to_string())
        .collect()
}

#[test]
fn the_readme_says_what_the_files_say() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).expect("there is a README");
    let kept = kept();
    let mut lines = text.lines().skip_while(|l| !l.starts_with("| row | "));
    let heading = cells(lines.next().expect("there is a table of rows"));
    let machines: Vec<&Machine> = heading[1..]
        .iter()
        .map(|name| &kept[&name.to_lowercase()].machines[0])
        .collect();
    let rows: Vec<Vec<String>> = lines
        .skip(1)
        .take_while(|l| l.starts_with('|'))
        .map(cells)
        .collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        for (cell, machine) in row[1..].iter().zip(&machines) {
            let adapter = &machine.environment.adapter;
            let measured = median(machine, &row[0]);
            let measured = measured.unwrap_or_else(|| panic!("{} has no {}", adapter, row[0]));
            let said = secs(cell).unwrap_or_else(|| panic!("{cell:?} is no time"));
            // Three digits.
            assert!(
                (said - measured).abs() <= 0.005 * measured,
                "{} on {adapter}: the file has {measured} s, README {cell}",
                row[0]
            );
        }
    }
}
