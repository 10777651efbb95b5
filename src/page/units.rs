//! Numbers as people read them. What is not finite is a dash.

/// What stands where there is no number.
pub(crate) const NOTHING: &str = "–";

/// Three digits, and no zeros behind more than that: `7.31`, `73.1`, `731`, `73 100`.
pub(crate) fn three(x: f64) -> String {
    let places = match x.abs() {
        _ if !x.is_finite() => return NOTHING.to_string(),
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 || x == 0.0 => 2,
        // 0.0731
        x => (2 - x.log10().floor() as i32).clamp(2, 6) as usize,
    };
    let text = format!("{x:.places$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    match rest.is_empty() {
        true => grouped(whole),
        false => text,
    }
}

/// `12 345`: a whole number with thin gaps.
pub(crate) fn grouped(digits: &str) -> String {
    let bare = digits.trim_start_matches('-');
    if bare.len() < 5 {
        return digits.to_string();
    }
    let mut out = digits[..digits.len() - bare.len()].to_string();
    for (i, c) in bare.chars().enumerate() {
        if i > 0 && (bare.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// `12.3 µs`, `4.56 ms`, `2 min 5 s`.
pub(crate) fn secs(s: f64) -> String {
    match s.abs() {
        _ if !s.is_finite() => NOTHING.to_string(),
        0.0 => "0 s".to_string(),
        a if a < 999.5e-9 => format!("{} ns", three(1e9 * s)),
        a if a < 999.5e-6 => format!("{} µs", three(1e6 * s)),
        a if a < 999.5e-3 => format!("{} ms", three(1e3 * s)),
        a if a < 99.95 => format!("{} s", three(s)),
        a => {
            let whole = a.round() as u64;
            match whole / 3600 {
                0 => format!("{} min {} s", whole / 60, whole % 60),
                hours => format!("{hours} h {} min", whole / 60 % 60),
            }
        }
    }
}

/// `11.9–12.8 µs`: both in the unit of the higher one.
#[cfg(feature = "bench")]
pub(crate) fn secs_between(low: f64, high: f64) -> String {
    let of_high = secs(high);
    let scale = match of_high.rsplit_once(' ') {
        Some((number, "ns")) => (1e9, number, "ns"),
        Some((number, "µs")) => (1e6, number, "µs"),
        Some((number, "ms")) => (1e3, number, "ms"),
        Some((number, "s")) if high < 99.95 => (1.0, number, "s"),
        _ => return format!("{} – {of_high}", secs(low)),
    };
    format!("{}–{} {}", three(scale.0 * low), scale.1, scale.2)
}

/// `128 MiB`, `2.5 GiB`.
pub(crate) fn bytes(n: u64) -> String {
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

/// `2026-11-25 21:06 UTC` of seconds since 1970.
pub(crate) fn date(since_1970: u64) -> String {
    let minutes = since_1970 / 60;
    let days = minutes / (24 * 60);
    // Days are counted from the first of March of the year 0, so that a leap day ends its year.
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60 % 24,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let said = [7.314, 73.14, 731.4, 73_140.0, 0.07314, 99.96, 0.0, 1e-12].map(three);
        let expected = [
            "7.31",
            "73.1",
            "731",
            "73\u{202f}140",
            "0.0731",
            "100",
            "0.00",
            "0.000000",
        ];
        assert_eq!(said, expected);
        assert_eq!(three(f64::NAN), NOTHING);
        let said = [0.0, 8.5e-7, 12.34e-6, 9.999e-4, 0.25, 2.0, 125.0, 7384.0].map(secs);
        let expected = [
            "0 s",
            "850 ns",
            "12.3 µs",
            "1.00 ms",
            "250 ms",
            "2.00 s",
            "2 min 5 s",
            "2 h 3 min",
        ];
        assert_eq!(said, expected);
        assert_eq!(secs(f64::INFINITY), NOTHING);
        assert_eq!(bytes(5 << 29), "2.5 GiB");
    }

    #[cfg(feature = "bench")]
    #[test]
    fn a_span_has_the_unit_of_its_end() {
        assert_eq!(secs_between(9.5e-7, 1.28e-6), "0.950–1.28 µs");
        assert_eq!(secs_between(1.0, 125.0), "1.00 s – 2 min 5 s");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        // A leap day of a year that 400 divides, and the day after.
        assert_eq!(date(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(date(951_868_800), "2000-03-01 00:00 UTC");
        assert_eq!(date(4_102_444_799), "2099-12-31 23:59 UTC");
    }
}
