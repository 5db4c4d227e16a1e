//! Output formats: JSON, YAML, or text and tables. This module formats and decides nothing.

mod terminal_text;

use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

use greenroom_protocol::{Cause, Json, PriceBasis, Reply};
use tabled::builder::Builder;
use tabled::settings::Style;

use self::terminal_text::{escape_controls, escape_json_controls};
use super::args::OutputFormat;

/// Characters of one cell; the rest is cut.
const CELL_CHARS_MAX: usize = 80;

/// The first error of a write to standard output.
static WRITE_ERROR: OnceLock<String> = OnceLock::new();

/// Writes results to standard output and notes to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: OutputFormat,
    is_quiet: bool,
}

impl Output {
    /// Output in this format. It is the same in a pipe as on a terminal.
    #[must_use]
    pub const fn new(format: OutputFormat, is_quiet: bool) -> Self {
        Self { format, is_quiet }
    }

    /// True if progress and notes are not wanted.
    #[must_use]
    pub const fn is_quiet(self) -> bool {
        self.is_quiet
    }

    /// Writes a line to standard error, unless the user wants only results.
    pub fn note(self, line: &str) {
        if !self.is_quiet {
            print_note(line);
        }
    }

    /// The format.
    #[must_use]
    pub const fn format(self) -> OutputFormat {
        self.format
    }

    /// Writes a document, or `table` in the table format.
    pub fn document(self, document: &Json, table: impl FnOnce() -> String) {
        let text = match self.format {
            OutputFormat::Json => escape_json_controls(&serde_json::to_string_pretty(document).unwrap_or_default()),
            OutputFormat::Yaml => terminal_text::yaml(document),
            OutputFormat::Table => escape_controls(&table()),
        };
        print(&text);
    }

    /// Writes one line of a stream of documents.
    pub fn line(self, document: &Json, text: impl FnOnce() -> Option<String>) {
        match self.format {
            OutputFormat::Json => print(&escape_json_controls(&document.to_string())),
            OutputFormat::Yaml => print(&format!("---\n{}", terminal_text::yaml(document))),
            OutputFormat::Table => {
                if let Some(text) = text() {
                    print(&escape_controls(&text));
                }
            }
        }
    }

    /// Writes a reply.
    pub fn reply(self, reply: &Reply) {
        let document = serde_json::to_value(reply).unwrap_or_default();
        self.document(&document, || format_reply(reply));
    }

    /// Writes the outputs of a reply, in the table format as the text that `table` makes of them; or its error. Returns the exit
    /// code.
    pub fn outputs(self, reply: &Reply, table: impl FnOnce(&Json) -> String) -> u8 {
        if let Some(cause) = &reply.error {
            self.print_error(cause);
            return reply.exit_code();
        }
        let document = serde_json::to_value(&reply.outputs).unwrap_or_default();
        self.document(&document, || table(&document));
        0
    }

    /// Writes an error.
    pub fn print_error(self, cause: &Cause) {
        match self.format {
            OutputFormat::Json | OutputFormat::Yaml => {
                let document = serde_json::json!({ "error": cause });
                self.document(&document, String::new);
            }
            OutputFormat::Table => {}
        }
        print_note(&format!("error: {}", describe(cause)));
    }
}

/// Writes to standard output. A closed pipe is not an error: its reader has what it wanted. Any other error
/// is kept for [`write_error`].
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            WRITE_ERROR.get_or_init(|| error.to_string());
        }
        Ok(()) | Err(_) => {}
    }
}

/// The first error of a write to standard output, if there was one.
#[must_use]
pub fn write_error() -> Option<&'static str> {
    WRITE_ERROR.get().map(String::as_str)
}

/// Writes a line to standard error.
pub fn print_note(line: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{}", escape_controls(line));
}

/// Formats a cause in a few lines: the code, the message, the reasons for a denial.
#[must_use]
pub fn describe(cause: &Cause) -> String {
    let mut text = format!("{}: {}", cause.code, cause.message);
    if let Some(reasons) = cause.details.get("reasons").and_then(Json::as_array) {
        for reason in reasons {
            let part = |name| reason.get(name).and_then(Json::as_str).unwrap_or_default();
            text.push_str(&format!("\n  reason {}: {}", part("code"), part("message")));
        }
    }
    if let Some(inner) = cause.details.get("cause").and_then(|inner| serde_json::from_value(inner.clone()).ok()) {
        text.push_str(&format!("\n  because {}", describe(&inner)));
    }
    text
}

fn format_reply(reply: &Reply) -> String {
    let mut text = format!("{}  {}\n", reply.status.as_str(), reply.id);
    if let Some(cause) = &reply.error {
        text.push_str(&format!("{}\n", describe(cause)));
    }
    for (name, value) in &reply.outputs {
        match value {
            Json::String(line) => text.push_str(&format!("\n{name}:\n{line}\n")),
            other => text.push_str(&format!("\n{name}: {}\n", shorten(&other.to_string(), 400))),
        }
    }
    text.push_str(&format!("\n{}", totals(reply)));
    text
}

/// Formats the usage of a request in one line.
#[must_use]
pub fn totals(reply: &Reply) -> String {
    let metadata = &reply.metadata;
    let estimated = match (metadata.estimated, metadata.price) {
        (true, PriceBasis::Listed) => " (part of it estimated)",
        (true, PriceBasis::Assumed) => " (part of it estimated, price assumed)",
        (false, PriceBasis::Assumed) => " (price assumed)",
        (false, PriceBasis::Listed) => "",
    };
    let model = metadata.model.as_deref().map(|model| format!(" · model {model}")).unwrap_or_default();
    let steps = match metadata.workflow_steps {
        0 => String::new(),
        steps => format!("{} · ", pluralize(steps.into(), "step")),
    };
    // A team's reply counts its members; agents outside the team ran too.
    let agents = u32::try_from(metadata.agents.len()).unwrap_or(u32::MAX).max(metadata.agents_involved);
    let disclaimer = metadata.disclaimer.as_deref().map(|text| format!(" {text}")).unwrap_or_default();
    format!(
        "{steps}{} · {:.2} s · {} · ${:.4}{estimated} · {}{model}{disclaimer}",
        pluralize(agents.into(), "agent"),
        std::time::Duration::from_millis(metadata.duration_ms).as_secs_f64(),
        pluralize(metadata.tokens_used.total(), "token"),
        metadata.cost.as_usd(),
        pluralize(metadata.policy_decisions.into(), "policy decision"),
    )
}

/// `1 agent`, `2 agents`.
fn pluralize(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Formats a table of members, `(member, heading)` for each column; `a.b` is a member of a member.
#[must_use]
pub fn table(rows: &[Json], columns: &[(&str, &str)]) -> String {
    if rows.is_empty() {
        return "none".to_owned();
    }
    let mut builder = Builder::default();
    builder.push_record(columns.iter().map(|(_, heading)| (*heading).to_owned()));
    for row in rows {
        builder.push_record(columns.iter().map(|(path, _)| cell(row, path)));
    }
    builder.build().with(Style::blank()).to_string()
}

fn cell(row: &Json, path: &str) -> String {
    let value = path.split('.').try_fold(row, |value, name| value.get(name));
    match value {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => shorten(text, CELL_CHARS_MAX),
        Some(Json::Array(items)) => {
            let words: Vec<_> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
            shorten(&words.join(", "), CELL_CHARS_MAX)
        }
        Some(other) => shorten(&other.to_string(), CELL_CHARS_MAX),
    }
}

fn shorten(text: &str, chars_max: usize) -> String {
    let line = text.replace(['\n', '\r'], " ");
    if line.chars().count() <= chars_max {
        return line;
    }
    line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::*;

    #[test]
    fn a_table_shows_nested_members_and_shortens_long_cells() {
        let rows = [serde_json::json!({"id": "a", "in": {"n": 3}, "tags": ["x", "y"], "text": "l".repeat(200)})];
        let text = table(&rows, &[("id", "ID"), ("in.n", "N"), ("tags", "TAGS"), ("text", "TEXT"), ("none", "NONE")]);
        assert!(text.contains("x, y") && text.contains('3') && text.contains('…'), "{text}");
        assert_eq!(table(&[], &[("id", "ID")]), "none");
    }

    #[test]
    fn the_totals_are_pluralized_and_omit_absent_steps() {
        let mut reply: Reply = serde_json::from_value(serde_json::json!({
            "id": "req_1", "status": "success", "outputs": {}, "metadata": greenroom_protocol::Metadata::default(),
        }))
        .unwrap();
        (reply.metadata.agents_involved, reply.metadata.policy_decisions) = (1, 1);
        assert_eq!(totals(&reply), "1 agent · 0.00 s · 0 tokens · $0.0000 · 1 policy decision");
        reply.metadata.workflow_steps = 5;
        assert!(totals(&reply).starts_with("5 steps · 1 agent · "), "{}", totals(&reply));
    }

    #[test]
    fn a_denial_is_described_with_its_reasons_and_a_failed_step_with_its_cause() {
        let denied = Cause::new(ErrorCode::PolicyDenied, "no").with_details(serde_json::json!({
            "reasons": [{"code": "role_required", "message": "guest has no role"}]
        }));
        assert!(describe(&denied).contains("reason role_required: guest has no role"));
        let failed = Cause::new(ErrorCode::StepFailed, "step a").with_details(serde_json::json!({ "cause": denied }));
        assert!(describe(&failed).contains("because policy_denied"), "{}", describe(&failed));
    }
}
