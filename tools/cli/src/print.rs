//! Tables, numbers and JSON on stdout.

use std::io::{self, Write};

use serde_json::Value;

/// Columns as wide as their widest cell, two blanks between them, a heading if there is one. The last is not padded.
pub fn table(out: &mut impl Write, heading: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let heading: Vec<String> = heading.iter().map(|h| h.to_string()).collect();
    let lines: Vec<&Vec<String>> = (!heading.is_empty())
        .then_some(&heading)
        .into_iter()
        .chain(rows)
        .collect();
    let n_columns = lines.iter().map(|l| l.len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns)
        .map(|c| lines.iter().filter_map(|l| l.get(c)).map(width).max())
        .map(|w| w.unwrap_or(0))
        .collect();
    for line in lines {
        let mut text = String::new();
        for (cell, widest) in line.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', widest - width(cell) + 2));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Every letter of a formula takes one place on the screen.
#[expect(clippy::ptr_arg, reason = "it is mapped over cells")]
fn width(cell: &String) -> usize {
    cell.chars().count()
}

pub fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// `128 MiB`, `2.5 GiB`: as many bytes as that, in powers of 1024.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut number = n as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    match number.fract() == 0.0 || number >= 100.0 {
        true => format!("{number:.0} {}", units[unit]),
        false => format!("{number:.1} {}", units[unit]),
    }
}

/// `25.2 M`: a count in powers of 1000.
pub fn count(n: u64) -> String {
    let units = ["", " k", " M", " G", " T", " P", " E"];
    let mut number = n as f64;
    let mut unit = 0;
    while number >= 1000.0 && unit + 1 < units.len() {
        number /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => n.to_string(),
        _ => format!("{number:.1}{}", units[unit]),
    }
}

/// Six digits and no more zeros than needed.
pub fn number(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if !(-5..7).contains(&magnitude) {
        return format!("{x:.5e}");
    }
    let text = format!("{x:.*}", (5 - magnitude).max(0) as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// So many digits, in full below 10⁶: `77.1`, `0.482`, `12300`.
pub fn digits(x: f64, n: usize) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let rounded = format!("{:.*e}", n - 1, x).parse::<f64>().unwrap_or(x);
    let magnitude = rounded.abs().log10().floor() as i32;
    format!("{rounded:.*}", (n as i32 - 1 - magnitude).max(0) as usize)
}

/// `3.21 ms`.
pub fn secs(secs: f64) -> String {
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| secs.abs() >= 0.9995 * unit)
        .unwrap_or((1e-9, "ns"));
    format!("{} {name}", digits(secs / unit, 3))
}

/// `1 row`, `3 rows`.
pub fn counted(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(32768), "32 KiB");
        assert_eq!(bytes(128 << 20), "128 MiB");
        assert_eq!(bytes(5 << 29), "2.5 GiB");
        assert_eq!(bytes(u64::MAX), "16 EiB");
        assert_eq!(count(999), "999");
        assert_eq!(count(25_165_824), "25.2 M");
        assert_eq!(digits(77.149, 3), "77.1");
        assert_eq!(digits(0.04816, 2), "0.048");
        assert_eq!(digits(9.999, 3), "10.0");
        assert_eq!(digits(123_456.0, 3), "123000");
        assert_eq!(secs(0.0032149), "3.21 ms");
        assert_eq!(secs(0.99999), "1.00 s");
        assert_eq!(secs(2e-10), "0.200 ns");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(-1.5), "-1.5");
        assert_eq!(number(0.1f32.into()), "0.1");
        assert_eq!(number(65504.0), "65504");
        assert_eq!(number(1234567.0), "1234567");
        assert_eq!(number(1e-7), "1.00000e-7");
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(f64::NEG_INFINITY), "-inf");
    }

    #[test]
    fn columns_align() {
        let mut out = Vec::new();
        let rows = [["Σ", "1"], ["ab", "22"]].map(|r| r.map(String::from).to_vec());
        table(&mut out, &["a", "b"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a   b\nΣ   1\nab  22\n");
    }
}
