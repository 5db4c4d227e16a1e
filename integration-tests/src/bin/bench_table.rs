//! Makes one table of the results of all benchmarks: on the terminal, and in `docs/benchmarks.md`.
//!
//! usage: `bench_table RESULTS.jsonl [docs/benchmarks.md [SECTION]]`. It replaces only the text between
//! the section's two markers; the default section is `measured`.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use anyhow::Context;
use greenroom_integration_tests::bench::{ResultRow, Threshold, is_quick};

/// The default section of the page.
const SECTION: &str = "measured";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let results = arguments.next().context("usage: bench_table RESULTS.jsonl [PAGE.md]")?;
    let rows = read(&results)?;
    let table = table(&rows);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{table}")?;
    // Only comparable results are written to the page.
    if let Some(page) = arguments.next().filter(|_| !is_quick()) {
        write_page(&page, &arguments.next().unwrap_or_else(|| SECTION.to_owned()), &table)?;
    }
    let with_target: Vec<&ResultRow> = rows.iter().filter(|row| row.threshold != Threshold::Informational).collect();
    let met = with_target.iter().filter(|row| row.is_met()).count();
    writeln!(out, "{met} of {} targets are met", with_target.len())?;
    Ok(())
}

fn read(path: &str) -> anyhow::Result<Vec<ResultRow>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
    BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

fn table(rows: &[ResultRow]) -> String {
    let caution = if is_quick() { "A quick run: a tenth of everything, not comparable. " } else { "" };
    let mut text = format!(
        "{caution}Machine: {}.\n\n| group | measurement | target | measured | |\n|---|---|---|---|---|\n",
        machine()
    );
    for row in rows {
        let (target, verdict) = row.target_and_verdict();
        let line = format!("| {} | {} | {target} | {} | {verdict} |\n", row.group, row.name, row.measured_text());
        text.push_str(&line);
    }
    text
}

/// Describes the machine: a value without its machine cannot be compared.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let kernel = Command::new("uname").arg("-r").output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let day = Command::new("date").arg("+%F").output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    format!(
        "{}, {cores} cores (virtual, shared), {} GiB, Linux {}, measured on {}",
        model.trim_start_matches([' ', '\t', ':']),
        kib / 1_048_576,
        kernel.unwrap_or_default().trim(),
        day.unwrap_or_default().trim()
    )
}

fn write_page(path: &str, section: &str, table: &str) -> anyhow::Result<()> {
    let (begin, end) = (format!("<!-- {section}: begin -->"), format!("<!-- {section}: end -->"));
    let page = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let (head, rest) = page.split_once(&begin).with_context(|| format!("{path} lacks {begin}"))?;
    let (_, tail) = rest.split_once(&end).with_context(|| format!("{path} lacks {end}"))?;
    std::fs::write(path, format!("{head}{begin}\n{table}\n{end}{tail}"))?;
    Ok(())
}
