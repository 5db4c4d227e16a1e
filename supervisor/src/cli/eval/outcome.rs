//! The result of an evaluation: for each example a verdict, and how it differs from an earlier result.

use std::collections::BTreeMap;

use greenroom_definitions::expectation::AssertionFailure;
use greenroom_protocol::{AgentId, Json, MicroUsd};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::output::table;

/// The verdict on one example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Every assertion holds.
    Passed,
    /// An assertion does not hold.
    Failed,
    /// The example was not run.
    Skipped,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of one example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ExampleResult {
    pub(super) agent: AgentId,
    /// Its name, else its number from 1.
    pub(super) example: String,
    pub(super) verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) failures: Vec<AssertionFailure>,
    /// The outputs of an example that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outputs: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    pub(super) cost_micro_usd: u64,
    pub(super) duration_ms: u64,
}

impl ExampleResult {
    /// The result of an example that was not run.
    pub(super) fn new(agent: &AgentId, number: usize, name: Option<&str>) -> Self {
        Self {
            agent: agent.clone(),
            example: name.map_or_else(|| format!("example {}", number + 1), str::to_owned),
            verdict: Verdict::Skipped,
            skipped: None,
            failures: Vec::new(),
            outputs: None,
            error: None,
            model: None,
            cost_micro_usd: 0,
            duration_ms: 0,
        }
    }

    /// The assertions that failed, one in a line.
    pub(super) fn failure_lines(&self) -> Vec<String> {
        let described = |failure: &AssertionFailure| match failure.assertion.as_str() {
            "" => failure.reason.clone(),
            assertion => format!("assertion {} {assertion}: {}", failure.number + 1, failure.reason),
        };
        self.failures.iter().map(described).collect()
    }

    /// The result in one line.
    pub(super) fn line(&self) -> String {
        let reason = self.skipped.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{} {} · {}{reason}", self.verdict.as_str(), self.agent, self.example)
    }
}

/// The result of an evaluation, as it is kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Evaluation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// True if the evaluation did not end: an example that is missing was not run.
    #[serde(default, rename = "incomplete", skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_incomplete: bool,
    pub(super) results: Vec<ExampleResult>,
}

/// How an evaluation differs from an earlier one. Examples are named as `AGENT · EXAMPLE`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Comparison {
    /// Examples that passed before and fail now.
    pub(super) broken: Vec<String>,
    /// Examples that failed before and pass now.
    pub(super) fixed: Vec<String>,
    /// Examples that are only in this evaluation; none if the earlier one is incomplete.
    pub(super) added: Vec<String>,
    /// Examples that are only in the earlier one.
    pub(super) removed: Vec<String>,
    /// The cost of the earlier one.
    pub(super) cost_micro_usd_before: u64,
    /// True if the earlier one did not end.
    pub(super) incomplete_before: bool,
}

impl Evaluation {
    /// The number of examples with this verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == verdict).count()
    }

    /// The cost of all examples.
    pub(super) fn cost_micro_usd(&self) -> u64 {
        self.results.iter().map(|result| result.cost_micro_usd).fold(0, u64::saturating_add)
    }

    fn by_name(&self) -> BTreeMap<String, Verdict> {
        self.results.iter().map(|result| (format!("{} · {}", result.agent, result.example), result.verdict)).collect()
    }

    /// Compares this evaluation with an earlier one. An example that was skipped in one of both is not compared, nor is one
    /// that an incomplete evaluation did not come to.
    pub(super) fn compare(&self, before: &Self) -> Comparison {
        let (now, earlier) = (self.by_name(), before.by_name());
        let changed = |from: Verdict, to: Verdict| -> Vec<String> {
            let is_changed =
                |(name, verdict): &(&String, &Verdict)| **verdict == to && earlier.get(*name) == Some(&from);
            now.iter().filter(is_changed).map(|(name, _)| name.clone()).collect()
        };
        let is_added = |name: &&String| !before.is_incomplete && !earlier.contains_key(*name);
        Comparison {
            broken: changed(Verdict::Passed, Verdict::Failed),
            fixed: changed(Verdict::Failed, Verdict::Passed),
            added: now.keys().filter(is_added).cloned().collect(),
            removed: earlier.keys().filter(|name| !now.contains_key(*name)).cloned().collect(),
            cost_micro_usd_before: before.cost_micro_usd(),
            incomplete_before: before.is_incomplete,
        }
    }

    /// The evaluation as a document.
    pub(super) fn to_document(&self, comparison: Option<&Comparison>) -> Json {
        json!({
            "model": self.model,
            "passed": self.count(Verdict::Passed),
            "failed": self.count(Verdict::Failed),
            "skipped": self.count(Verdict::Skipped),
            "cost_micro_usd": self.cost_micro_usd(),
            "results": self.results,
            "comparison": comparison,
        })
    }

    /// The evaluation as text: a table, then each example that failed with its assertions and its outputs.
    pub(super) fn format(&self, comparison: Option<&Comparison>) -> String {
        let rows: Vec<Json> = self
            .results
            .iter()
            .map(|result| {
                json!({
                    "agent": result.agent,
                    "example": result.example,
                    "verdict": result.verdict.as_str(),
                    "usd": format!("{:.5}", MicroUsd(result.cost_micro_usd).as_usd()),
                    "ms": result.duration_ms,
                    "reason": result.skipped,
                })
            })
            .collect();
        let columns = [
            ("agent", "AGENT"),
            ("example", "EXAMPLE"),
            ("verdict", "VERDICT"),
            ("usd", "USD"),
            ("ms", "MS"),
            ("reason", "REASON"),
        ];
        let mut text = table(&rows, &columns) + "\n";
        for result in self.results.iter().filter(|result| result.verdict == Verdict::Failed) {
            text.push_str(&format!("\n{} · {}\n", result.agent, result.example));
            result.failure_lines().iter().for_each(|line| text.push_str(&format!("  {line}\n")));
            if let Some(error) = &result.error {
                text.push_str(&format!("  error: {error}\n"));
            }
            if let Some(outputs) = &result.outputs {
                text.push_str(&format!("  outputs: {outputs}\n"));
            }
        }
        text.push_str(&format!(
            "\n{} passed, {} failed, {} skipped, ${:.4}\n",
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped),
            MicroUsd(self.cost_micro_usd()).as_usd()
        ));
        comparison.iter().for_each(|comparison| text.push_str(&format_comparison(comparison)));
        text
    }
}

fn format_comparison(comparison: &Comparison) -> String {
    let before = MicroUsd(comparison.cost_micro_usd_before).as_usd();
    let state = if comparison.incomplete_before { " and is incomplete" } else { "" };
    let mut text = format!("compared with the kept result, which cost ${before:.4}{state}:\n");
    let lists = [
        ("fails now", &comparison.broken),
        ("passes now", &comparison.fixed),
        ("new", &comparison.added),
        ("gone", &comparison.removed),
    ];
    for (heading, names) in lists {
        names.iter().for_each(|name| text.push_str(&format!("  {heading}: {name}\n")));
    }
    if lists.iter().all(|(_, names)| names.is_empty()) {
        text.push_str("  no difference\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(verdicts: &[(&str, Verdict)]) -> Evaluation {
        let results = verdicts.iter().enumerate().map(|(number, (agent, verdict))| ExampleResult {
            verdict: *verdict,
            cost_micro_usd: 500,
            ..ExampleResult::new(&AgentId::new(*agent).unwrap(), number, Some("first"))
        });
        Evaluation { results: results.collect(), ..Evaluation::default() }
    }

    #[test]
    fn an_evaluation_is_compared_with_an_earlier_one() {
        let before = evaluation(&[
            ("a", Verdict::Passed),
            ("b", Verdict::Failed),
            ("c", Verdict::Passed),
            ("e", Verdict::Skipped),
        ]);
        let earlier: Evaluation = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
        assert_eq!(earlier, before);
        let now = evaluation(&[
            ("a", Verdict::Failed),
            ("b", Verdict::Passed),
            ("d", Verdict::Passed),
            ("e", Verdict::Failed),
        ]);
        let comparison = now.compare(&earlier);
        assert_eq!(comparison.broken, ["a · first"]);
        assert_eq!(comparison.fixed, ["b · first"]);
        assert_eq!(
            (comparison.added, comparison.removed),
            (vec!["d · first".to_owned()], vec!["c · first".to_owned()])
        );
        assert_eq!(comparison.cost_micro_usd_before, 2_000);
        assert!(format_comparison(&now.compare(&now)).contains("no difference"));
    }

    #[test]
    fn an_example_that_an_incomplete_evaluation_did_not_come_to_is_not_new() {
        let before = Evaluation { is_incomplete: true, ..evaluation(&[("a", Verdict::Passed)]) };
        let text = serde_json::to_string(&before).unwrap();
        assert!(text.contains("\"incomplete\":true"), "{text}");
        let earlier: Evaluation = serde_json::from_str(&text).unwrap();
        let comparison = evaluation(&[("a", Verdict::Failed), ("b", Verdict::Passed)]).compare(&earlier);
        assert_eq!((comparison.broken.len(), comparison.added.len()), (1, 0));
        assert!(format_comparison(&comparison).contains("is incomplete"));
    }

    #[test]
    fn an_example_that_was_skipped_shows_the_reason() {
        let mut evaluation = evaluation(&[("a", Verdict::Skipped)]);
        evaluation.results[0].skipped = Some("the budget is used up".to_owned());
        assert!(evaluation.format(None).contains("the budget is used up"));
    }

    #[test]
    fn an_example_that_failed_shows_its_assertion_and_its_outputs() {
        let mut evaluation = evaluation(&[("a", Verdict::Failed)]);
        let failure = AssertionFailure {
            number: 1,
            assertion: r#"{"path":"count","equals":4}"#.to_owned(),
            reason: "`count` is 3".to_owned(),
        };
        evaluation.results[0].failures.push(failure);
        evaluation.results[0].outputs = Some(json!({ "count": 3 }));
        let text = evaluation.format(None);
        assert!(text.contains("assertion 2 {\"path\":\"count\",\"equals\":4}: `count` is 3"), "{text}");
        assert!(
            text.contains("outputs: {\"count\":3}") && text.contains("0 passed, 1 failed, 0 skipped, $0.0005"),
            "{text}"
        );
    }
}
