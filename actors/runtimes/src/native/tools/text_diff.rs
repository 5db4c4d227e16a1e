//! `native:text_diff`: what differs between two texts, line by line or word by word.

use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use similar::{ChangeTag, TextDiff};

use super::computation::{Computation, require_at_most, round_to};

/// Maximum lines or words of a text: the work grows with their product.
const TOKENS_MAX: usize = 6_000;
/// Maximum changes of a result.
const CHANGES_MAX: usize = 400;
/// Maximum bytes of the text of one change.
const CHANGE_BYTES_MAX: usize = 2_000;
/// Maximum bytes of the unified form.
const UNIFIED_BYTES_MAX: usize = 24 * 1024;
/// Unchanged lines around each change of the unified form.
const CONTEXT_LINES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    #[default]
    Lines,
    Words,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The earlier text.
    old: String,
    /// The later text.
    new: String,
    /// Whether whole lines or single words are compared.
    #[serde(default)]
    unit: Unit,
    /// Compare runs of white space as one space.
    #[serde(default)]
    ignore_white_space: bool,
    /// Compare without regard to case.
    #[serde(default)]
    ignore_case: bool,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Removed,
    Added,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    is_equal: bool,
    /// The share of the texts that is equal, in percent.
    similarity_pct: f64,
    /// Lines or words.
    removed: usize,
    added: usize,
    unchanged: usize,
    /// Consecutive lines or words that were removed or added, in their order.
    changes: Vec<Change>,
    changes_omitted: usize,
    /// The unified form, of lines.
    unified: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    kind: Kind,
    /// The number of the first line or word in its text, from 1.
    position: usize,
    text: String,
}

/// The tool.
pub(crate) struct TextDiffTool;

impl Computation for TextDiffTool {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "text_diff";
    const DESCRIPTION: &'static str = "Compares two texts line by line or word by word: every removed and added part \
                                       with its position, counts and similarity.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let (old, new) = (normalize(&arguments.old, &arguments), normalize(&arguments.new, &arguments));
        for text in [&old, &new] {
            match arguments.unit {
                Unit::Lines => require_at_most("lines", text.lines().count(), TOKENS_MAX)?,
                // White space between words is a token of its own.
                Unit::Words => require_at_most("words", text.split_whitespace().count(), TOKENS_MAX / 2)?,
            }
        }
        let diff = match arguments.unit {
            Unit::Lines => TextDiff::from_lines(old.as_str(), new.as_str()),
            Unit::Words => TextDiff::from_words(old.as_str(), new.as_str()),
        };
        let mut output = Output {
            is_equal: old == new,
            similarity_pct: round_to(f64::from(diff.ratio()) * 100.0, 1),
            removed: 0,
            added: 0,
            unchanged: 0,
            changes: Vec::new(),
            changes_omitted: 0,
            unified: None,
        };
        output.collect_changes(diff.iter_all_changes().map(|change| (change.tag(), change.value())), arguments.unit);
        output.changes.retain(|change| !change.text.trim().is_empty() || arguments.unit == Unit::Lines);
        output.changes.iter_mut().for_each(|change| change.text = change.text.trim_end().to_owned());
        if arguments.unit == Unit::Lines && !output.is_equal {
            let unified = diff.unified_diff().context_radius(CONTEXT_LINES).header("old", "new").to_string();
            output.unified = Some(truncate_utf8(&unified, UNIFIED_BYTES_MAX).to_owned());
        }
        Ok(output)
    }
}

impl Output {
    fn collect_changes<'a>(&mut self, changes: impl Iterator<Item = (ChangeTag, &'a str)>, unit: Unit) {
        let mut positions = (0, 0);
        let mut last = None;
        for (tag, text) in changes {
            let is_space = unit == Unit::Words && text.trim().is_empty();
            let count = usize::from(!is_space);
            match tag {
                ChangeTag::Equal => {
                    self.unchanged += count;
                    positions = (positions.0 + count, positions.1 + count);
                    // A space between two changed words does not separate them.
                    last = if is_space { last } else { None };
                }
                ChangeTag::Delete => {
                    self.removed += count;
                    self.push(Kind::Removed, positions.0 + 1, text, last == Some(ChangeTag::Delete));
                    positions.0 += count;
                    last = Some(ChangeTag::Delete);
                }
                ChangeTag::Insert => {
                    self.added += count;
                    self.push(Kind::Added, positions.1 + 1, text, last == Some(ChangeTag::Insert));
                    positions.1 += count;
                    last = Some(ChangeTag::Insert);
                }
            }
        }
    }

    /// Adds a part to the change before it, or as a change of its own.
    fn push(&mut self, kind: Kind, position: usize, text: &str, continues: bool) {
        let is_joined = continues && self.changes_omitted == 0;
        if let Some(change) = self.changes.last_mut().filter(|_| is_joined) {
            if change.text.len() + text.len() <= CHANGE_BYTES_MAX {
                if !change.text.ends_with(char::is_whitespace) && !text.starts_with(char::is_whitespace) {
                    change.text.push(' ');
                }
                change.text.push_str(text);
            }
            return;
        }
        if self.changes.len() >= CHANGES_MAX {
            self.changes_omitted += usize::from(!continues);
            return;
        }
        let text = truncate_utf8(text, CHANGE_BYTES_MAX).to_owned();
        self.changes.push(Change { kind, position, text });
    }
}

fn normalize(text: &str, arguments: &Arguments) -> String {
    let text = if arguments.ignore_case { text.to_lowercase() } else { text.to_owned() };
    if !arguments.ignore_white_space {
        return text;
    }
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::TextDiffTool;

    fn compute(arguments: Value) -> Value {
        compute_json::<TextDiffTool>(arguments).unwrap()
    }

    #[test]
    fn lines_are_compared() {
        let output = compute(json!({ "old": "a\nb\nc\n", "new": "a\nx\ny\nc\n" }));
        assert_eq!((&output["removed"], &output["added"], &output["unchanged"]), (&json!(1), &json!(2), &json!(2)));
        let changes = output["changes"].as_array().unwrap();
        assert_eq!(changes[0], json!({ "kind": "removed", "position": 2, "text": "b" }));
        assert_eq!(changes[1], json!({ "kind": "added", "position": 2, "text": "x\ny" }));
        let unified = output["unified"].as_str().unwrap();
        assert!(unified.contains("@@ -1,3 +1,4 @@") && unified.contains("\n-b\n"), "{unified}");
    }

    #[test]
    fn words_are_compared() {
        let output = compute(json!({
            "old": "The Supplier shall pay within 30 days.", "new": "The Supplier shall pay within 60 days.",
            "unit": "words"
        }));
        assert_eq!(output["changes"][0], json!({ "kind": "removed", "position": 6, "text": "30" }));
        assert_eq!(output["changes"][1], json!({ "kind": "added", "position": 6, "text": "60" }));
        assert_eq!(output["unified"], json!(null));
    }

    #[test]
    fn case_and_white_space_may_be_ignored() {
        let texts =
            |flag: bool| json!({ "old": "A  b\n", "new": "a b", "ignore_case": flag, "ignore_white_space": flag });
        assert_eq!(compute(texts(true))["is_equal"], json!(true));
        assert_eq!(compute(texts(false))["is_equal"], json!(false));
        assert_eq!(compute(json!({ "old": "", "new": "" }))["similarity_pct"], json!(100.0));
    }

    #[test]
    fn long_texts_are_rejected_and_long_results_cut() {
        let long = "a\n".repeat(6_001);
        let cause = compute_json::<TextDiffTool>(json!({ "old": long, "new": "" })).unwrap_err();
        assert_eq!(cause.code, ErrorCode::PayloadTooLarge);
        let lines = |prefix: &str| (0..2_000).map(|n| format!("{prefix}{n}\nsame {n}\n")).collect::<String>();
        let output = compute(json!({ "old": lines("a"), "new": lines("b") }));
        assert_eq!((&output["removed"], output["changes"].as_array().unwrap().len()), (&json!(2_000), 400));
        assert_eq!(output["changes_omitted"], json!(3_600));
        assert!(output["unified"].as_str().unwrap().len() <= 24 * 1024);
    }
}
