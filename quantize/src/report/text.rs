//! Figures in words: bytes, decibels, seconds.

use pochade::paint::MemoryPlan;

/// Bytes in the unit that leaves a number above 1, as disks count.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = UNITS.into_iter().find(|(size, _)| count as f64 >= *size);
    unit.map_or_else(
        || format!("{count} B"),
        |(size, name)| format!("{} {name}", three_digits(count as f64 / size)),
    )
}

/// Memory in MiB.
pub(super) fn memory(count: u64) -> String {
    format!("{} MiB", count.div_ceil(1 << 20))
}

/// Numbers in millions.
pub(super) fn millions(count: u64) -> String {
    format!("{:.2} M", count as f64 / 1e6)
}

/// Numbers of a part, and how many of them are left out.
pub(super) fn parameters(all: u64, left_out: u64) -> String {
    match left_out {
        0 => millions(all),
        some => format!("{}, {} left out", millions(all), millions(some)),
    }
}

/// Decibels, or that nothing differs.
pub(super) fn decibels(db: Option<f64>) -> String {
    db.map_or_else(|| "identical".to_owned(), |db| format!("{db:.1} dB"))
}

/// Predicted seconds, minutes or hours: two digits, since more would be a promise.
pub(super) fn seconds(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(7200.0, "h"), (120.0, "min"), (0.1, "s")];
    let unit = UNITS.into_iter().find(|(least, _)| seconds >= *least).map(|(_, name)| name);
    let (value, name) = match unit {
        Some("h") => (seconds / 3600.0, "h"),
        Some("min") => (seconds / 60.0, "min"),
        Some(_) => (seconds, "s"),
        None => (seconds * 1e3, "ms"),
    };
    format!("{} {name}", two_digits(value))
}

/// A share of 1 in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// How a plan keeps to a board's memory; nothing where it need not.
pub(super) fn memory_plan(plan: &MemoryPlan) -> String {
    if plan.streamed.is_empty() {
        return String::new();
    }
    let parts: Vec<_> = plan.streamed.iter().map(|part| part.name()).collect();
    format!("{} read as needed", parts.join(", "))
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

fn two_digits(value: f64) -> String {
    match value {
        v if v < 0.995 => format!("{v:.2}"),
        v if v < 9.95 => format!("{v:.1}"),
        v if v < 99.5 => format!("{v:.0}"),
        v => format!("{:.0}", (v / 10.0).round() * 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_few_digits_and_the_unit_that_suits_them() {
        let found = [999, 1_000, 8_553_344, 123_456_789, 1_135_882_560].map(bytes);
        assert_eq!(found, ["999 B", "1.00 kB", "8.55 MB", "123 MB", "1.14 GB"]);
        let found = [0.0049, 0.5, 12.34, 119.0, 180.0, 9000.0].map(seconds);
        assert_eq!(found, ["4.9 ms", "0.50 s", "12 s", "120 s", "3.0 min", "2.5 h"]);
        assert_eq!((decibels(None), decibels(Some(31.26))), ("identical".into(), "31.3 dB".into()));
    }
}
