//! The report shows the figures of the facts, and no element that a text of the data contains.

use greenroom_protocol::{Metadata, Timestamp, Values};
use serde_json::json;

use super::{Report, ReportInput, write};
use crate::charts;
use crate::tables::{self, TableFacts};

fn facts_of(text: &str, quarter: Option<&str>) -> TableFacts {
    tables::read_facts("sales.csv", text.as_bytes(), quarter).unwrap()
}

fn report(outputs: &Values, facts: Option<&TableFacts>) -> Report {
    write(&ReportInput {
        company: Some("Fennmoor <b>& Sons</b>"),
        run: "run_00000000000000000000000000000001",
        workflow: "generate_quarterly_report",
        outputs,
        facts,
        metadata: &Metadata {
            workflow_steps: 5,
            policy_decisions: 6,
            model: Some("offline.extract".into()),
            ..Metadata::default()
        },
        policy: Some("abc123"),
        at: Timestamp::from_micros(1_735_689_600_000_000),
    })
}

const DEMO: &str = include_str!("../../../../supervisor/demo/sales.csv");

#[test]
fn the_figures_are_those_of_the_data() {
    let facts = facts_of(DEMO, Some("Q1 2025"));
    let outputs: Values = [("executive_summary".to_owned(), json!("Revenue **fell**."))].into();
    let report = report(&outputs, Some(&facts));
    for figure in ["372,972.75", "179,780.54", "6,356", "968", "−32.9%"] {
        assert!(report.html.contains(figure), "{figure} is not in the page");
        assert!(report.markdown.contains(figure), "{figure} is not in the Markdown");
    }
    assert!(report.html.contains("Revenue <strong>fell</strong>."));
    assert!(report.html.contains("run_00000000000000000000000000000001") && report.html.contains("offline.extract"));
    assert_eq!(report.html.matches("<svg").count(), charts::render_all(&facts, false).len());
}

#[test]
fn facts_are_found_in_the_outputs() {
    let facts = facts_of(DEMO, None);
    let outputs: Values = [("raw_data".to_owned(), serde_json::to_value(&facts).unwrap())].into();
    let report = report(&outputs, None);
    assert!(report.html.contains("By region") && !report.html.contains("by_month"));
}

#[test]
fn growth_is_absent_without_a_comparison() {
    let facts = facts_of("date,revenue\n2024-01-05,5\n2024-01-06,7\n", Some("Q1 2024"));
    let report = report(&Values::new(), Some(&facts));
    assert!(report.html.contains("<td data-label=\"Growth\">n/a</td>"), "{}", report.html);
}

#[test]
fn no_text_of_the_data_becomes_an_element() {
    let evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'";
    let csv = format!(
        "date,\"{0}\",\"cost{0}\"\n2024-01-05,\"{0}\",5\n2024-02-05,\"{0}\",6\n2024-02-06,b,6\n2024-02-06,b,6\n",
        evil.replace('"', "\"\"")
    );
    let facts = facts_of(&csv, None);
    let outputs: Values = [
        ("executive_summary".to_owned(), json!(format!("{evil} [x](javascript:alert(1)) ![y](https://evil.example/z) <https://evil.example>\n\n<iframe src=x>\n"))),
        (evil.to_owned(), json!([evil, { evil: evil }])),
        ("charts".to_owned(), json!([{ "title": evil, "svg": "<svg onload=alert(1)></svg>" }])),
    ]
    .into();
    let report = report(&outputs, Some(&facts));
    for page in [&report.html, &report.markdown] {
        for bad in ["<script", "<img", "<iframe", "<b>&", "<b> &", "onload", "<https"] {
            assert!(!page.contains(bad), "{bad} in {page}");
        }
    }
    assert!(!report.markdown.contains("]("), "a link in {}", report.markdown);
    assert!(!report.html.contains("href") && !report.html.contains("src=\""), "a link or a source in the page");
    assert!(report.html.contains("&lt;script&gt;"));
}
