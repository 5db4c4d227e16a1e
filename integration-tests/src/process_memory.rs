//! The resident memory of another process, as the kernel reports it. Its peak can be forgotten, so that the peak of what
//! follows is measured.

use std::fs;

use anyhow::Context;

/// Resident memory of a process now, in KiB; `None` once it has ended.
#[must_use]
pub fn resident_kib(process: &str) -> Option<u64> {
    field_kib(process, "VmRSS:")
}

/// Peak of the resident memory of a process, in KiB; `None` once it has ended.
#[must_use]
pub fn peak_kib(process: &str) -> Option<u64> {
    field_kib(process, "VmHWM:")
}

/// Forgets the peak so far of a process of the same user, and returns its resident memory.
///
/// # Errors
/// If the process has ended, or belongs to another user.
pub fn reset_peak(process: &str) -> anyhow::Result<u64> {
    fs::write(format!("/proc/{process}/clear_refs"), "5").context("the peak cannot be reset")?;
    resident_kib(process).context("the process has ended")
}

fn field_kib(process: &str, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_a_process_is_read_and_forgotten() {
        let own = std::process::id().to_string();
        let large = std::hint::black_box(vec![1_u8; 64 * 1024 * 1024]);
        assert!(peak_kib(&own).unwrap() >= 64 * 1024 && large.len() == 64 * 1024 * 1024);
        drop(large);
        let resident = reset_peak(&own).unwrap();
        assert!(resident > 0 && peak_kib(&own).unwrap() > 0);
        assert_eq!(resident_kib("0"), None);
    }
}
