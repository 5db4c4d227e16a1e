//! The main use case as a new user runs it: the demo and its report, the client's end-to-end test, and a file
//! of the user. The test computes the expected figures independently, in integer hundredths.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;

const SALES: &str = include_str!("../../../supervisor/demo/sales.csv");
const REPORT: &str = "generate_quarterly_report";

/// Aggregates of one number column, in hundredths.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    count: i64,
    total: i64,
    min: i64,
    max: i64,
}

/// Aggregates each number column over the rows whose date begins with one of the months.
fn sums(csv: &str, months: &[&str]) -> BTreeMap<String, Sum> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a file has a header");
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for line in lines.filter(|line| line.first().is_some_and(|date| months.iter().any(|month| date.starts_with(month))))
    {
        for (name, cell) in header.iter().zip(&line).skip(1) {
            let Some(value) = hundredths(cell) else { continue };
            let sum =
                sums.entry((*name).to_owned()).or_insert_with(|| Sum { min: value, max: value, ..Sum::default() });
            sum.count += 1;
            sum.total += value;
            (sum.min, sum.max) = (sum.min.min(value), sum.max.max(value));
        }
    }
    sums
}

fn hundredths(cell: &str) -> Option<i64> {
    let (whole, part) = cell.split_once('.').unwrap_or((cell, "0"));
    let value: i64 = format!("{whole}{part:0<2}").parse().ok()?;
    (part.len() <= 2).then_some(value)
}

/// Divides and rounds to the nearest integer, half away from zero.
fn divide_rounded(dividend: i64, divisor: i64) -> i64 {
    let half = divisor.abs() / 2;
    (dividend + if dividend < 0 { -half } else { half }) / divisor
}

/// Formats as `1,234.50`, or as `1,234` without hundredths.
fn format_amount(hundredths: i64) -> String {
    let (whole, part) = (hundredths / 100, hundredths % 100);
    let digits = whole.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if part > 0 { format!("{text}.{part:02}") } else { text }
}

/// Formats the growth as `+62.1%`.
fn growth(now: i64, before: i64) -> String {
    let tenths = divide_rounded((now - before) * 1000, before);
    format!("{}{}.{}%", if tenths < 0 { '−' } else { '+' }, tenths.abs() / 10, tenths.abs() % 10)
}

fn number(value: &Json) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Fails unless the facts of each column agree with the expected aggregates.
fn assert_measures(facts: &Json, now: &BTreeMap<String, Sum>, compared: (&[&str], &[&str]), csv: &str) {
    let measures = facts["measures"].as_array().expect("facts have measures");
    assert_eq!(measures.len(), now.len(), "{measures:#?}");
    let (later, earlier) = (sums(csv, compared.0), sums(csv, compared.1));
    for measure in measures {
        let name = measure["name"].as_str().expect("a measure has a name");
        let sum = now[name];
        let assert_close = |member: &str, hundredths: f64| {
            let actual = number(&measure[member]);
            assert!((actual - hundredths / 100.0).abs() < 1e-6, "{name}.{member} is {actual}, not {hundredths} / 100");
        };
        assert_close("total", sum.total as f64);
        assert_close("mean", sum.total as f64 / sum.count as f64);
        assert_close("min", sum.min as f64);
        assert_close("max", sum.max as f64);
        match (later.get(name), earlier.get(name)) {
            (Some(later), Some(earlier)) => {
                let expected = (later.total - earlier.total) as f64 / earlier.total as f64 * 100.0;
                let actual = number(&measure["growth_pct"]);
                assert!((actual - expected).abs() < 0.01, "{name} grew by {actual} per cent, not by {expected}");
            }
            (Some(_) | None, _) => assert_eq!(measure["growth_pct"], Json::Null, "{name}"),
        }
    }
}

#[tokio::test]
async fn the_demo_writes_a_report_with_the_figures_of_its_data() -> Result<()> {
    let terminal = CliHarness::open()?;
    let output = terminal.run(&["demo", "-o", "json"]).await?;
    let document = output.expect_success()?;
    let markdown = std::fs::read_to_string(terminal.folder().join("greenroom-report/report.md"))?;
    let html = std::fs::read_to_string(terminal.folder().join("greenroom-report/report.html"))?;

    let now = sums(SALES, &["2024-10", "2024-11", "2024-12"]);
    let before = sums(SALES, &["2024-07", "2024-08", "2024-09"]);
    let names: Vec<&str> = now.keys().map(String::as_str).collect();
    assert_eq!(names, ["cost", "new_customers", "revenue", "units"]);
    for (name, title) in
        [("cost", "Cost"), ("new_customers", "New customers"), ("revenue", "Revenue"), ("units", "Units")]
    {
        let sum = now[name];
        let cells = [sum.total, divide_rounded(sum.total, sum.count), sum.min, sum.max].map(format_amount);
        let change = growth(sum.total, before[name].total);
        let row = format!("| {title} | {} | {change} |", cells.join(" | "));
        assert!(markdown.contains(&row), "{row}\n\n{markdown}");
        for figure in cells.iter().chain([&change]) {
            assert!(html.contains(figure.as_str()), "the page lacks {figure} of {title}");
        }
    }
    // The page is self-contained: its charts are inline, and it loads nothing.
    assert!(html.contains("<svg") && !html.contains("<script") && !html.contains("src=\"http"), "{html}");
    assert!(!html.contains("<link") && !html.contains("url(http"), "{html}");
    assert_eq!(document["reply"]["status"], "success");
    assert_eq!(document["reply"]["metadata"]["workflow_steps"], 5);
    assert_eq!(document["report"].as_array().context("the paths")?.len(), 2);
    for step in ["gather_data", "analyze_financials", "analyze_kpis", "create_visualizations"] {
        assert!(output.err.contains(&format!("{step} done")), "{}", output.err);
    }
    Ok(())
}

#[tokio::test]
async fn the_demo_prints_its_usage() -> Result<()> {
    let terminal = CliHarness::open()?;
    // A demo replaces the report of an earlier one.
    terminal.write_file("elsewhere/report.md", "an earlier report")?;
    let output = terminal.run(&["demo", "-o", "table", "--quarter", "Q1 2024", "--out", "elsewhere"]).await?;
    assert_eq!(output.code, 0, "{output:?}");
    for word in ["report.md", "report.html", "5 steps", "agents", "tokens", "$0.0000", "policy decisions"] {
        assert!(output.out.contains(word), "{word}: {}", output.out);
    }
    // The file begins with this quarter, so there is no earlier quarter to compare with.
    let markdown = std::fs::read_to_string(terminal.folder().join("elsewhere/report.md"))?;
    assert!(markdown.contains("| n/a |"), "{markdown}");
    Ok(())
}

#[tokio::test]
async fn a_demo_that_cannot_write_its_report_runs_nothing() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("file", "a file and no directory")?;
    for out in ["file", "file/below"] {
        let output = terminal.run(&["demo", "--out", out]).await?;
        let error = output.expect_error(2)?;
        assert_eq!(error["code"], "path_not_allowed", "{output:?}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(out)), "{error:#}");
    }
    assert_eq!(std::fs::read_to_string(terminal.folder().join("file"))?, "a file and no directory");
    let runs = terminal.run(&["runs", "list"]).await?.expect_success()?;
    assert_eq!(runs["runs"], Json::Array(Vec::new()), "{runs:#}");
    Ok(())
}

/// The end-to-end test of the client's architecture document, assertion by assertion.
#[tokio::test]
async fn a_team_of_three_writes_the_quarterly_report() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("data/files/test_data.csv", SALES)?;
    let words = ["run", "team", "report_team", "--workflow", REPORT, "-o", "json"];
    let inputs = ["--input", "quarter=Q4 2024", "--input", "data_source=test_data.csv"];
    let reply = terminal.run(&[&words[..], &inputs].concat()).await?.expect_success()?;
    let outputs = &reply["outputs"];
    assert_eq!(reply["status"], "success");
    assert!(outputs.get("executive_summary").is_some());
    assert!(outputs.get("kpi_insights").is_some());
    assert!(outputs.get("financial_summary").is_some());
    let summary = outputs["executive_summary"].as_str().context("the summary is a text")?;
    assert!(summary.chars().count() < 1000, "{summary}");
    assert_eq!(reply["metadata"]["agents_involved"], 3);
    assert_eq!(reply["metadata"]["workflow_steps"], 5);

    let team = terminal.run(&["teams", "show", "report_team", "-o", "json"]).await?.expect_success()?;
    assert_eq!(team["team"]["agents"].as_array().map(Vec::len), Some(3), "{team:#}");
    Ok(())
}

const LIGHTHOUSE: &str = "\
Day,Crew,Lamps,Oil
2024-10-03,Ann,4,10.25
2024-11-17,Bo,2,7.5
2025-01-05,Ann,3,10.5
2025-02-06,Bo,-1,20.05
2025-03-31,Ann,6,0
";

async fn report(terminal: &CliHarness, more: &[&str]) -> Result<Json> {
    let words = ["run", "workflow", REPORT, "--input", "data_source=@lighthouse.csv", "-o", "json"];
    terminal.run(&[&words[..], more].concat()).await?.expect_success()
}

#[tokio::test]
async fn any_file_with_dates_and_numbers_becomes_a_report() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("lighthouse.csv", LIGHTHOUSE)?;
    let (q4, q1) = (["2024-10", "2024-11", "2024-12"], ["2025-01", "2025-02", "2025-03"]);

    let reply = report(&terminal, &["--context", "quarter=Q1 2025"]).await?;
    assert_eq!(reply["status"], "success");
    let metadata = &reply["metadata"];
    assert_eq!((&metadata["agents_involved"], &metadata["workflow_steps"]), (&Json::from(5), &Json::from(5)));
    let checks = metadata["policy_checks"].as_array().context("policy checks")?;
    assert!(checks.iter().any(|check| check == "access_allowed"), "{checks:?}");
    // The run itself and each of its five steps.
    assert_eq!(metadata["policy_decisions"], 6);
    assert_eq!(
        metadata["tokens_used"],
        serde_json::json!({ "input": 0, "output": 0 }),
        "no language model read anything"
    );
    assert_eq!(metadata["cost_usd"].as_f64(), Some(0.0));
    assert_eq!(metadata["model"], "offline.extractive");
    let facts = &reply["outputs"]["facts"];
    assert_eq!(facts["period"]["label"], "Q1 2025");
    assert_measures(facts, &sums(LIGHTHOUSE, &q1), (&q1, &q4), LIGHTHOUSE);

    // The file begins with this quarter: the facts have no growth.
    let reply = report(&terminal, &["--context", "quarter=Q4 2024"]).await?;
    assert_measures(&reply["outputs"]["facts"], &sums(LIGHTHOUSE, &q4), (&q4, &["2024-07"]), LIGHTHOUSE);

    // Without a quarter the facts cover the whole file, and growth compares its last month with its first.
    let reply = report(&terminal, &[]).await?;
    let facts = &reply["outputs"]["facts"];
    assert_eq!((&facts["growth"]["before"], &facts["growth"]["now"]), (&"2024-10".into(), &"2025-03".into()));
    assert_measures(facts, &sums(LIGHTHOUSE, &["20"]), (&["2025-03"], &["2024-10"]), LIGHTHOUSE);
    Ok(())
}

/// The smallest input of a report: one day, no group, no earlier period.
#[tokio::test]
async fn a_file_of_one_row_becomes_a_report() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("lighthouse.csv", "Day,Lamps\n2025-01-05,3\n")?;
    let reply = report(&terminal, &[]).await?;
    let measure = &reply["outputs"]["facts"]["measures"][0];
    assert_eq!((number(&measure["total"]), &measure["growth_pct"]), (3.0, &Json::Null));
    assert_eq!(reply["outputs"]["charts"].as_array().map(Vec::len), Some(1), "{:#}", reply["outputs"]["charts"]);
    let reply = report(&terminal, &["--context", "quarter=Q1 2025"]).await?;
    assert_eq!(reply["status"], "success");
    Ok(())
}

#[tokio::test]
async fn json_and_json_lines_are_accepted_as_data() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("a.json", r#"[{"on": "2025-01-02", "sold": 3}, {"on": "2025-02-02", "sold": 4.5}]"#)?;
    terminal
        .write_file("a.jsonl", "{\"on\": \"2025-01-02\", \"sold\": 3}\n{\"on\": \"2025-02-02\", \"sold\": 4.5}\n")?;
    for file in ["data_source=@a.json", "data_source=@a.jsonl"] {
        let reply =
            terminal.run(&["run", "workflow", REPORT, "--input", file, "-o", "json"]).await?.expect_success()?;
        let measure = &reply["outputs"]["facts"]["measures"][0];
        assert_eq!((&measure["name"], number(&measure["total"])), (&Json::from("sold"), 7.5), "{file}");
        assert_eq!(number(&measure["growth_pct"]), 50.0, "{file}");
    }
    Ok(())
}
