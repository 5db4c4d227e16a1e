//! The result of an evaluation as JUnit XML, which services of continuous integration show.

use super::outcome::{Evaluation, ExampleResult, Verdict};

/// Writes the document.
pub(super) fn to_xml(evaluation: &Evaluation) -> String {
    let (failed, skipped) = (evaluation.count(Verdict::Failed), evaluation.count(Verdict::Skipped));
    let total_ms: u64 = evaluation.results.iter().map(|result| result.duration_ms).fold(0, u64::saturating_add);
    let cases: String = evaluation.results.iter().map(case).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"greenroom eval\" tests=\"{}\" \
         failures=\"{failed}\" skipped=\"{skipped}\" time=\"{}\">\n{cases}</testsuite>\n",
        evaluation.results.len(),
        seconds(total_ms)
    )
}

fn case(result: &ExampleResult) -> String {
    let opening = format!(
        "  <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escaped(result.agent.as_str()),
        escaped(&result.example),
        seconds(result.duration_ms)
    );
    match result.verdict {
        Verdict::Passed => format!("{opening}/>\n"),
        Verdict::Skipped => {
            let reason = escaped(result.skipped.as_deref().unwrap_or_default());
            format!("{opening}><skipped message=\"{reason}\"/></testcase>\n")
        }
        Verdict::Failed => {
            let lines = result.failure_lines();
            let outputs = result.outputs.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "{opening}><failure message=\"{}\">{}\n{}</failure></testcase>\n",
                escaped(lines.first().map(String::as_str).unwrap_or_default()),
                escaped(&lines.join("\n")),
                escaped(&outputs)
            )
        }
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1_000, milliseconds % 1_000)
}

/// Escapes what XML reserves, and replaces the control characters that it cannot contain.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(c),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use greenroom_definitions::expectation::AssertionFailure;
    use greenroom_protocol::AgentId;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_verdict_is_a_case_and_no_text_breaks_the_document() {
        let agent = AgentId::new("a").unwrap();
        let passed =
            ExampleResult { verdict: Verdict::Passed, duration_ms: 1_050, ..ExampleResult::new(&agent, 0, None) };
        let skipped =
            ExampleResult { skipped: Some("no <file>".to_owned()), ..ExampleResult::new(&agent, 1, Some("b & c")) };
        let reason = "`x` is \"]]>\u{7}\"".to_owned();
        let failed = ExampleResult {
            verdict: Verdict::Failed,
            failures: vec![AssertionFailure { number: 0, assertion: String::new(), reason }],
            outputs: Some(json!({ "x": "<b>" })),
            ..ExampleResult::new(&agent, 2, None)
        };
        let xml = to_xml(&Evaluation { results: vec![passed, skipped, failed], ..Evaluation::default() });
        assert!(xml.contains("tests=\"3\" failures=\"1\" skipped=\"1\" time=\"1.050\""), "{xml}");
        assert!(xml.contains("name=\"b &amp; c\"") && xml.contains("message=\"no &lt;file&gt;\""), "{xml}");
        assert!(xml.contains("]]&gt;\u{fffd}") && xml.contains("&lt;b&gt;") && !xml.contains('\u{7}'), "{xml}");
    }
}
