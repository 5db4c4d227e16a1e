//! Makes one table of what all benchmarks measured: on the terminal, and in `docs/benchmarks.md`.
//!
//! usage: `bench_table RESULTS.jsonl [docs/benchmarks.md [SECTION]]`. What stands in the page outside of
//! the section's two markers is left as it is; without a name it is the section `measured`.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use anyhow::Context;
use greenroom_integration_tests::bench::{ResultRow, Threshold, quick};

/// The section of the page where nothing is said.
const SECTION: &str = "measured";

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let results = words.next().context("usage: bench_table RESULTS.jsonl [PAGE.md]")?;
    let rows = read(&results)?;
    let table = table(&rows);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{table}")?;
    // The page keeps what is comparable only.
    if let Some(page) = words.next().filter(|_| !quick()) {
        write_page(&page, &words.next().unwrap_or_else(|| SECTION.to_owned()), &table)?;
    }
    let bars: Vec<&ResultRow> = rows.iter().filter(|row| row.bar != Threshold::Informational).collect();
    let reached = bars.iter().filter(|row| row.holds()).count();
    writeln!(out, "{reached} of {} bars are reached", bars.len())?;
    Ok(())
}

fn read(path: &str) -> anyhow::Result<Vec<ResultRow>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {path}"))?;
    BufReader::new(file).lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

fn table(rows: &[ResultRow]) -> String {
    let caution = if quick() { "A quick run: a tenth of everything, not comparable. " } else { "" };
    let mut text = format!("{caution}Machine: {}.\n\n| | what | bar | figure | |\n|---|---|---|---|---|\n", machine());
    for row in rows {
        let (bar, mark) = row.target_and_verdict();
        let line = format!("| {} | {} | {bar} | {} | {mark} |\n", row.group, row.what, row.shown());
        text.push_str(&line);
    }
    text
}

/// What the figures were measured on: a figure without its machine says nothing.
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
