//! The report shows the figures of the facts, and no element that a text of the data contains.

use greenroom_protocol::{Metadata, Timestamp, Values};
use serde_json::json;

use super::{Report, ReportError, ReportInput, write};
use crate::charts;
use crate::models::offline::DISCLAIMER;
use crate::tables::{self, TableFacts};

fn facts_of(text: &str, quarter: Option<&str>) -> TableFacts {
    let options = quarter.map(tables::TableOptions::for_quarter).unwrap_or_default();
    tables::read_facts("sales.csv", text.as_bytes(), &options).unwrap()
}

fn try_report(outputs: &Values, facts: Option<&TableFacts>, metadata: &Metadata) -> Result<Report, ReportError> {
    let mut outputs = outputs.clone();
    if let Some(facts) = facts {
        outputs.insert("facts".to_owned(), serde_json::to_value(facts).unwrap());
    }
    write(&ReportInput {
        company: Some("Fennmoor <b>& Sons</b>"),
        run: "run_00000000000000000000000000000001",
        workflow: "generate_quarterly_report",
        outputs: &outputs,
        metadata,
        at: Timestamp::from_micros(1_735_689_600_000_000),
    })
}

fn report(outputs: &Values, facts: Option<&TableFacts>) -> Report {
    let models = vec!["offline.extractive".to_owned(), "openai.gpt-5".to_owned()];
    let metadata = Metadata { workflow_steps: 5, policy_decisions: 6, models, ..Metadata::default() };
    try_report(outputs, facts, &metadata).unwrap()
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
    assert!(
        report.html.contains("run_00000000000000000000000000000001")
            && report.html.contains("offline.extractive, openai.gpt-5")
    );
    assert_eq!(report.html.matches("<svg").count(), charts::render_all(&facts, false).len());
}

#[test]
fn facts_are_found_in_the_outputs() {
    let facts = facts_of(DEMO, None);
    let outputs: Values = [("raw_data".to_owned(), serde_json::to_value(&facts).unwrap())].into();
    let report = report(&outputs, None);
    assert!(report.html.contains("By region") && !report.html.contains("by_month"));
    let nested: Values = [("result".to_owned(), json!({ "text": "Up.", "inner": [{ "figures": facts }] }))].into();
    assert!(super::find_facts(&nested).is_ok());
}

#[test]
fn outputs_without_facts_or_with_those_of_two_tables_have_no_report() {
    let none: Values = [("text".to_owned(), json!("Up.")), ("more".to_owned(), json!(1))].into();
    let error = try_report(&none, None, &Metadata::default()).unwrap_err();
    assert_eq!(error, ReportError::NoFacts { outputs: vec!["more".to_owned(), "text".to_owned()] });
    assert!(error.to_string().contains("more, text"), "{error}");

    let json = |facts: &TableFacts| serde_json::to_value(facts).unwrap();
    let (one, other) = (facts_of(DEMO, None), facts_of(DEMO, Some("Q1 2025")));
    let mut outputs: Values = [("a".to_owned(), json(&one)), ("b".to_owned(), json(&other))].into();
    let error = try_report(&outputs, None, &Metadata::default()).unwrap_err();
    assert_eq!(error, ReportError::SeveralFacts { outputs: vec!["a".to_owned(), "b".to_owned()] });
    outputs.insert("b".to_owned(), json(&one));
    assert!(try_report(&outputs, None, &Metadata::default()).is_ok(), "the same facts twice are one table");
    outputs.insert("b".to_owned(), json(&other));
    let report = try_report(&outputs, Some(&other), &Metadata::default()).unwrap();
    assert!(report.markdown.contains("372,972.75"), "{}", report.markdown);
}

#[test]
fn the_final_output_is_the_summary_and_every_other_text_is_a_section() {
    let facts = facts_of(DEMO, None);
    let revenue = facts.measure("revenue").unwrap();
    let mut outputs: Values = [
        ("board_letter".to_owned(), json!("Dear board.")),
        ("final_output".to_owned(), json!("Dear board.")),
        ("appendix".to_owned(), json!(["One.", "Two."])),
        ("kpis".to_owned(), json!([{ "name": "revenue", "value": revenue.total }])),
        ("ratios".to_owned(), json!([{ "name": "margin", "value": 3 }])),
    ]
    .into();
    let markdown = report(&outputs, Some(&facts)).markdown;
    let position = |text: &str| markdown.find(text).unwrap_or_else(|| panic!("{text} is not in {markdown}"));
    assert!(position("## Board letter") < position("## Appendix") && position("## Appendix") < position("## Ratios"));
    assert_eq!(markdown.matches("Dear board.").count(), 1);
    assert!(!markdown.contains("## KPIs") && !markdown.contains("## Kpis"), "the table of measures has them");
    outputs.insert("final_output".to_owned(), json!("Another text."));
    let markdown = report(&outputs, Some(&facts)).markdown;
    assert!(markdown.contains("## Summary\n\nAnother text."), "{markdown}");
}

#[test]
fn the_provenance_is_that_of_the_record() {
    let facts = facts_of(DEMO, None);
    let agent = |id: &str| greenroom_protocol::AgentId::new(id).unwrap();
    let metadata = Metadata {
        // The members of the team that ran; the third agent is none.
        agents_involved: 2,
        agents: vec![agent("a"), agent("b"), agent("c")],
        policy_decisions: 7,
        policy_denials: 2,
        policy_revisions: vec!["r1".to_owned(), "r2".to_owned()],
        tokens_used: greenroom_protocol::Tokens { input: 12, output: 3 },
        cost: greenroom_protocol::MicroUsd(250_000),
        estimated: true,
        price: greenroom_protocol::PriceBasis::Assumed,
        ..Metadata::default()
    };
    let markdown = try_report(&Values::new(), Some(&facts), &metadata).unwrap().markdown;
    for row in [
        "- Models: none",
        "- Agents involved: 3: a, b, c",
        "- Policy decisions: 7 on the requests of its steps, 2 denied",
        "- Policy revisions: r1, r2",
        "- Tokens: 12 in, 3 out",
        "- Cost: $0.2500, partly estimated, at an assumed price",
    ] {
        assert!(markdown.contains(row), "{row} is not in {markdown}");
    }
    assert!(!markdown.contains("all allowed"));
}

#[test]
fn a_report_without_a_company_names_none() {
    let facts = facts_of(DEMO, Some("Q1 2025"));
    let outputs: Values = [("facts".to_owned(), serde_json::to_value(&facts).unwrap())].into();
    let input = ReportInput {
        company: None,
        run: "run_00000000000000000000000000000001",
        workflow: "generate_quarterly_report",
        outputs: &outputs,
        metadata: &Metadata::default(),
        at: Timestamp::from_micros(1_735_689_600_000_000),
    };
    let report = write(&input).unwrap();
    assert!(report.markdown.starts_with("# Quarterly report\n"), "{}", report.markdown);
    assert!(report.html.contains("<h1>Quarterly report</h1>"), "{}", report.html);
}

#[test]
fn texts_that_no_model_wrote_are_marked_once_in_each_section_and_at_the_top() {
    let facts = facts_of(DEMO, None);
    let marked = |text: &str| format!("{text} {DISCLAIMER}");
    let outputs: Values =
        [("summary".to_owned(), json!(marked("Up."))), ("points".to_owned(), json!([marked("One."), marked("Two.")]))]
            .into();
    let metadata = Metadata { disclaimer: Some(DISCLAIMER.to_owned()), ..Metadata::default() };
    let report = try_report(&outputs, Some(&facts), &metadata).unwrap();
    assert_eq!(report.markdown.matches(DISCLAIMER).count(), 3, "{}", report.markdown);
    assert!(report.markdown.contains("- One.\n- Two.\n\n(offline"), "{}", report.markdown);
    assert_eq!(report.html.matches(DISCLAIMER).count(), 3);
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

#[test]
fn a_reader_sees_the_notes_and_warnings_about_the_data() {
    let facts = facts_of("date;note;revenue\n2024-10-01;<b>;1,200\n2024-11-01;x;3,400\nTotal;;4,600\n", None);
    let report = report(&Values::new(), Some(&facts));
    for page in [&report.html, &report.markdown] {
        assert!(page.contains("Notes on the data") && page.contains("Total rows are left out"), "{page}");
    }
    assert!(
        report.html.contains("<li class=\"warning\"><b>Check:</b> Column &quot;revenue&quot;, line 2"),
        "{}",
        report.html
    );
    assert!(report.markdown.contains("- **Check:** Column \"revenue\", line 2"), "{}", report.markdown);
}

#[test]
fn figures_that_do_not_add_up_have_no_total_in_the_report() {
    let facts = facts_of("date,revenue,margin_pct\n2024-10-01,5,20\n2024-11-01,6,40\n", None);
    let report = report(&Values::new(), Some(&facts));
    assert!(
        report.html.contains("<td data-label=\"Total\">not added up</td><td data-label=\"Mean\">30%</td>"),
        "{}",
        report.html
    );
    assert!(!report.markdown.contains("60%"), "{}", report.markdown);
}

#[test]
fn amounts_of_several_currencies_are_shown_beside_each_other() {
    let facts = facts_of("date,amount\n2024-10-01,$100\n2024-11-01,SEK 200\n", None);
    let report = report(&Values::new(), Some(&facts));
    for text in ["$100", "SEK 200"] {
        assert!(report.html.contains(text) && report.markdown.contains(text), "{text} in {}", report.markdown);
    }
    assert!(!report.markdown.contains("300"), "{}", report.markdown);
}
