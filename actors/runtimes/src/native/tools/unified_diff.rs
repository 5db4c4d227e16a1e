//! `native:unified_diff`: reads a unified diff, such as that of a pull request, into files, hunks and numbered lines.

use diffy::{Line, Patch};
use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum files of a diff.
const FILES_MAX: usize = 500;
/// Maximum changed lines of a result; all of them are counted.
const LINES_MAX: usize = 600;
/// Maximum bytes of one line of a result.
const LINE_BYTES_MAX: usize = 300;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The diff, with the `---` and `+++` lines of each file.
    diff: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    files: Vec<File>,
    added: usize,
    removed: usize,
    hunks: usize,
    /// Changed lines that are counted and not listed.
    lines_omitted: usize,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Change {
    Created,
    Deleted,
    Renamed,
    Modified,
}

#[derive(Debug, Serialize, JsonSchema)]
struct File {
    path: String,
    /// The earlier path of a renamed file.
    old_path: Option<String>,
    change: Change,
    added: usize,
    removed: usize,
    hunks: Vec<Hunk>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Hunk {
    old_start: usize,
    old_lines: usize,
    new_start: usize,
    new_lines: usize,
    lines: Vec<ChangedLine>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ChangedLine {
    /// The number of the line in the old file, if it was removed.
    old_line: Option<usize>,
    /// The number of the line in the new file, if it was added.
    new_line: Option<usize>,
    text: String,
}

/// The tool.
pub(crate) struct UnifiedDiff;

impl Computation for UnifiedDiff {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "unified_diff";
    const DESCRIPTION: &'static str = "Reads a unified diff into files, hunks and changed lines with their line \
                                       numbers, and counts them.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let parts = split_files(&arguments.diff);
        if parts.is_empty() {
            return Err(invalid("the text has no file: a unified diff has lines `--- PATH` and `+++ PATH`"));
        }
        require_at_most("files", parts.len(), FILES_MAX)?;
        let mut output = Output { files: Vec::new(), added: 0, removed: 0, hunks: 0, lines_omitted: 0 };
        for part in parts {
            let file = output.read_file(&part)?;
            output.added += file.added;
            output.removed += file.removed;
            output.hunks += file.hunks.len();
            output.files.push(file);
        }
        let listed: usize = output.files.iter().flat_map(|file| &file.hunks).map(|hunk| hunk.lines.len()).sum();
        output.lines_omitted = output.added + output.removed - listed;
        Ok(output)
    }
}

/// The text of each file, from its `---` line. Only what belongs to a hunk follows it, so that the words of a tool
/// between two files (`diff --git`, `index`) are not read as lines of the first one.
fn split_files(diff: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut lines = diff.lines().peekable();
    // The lines of the old and the new file that the current hunk still has.
    let (mut old_left, mut new_left) = (0_usize, 0_usize);
    while let Some(line) = lines.next() {
        let is_in_hunk = old_left > 0 || new_left > 0;
        let is_header =
            !is_in_hunk && line.starts_with("--- ") && lines.peek().is_some_and(|next| next.starts_with("+++ "));
        if is_header {
            let next = lines.next().unwrap_or_default();
            parts.push(format!("{line}\n{next}\n"));
            continue;
        }
        let Some(part) = parts.last_mut() else { continue };
        if !is_in_hunk {
            if let Some((old, new)) = hunk_sizes(line) {
                (old_left, new_left) = (old, new);
            } else if !line.starts_with('\\') {
                continue;
            }
        } else if line.starts_with('-') {
            old_left = old_left.saturating_sub(1);
        } else if line.starts_with('+') {
            new_left = new_left.saturating_sub(1);
        } else if !line.starts_with('\\') {
            (old_left, new_left) = (old_left.saturating_sub(1), new_left.saturating_sub(1));
        }
        // Mail programs remove the space of an empty line.
        part.push_str(if line.is_empty() { " " } else { line });
        part.push('\n');
    }
    parts
}

/// The lines that a hunk has of the old and of the new file, by its `@@` line.
fn hunk_sizes(line: &str) -> Option<(usize, usize)> {
    let (ranges, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let size = |range: &str| range.split_once(',').map_or(Some(1), |(_, size)| size.parse().ok());
    Some((size(old)?, size(new)?))
}

impl Output {
    fn read_file(&self, text: &str) -> Result<File, Cause> {
        let title = text.lines().next().unwrap_or_default();
        let patch = Patch::from_str(text).map_err(|error| invalid(format!("{title}: {error}")))?;
        let (old, new) = (path_of(patch.original()), path_of(patch.modified()));
        let change = match (&old, &new) {
            (None, _) => Change::Created,
            (Some(_), None) => Change::Deleted,
            (Some(old), Some(new)) if old != new => Change::Renamed,
            (Some(_), Some(_)) => Change::Modified,
        };
        let listed: usize = self.files.iter().flat_map(|file| &file.hunks).map(|hunk| hunk.lines.len()).sum();
        let mut left = LINES_MAX.saturating_sub(listed);
        let mut file = File {
            path: new.or_else(|| old.clone()).unwrap_or_default(),
            old_path: old.filter(|_| matches!(change, Change::Renamed)),
            change,
            added: 0,
            removed: 0,
            hunks: Vec::new(),
        };
        for hunk in patch.hunks() {
            let (mut old_line, mut new_line) = (hunk.old_range().start(), hunk.new_range().start());
            let mut lines = Vec::new();
            for line in hunk.lines() {
                let (old, new, text) = match line {
                    Line::Context(_) => {
                        (old_line, new_line) = (old_line.saturating_add(1), new_line.saturating_add(1));
                        continue;
                    }
                    Line::Delete(text) => {
                        file.removed += 1;
                        old_line = old_line.saturating_add(1);
                        (Some(old_line.saturating_sub(1)), None, text)
                    }
                    Line::Insert(text) => {
                        file.added += 1;
                        new_line = new_line.saturating_add(1);
                        (None, Some(new_line.saturating_sub(1)), text)
                    }
                };
                if left > 0 {
                    left -= 1;
                    let text = truncate_utf8(text.trim_end_matches(['\r', '\n']), LINE_BYTES_MAX).to_owned();
                    lines.push(ChangedLine { old_line: old, new_line: new, text });
                }
            }
            let (old, new) = (hunk.old_range(), hunk.new_range());
            file.hunks.push(Hunk {
                old_start: old.start(),
                old_lines: old.len(),
                new_start: new.start(),
                new_lines: new.len(),
                lines,
            });
        }
        Ok(file)
    }
}

/// The path without the prefix that git adds and the time that `diff` adds; `None` for `/dev/null`.
fn path_of(name: Option<&str>) -> Option<String> {
    let name = name?.split('\t').next().unwrap_or_default().trim();
    let plain = name.strip_prefix("a/").or_else(|| name.strip_prefix("b/")).unwrap_or(name);
    (plain != "/dev/null" && !plain.is_empty()).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::UnifiedDiff;

    const DIFF: &str = "diff --git a/src/a.rs b/src/a.rs\nindex 1..2 100644\n--- a/src/a.rs\n+++ b/src/a.rs\n\
                        @@ -1,3 +1,3 @@ fn main\n one\n-two\n+TWO\n three\n\
                        diff --git a/new.txt b/new.txt\nnew file mode 100644\n--- /dev/null\n+++ b/new.txt\n\
                        @@ -0,0 +1,2 @@\n+x\n+-- y\n";

    #[test]
    fn files_and_lines_have_their_numbers() {
        let output = compute_json::<UnifiedDiff>(json!({ "diff": DIFF })).unwrap();
        assert_eq!(
            (&output["added"], &output["removed"], &output["hunks"]),
            (&json!(3), &json!(1), &json!(2)),
            "{output}"
        );
        let first = &output["files"][0];
        assert_eq!((&first["path"], &first["change"]), (&json!("src/a.rs"), &json!("modified")));
        let lines = &first["hunks"][0]["lines"];
        assert_eq!(lines[0], json!({ "old_line": 2, "new_line": null, "text": "two" }));
        assert_eq!(lines[1], json!({ "old_line": null, "new_line": 2, "text": "TWO" }));
        let second = &output["files"][1];
        assert_eq!((&second["path"], &second["change"]), (&json!("new.txt"), &json!("created")));
    }

    #[test]
    fn a_removed_line_that_looks_like_a_header_is_a_line() {
        let diff = "--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1,2 @@\n--- old comment\n+-- new comment\n select 1\n";
        let output = compute_json::<UnifiedDiff>(json!({ "diff": diff })).unwrap();
        assert_eq!((&output["added"], &output["removed"]), (&json!(1), &json!(1)), "{output}");
    }

    #[test]
    fn what_is_no_diff_is_rejected() {
        for diff in ["", "hello", "--- a\n+++ b\n@@ -1,9 +1,9 @@\n x\n", "--- a\n+++ b\n@@ -1 +1 @@\nnot a diff\n"] {
            let cause = compute_json::<UnifiedDiff>(json!({ "diff": diff })).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{diff:?}");
        }
    }
}
