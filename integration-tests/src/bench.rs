//! Reports the results of benchmarks: rows of a measured value, its threshold and the unit of both.
//!
//! A benchmark is a program that prints its rows and appends them as JSON lines to the file that
//! `GREENROOM_BENCH_OUT` names; `bench_table` makes one table of all of them. A threshold is never
//! changed to fit a measured value: a row that misses it is marked.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process_time::processor_time;

/// The target of a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// At most this much.
    AtMost(f64),
    /// At least this much.
    AtLeast(f64),
    /// No target; the value is only reported.
    Informational,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The benchmark that measured it.
    pub group: String,
    /// Name of the measurement.
    pub name: String,
    /// The measured value; `None` if the measurement failed.
    pub measured: Option<f64>,
    /// Unit of the value and of the threshold.
    pub unit: String,
    /// Target of the value.
    pub threshold: Threshold,
    /// Reason why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl ResultRow {
    /// True if the value meets the threshold. A missing value meets none.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match (self.threshold, self.measured) {
            (Threshold::AtMost(max), Some(measured)) => measured <= max,
            (Threshold::AtLeast(min), Some(measured)) => measured >= min,
            (Threshold::AtMost(_) | Threshold::AtLeast(_), None) => false,
            (Threshold::Informational, Some(_) | None) => true,
        }
    }

    /// The value with its unit, or the reason why there is none, as the table shows it.
    #[must_use]
    pub fn measured_text(&self) -> String {
        match (self.measured, &self.missing) {
            (Some(measured), _) => format!("{} {}", number(measured), self.unit).trim_end().to_owned(),
            (None, Some(reason)) => format!("not measured: {reason}"),
            (None, None) => "not measured".to_owned(),
        }
    }

    /// The target and the mark of the verdict, as the table shows them.
    #[must_use]
    pub fn target_and_verdict(&self) -> (String, &'static str) {
        let verdict = if self.is_met() { "✔" } else { "✘" };
        match self.threshold {
            Threshold::AtMost(max) => (format!("≤ {} {}", number(max), self.unit).trim_end().to_owned(), verdict),
            Threshold::AtLeast(min) => (format!("≥ {} {}", number(min), self.unit).trim_end().to_owned(), verdict),
            Threshold::Informational => ("–".to_owned(), ""),
        }
    }
}

impl fmt::Display for ResultRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threshold, verdict) = self.target_and_verdict();
        write!(f, "{:10} {:64} {:>16}   {threshold} {verdict}", self.group, self.name, self.measured_text())
    }
}

/// Formats a number with about three significant digits.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints a row and appends it to the results.
///
/// # Errors
/// If the file that `GREENROOM_BENCH_OUT` names cannot be written.
pub fn record(
    group: &str,
    name: impl Into<String>,
    measured: f64,
    unit: &str,
    threshold: Threshold,
) -> anyhow::Result<()> {
    let row = ResultRow { name: name.into(), measured: Some(measured), ..new_row(group, unit, threshold) };
    write_row(&row)
}

/// Reports a missing value with its reason: the target stays in the table and counts as missed.
///
/// # Errors
/// As [`record`].
pub fn missing(
    group: &str,
    name: impl Into<String>,
    reason: &str,
    unit: &str,
    threshold: Threshold,
) -> anyhow::Result<()> {
    let reason = reason.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(reason).trim().replace('|', "/");
    let row = ResultRow { name: name.into(), missing: Some(reason), ..new_row(group, unit, threshold) };
    write_row(&row)
}

fn new_row(group: &str, unit: &str, threshold: Threshold) -> ResultRow {
    let (group, unit) = (group.to_owned(), unit.to_owned());
    ResultRow { group, name: String::new(), measured: None, unit, threshold, missing: None }
}

fn write_row(row: &ResultRow) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{row}")?;
    if let Some(path) = std::env::var_os("GREENROOM_BENCH_OUT") {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", serde_json::to_string(row)?)?;
    }
    Ok(())
}

/// True if `GREENROOM_BENCH_QUICK` is set: durations and loads are reduced to a tenth, to check that
/// everything runs. Such values are not comparable, and their table is marked.
#[must_use]
pub fn is_quick() -> bool {
    std::env::var_os("GREENROOM_BENCH_QUICK").is_some()
}

/// `full`, or a tenth of it in a quick run.
#[must_use]
pub fn scaled(full: u64) -> u64 {
    if is_quick() { full.div_ceil(10) } else { full }
}

/// Processor time that this process has used so far, on all its threads.
///
/// # Errors
/// If `/proc/self/stat` cannot be read.
pub fn cpu_time() -> anyhow::Result<Duration> {
    processor_time("self")
}

/// Durations of one measurement, with their quantiles.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    sorted: Vec<Duration>,
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl Latencies {
    /// Number of durations.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The duration that the share `q` of them does not exceed; zero if there are none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a list of samples"
    )]
    pub fn quantile(&self, q: f64) -> Duration {
        let index = (self.sorted.len().saturating_sub(1) as f64 * q).round() as usize;
        self.sorted.get(index).copied().unwrap_or_default()
    }

    /// A quantile in microseconds.
    #[must_use]
    pub fn micros(&self, q: f64) -> f64 {
        self.quantile(q).as_secs_f64() * 1e6
    }

    /// A quantile in milliseconds.
    #[must_use]
    pub fn millis(&self, q: f64) -> f64 {
        self.quantile(q).as_secs_f64() * 1e3
    }
}

/// Memory of this process, in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Resident memory now.
    pub resident: f64,
    /// Peak of the resident memory so far.
    pub peak: f64,
}

/// Reads this process's memory from the kernel.
///
/// # Errors
/// If `/proc/self/status` cannot be read.
pub fn memory() -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    Ok(Memory { resident: field("VmRSS:"), peak: field("VmHWM:") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_meets_no_threshold_and_reports_its_reason() {
        let absent =
            ResultRow { missing: Some("npm is missing".into()), ..new_row("durable", "×", Threshold::AtLeast(3.0)) };
        assert!(!absent.is_met());
        assert_eq!(absent.measured_text(), "not measured: npm is missing");
        assert_eq!(absent.target_and_verdict(), ("≥ 3.00 ×".to_owned(), "✘"));
        let present = ResultRow { measured: Some(4.0), missing: None, ..absent };
        assert!(present.is_met());
        assert_eq!(present.measured_text(), "4.00 ×");
    }
}
