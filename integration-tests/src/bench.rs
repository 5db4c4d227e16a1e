//! How a benchmark says what it measured: rows with a bar, a figure and the unit of both.
//!
//! A benchmark is a program that prints its rows and appends them as JSON lines to the file that
//! `GREENROOM_BENCH_OUT` names; `bench_table` makes one table of all of them. A bar is never moved to
//! meet a figure: a row that falls short says so.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// At most this much.
    AtMost(f64),
    /// At least this much.
    AtLeast(f64),
    /// A figure to know, without a bar.
    Informational,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The benchmark that says so.
    pub group: String,
    /// What was measured.
    pub what: String,
    /// How much it was; nothing where it could not be measured.
    pub figure: Option<f64>,
    /// Of what.
    pub unit: String,
    /// What it has to reach.
    pub bar: Threshold,
    /// Why there is no figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl ResultRow {
    /// True if the figure reaches the bar. A figure that is missing reaches none.
    #[must_use]
    pub fn holds(&self) -> bool {
        match (self.bar, self.figure) {
            (Threshold::AtMost(most), Some(figure)) => figure <= most,
            (Threshold::AtLeast(least), Some(figure)) => figure >= least,
            (Threshold::AtMost(_) | Threshold::AtLeast(_), None) => false,
            (Threshold::Informational, Some(_) | None) => true,
        }
    }

    /// The figure with its unit, or why there is none, as it stands in the table.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.figure, &self.missing) {
            (Some(figure), _) => format!("{} {}", number(figure), self.unit).trim_end().to_owned(),
            (None, Some(why)) => format!("not measured: {why}"),
            (None, None) => "not measured".to_owned(),
        }
    }

    /// The bar and the mark, as they stand in the table.
    #[must_use]
    pub fn target_and_verdict(&self) -> (String, &'static str) {
        let mark = if self.holds() { "✔" } else { "✘" };
        match self.bar {
            Threshold::AtMost(most) => (format!("≤ {} {}", number(most), self.unit).trim_end().to_owned(), mark),
            Threshold::AtLeast(least) => (format!("≥ {} {}", number(least), self.unit).trim_end().to_owned(), mark),
            Threshold::Informational => ("–".to_owned(), ""),
        }
    }
}

impl fmt::Display for ResultRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bar, mark) = self.target_and_verdict();
        write!(f, "{:10} {:64} {:>16}   {bar} {mark}", self.group, self.what, self.shown())
    }
}

/// A number with as many digits as a reader can use.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints a row, and keeps it for the table.
///
/// # Errors
/// What the file system says of the file that `GREENROOM_BENCH_OUT` names.
pub fn record(group: &str, what: impl Into<String>, figure: f64, unit: &str, bar: Threshold) -> anyhow::Result<()> {
    let row = ResultRow { what: what.into(), figure: Some(figure), ..empty(group, unit, bar) };
    keep(&row)
}

/// Says that there is no figure here, and why: the bar stays in the table, and is not reached.
///
/// # Errors
/// As [`record`].
pub fn missing(group: &str, what: impl Into<String>, why: &str, unit: &str, bar: Threshold) -> anyhow::Result<()> {
    let why = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(why).trim().replace('|', "/");
    let row = ResultRow { what: what.into(), missing: Some(why), ..empty(group, unit, bar) };
    keep(&row)
}

fn empty(group: &str, unit: &str, bar: Threshold) -> ResultRow {
    let (group, unit) = (group.to_owned(), unit.to_owned());
    ResultRow { group, what: String::new(), figure: None, unit, bar, missing: None }
}

fn keep(row: &ResultRow) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{row}")?;
    if let Some(path) = std::env::var_os("GREENROOM_BENCH_OUT") {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", serde_json::to_string(row)?)?;
    }
    Ok(())
}

/// True if `GREENROOM_BENCH_QUICK` is set: spans and crowds are cut to a tenth, to see that everything
/// runs. Such figures are not comparable, and their table says so.
#[must_use]
pub fn quick() -> bool {
    std::env::var_os("GREENROOM_BENCH_QUICK").is_some()
}

/// What is measured in full, or a tenth of it in a quick run.
#[must_use]
pub fn scaled(full: u64) -> u64 {
    if quick() { full.div_ceil(10) } else { full }
}

/// Processor time that this process has used so far, on all its threads.
///
/// # Errors
/// If `/proc/self/stat` cannot be read.
pub fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program stands in brackets and may hold anything; the fields behind it are numbers.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * (1_000 / TICKS_PER_SECOND)))
}

/// The kernel's unit in `/proc/self/stat`; Linux shows 100 to programs, whatever it uses itself.
const TICKS_PER_SECOND: u64 = 100;

/// Times of one kind, to be asked for their quantiles.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    sorted: Vec<Duration>,
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Self {
        let mut sorted: Vec<_> = all.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl Latencies {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The time that the share `q` of them does not exceed; zero if there is none.
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
    /// Resident now.
    pub resident: f64,
    /// Resident at most so far.
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
    fn a_figure_that_is_missing_reaches_no_bar_and_says_why() {
        let absent =
            ResultRow { missing: Some("npm is not there".into()), ..empty("durable", "×", Threshold::AtLeast(3.0)) };
        assert!(!absent.holds());
        assert_eq!(absent.shown(), "not measured: npm is not there");
        assert_eq!(absent.target_and_verdict(), ("≥ 3.00 ×".to_owned(), "✘"));
        let there = ResultRow { figure: Some(4.0), missing: None, ..absent };
        assert!(there.holds());
        assert_eq!(there.shown(), "4.00 ×");
    }

    #[test]
    fn processor_time_is_read_and_does_not_run_backwards() {
        let before = cpu_time().unwrap_or_default();
        let spun = (0..5_000_000_u64).fold(0, |sum: u64, n| std::hint::black_box(sum.wrapping_add(n)));
        assert!(spun > 0);
        assert!(cpu_time().is_ok_and(|after| after >= before));
    }
}
