//! The process's memory as Linux tells it.

use std::fs;

/// Sets the peak to what is resident now; says whether the system did so.
pub(super) fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes of the largest resident size since [`reset_peak`].
pub(super) fn peak() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Bytes that could be taken without swapping.
pub(super) fn available() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// A field in kB of one of the tables of `/proc`, in bytes.
fn field(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_and_counted_in_bytes() {
        let table = "VmPeak:\t  900 kB\nVmHWM:\t    12 kB\nThreads:\t2\n";
        assert_eq!(field(table, "VmHWM:"), Some(12 << 10));
        assert_eq!(field(table, "Threads:"), None);
        assert_eq!(field(table, "VmSwap:"), None);
    }
}
