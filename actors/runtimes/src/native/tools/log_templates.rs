//! `native:log_templates`: groups the lines of a log by their templates, which are the lines without what varies:
//! times, numbers, addresses and identifiers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum lines of a log.
const LINES_MAX: usize = 20_000;
/// Maximum bytes of a line; what follows is not compared.
const LINE_BYTES_MAX: usize = 2_000;
/// Maximum templates of a result.
const TEMPLATES_MAX: usize = 150;
/// Maximum bytes of an example.
const EXAMPLE_BYTES_MAX: usize = 300;

/// What varies between lines of one template, with its mark, in the order of replacement.
const PATTERNS: [(&str, &str); 8] = [
    (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?", "<time>"),
    (r"\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}", "<time>"),
    (r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2} \d{2}:\d{2}:\d{2}", "<time>"),
    (r"\b\d{2}:\d{2}:\d{2}(?:[.,]\d+)?\b", "<time>"),
    (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "<uuid>"),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "<ip>"),
    (r"\b(?:0x[0-9a-fA-F]+|[0-9a-fA-F]*(?:\d[a-fA-F]|[a-fA-F]\d)[0-9a-fA-F]{6,})\b", "<hex>"),
    (r"\d+(?:\.\d+)?", "<n>"),
];

/// The compiled patterns.
static MASKS: LazyLock<Result<Vec<(Regex, &'static str)>, regex::Error>> =
    LazyLock::new(|| PATTERNS.iter().map(|(pattern, mark)| Regex::new(pattern).map(|regex| (regex, *mark))).collect());

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The lines of the log.
    log: String,
    /// The number of a line, from 1: each template then says how often it occurred before it and from it on.
    #[serde(default)]
    split_at_line: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Lines that are not empty.
    lines: usize,
    /// The templates, the most frequent first.
    templates: Vec<Template>,
    templates_omitted: usize,
    /// Lines by level.
    levels: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Template {
    template: String,
    count: usize,
    /// The number of the first line, from 1.
    first_line: usize,
    last_line: usize,
    /// The level that the line names, if it names one.
    level: Option<String>,
    /// The first line as it is.
    example: String,
    /// Occurrences before `split_at_line`, if it is stated.
    before: Option<usize>,
    /// Occurrences from it on.
    after: Option<usize>,
}

/// The tool.
pub(crate) struct LogTemplates;

impl Computation for LogTemplates {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "log_templates";
    const DESCRIPTION: &'static str = "Groups the lines of a log by template (without times, numbers, addresses and \
                                       ids): counts, first and last line, and counts before and after a line.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        require_at_most("lines", arguments.log.lines().count(), LINES_MAX)?;
        let masks = MASKS.as_ref().map_err(|error| invalid(error.to_string()))?;
        let split = arguments.split_at_line;
        let mut groups: BTreeMap<String, Template> = BTreeMap::new();
        let mut output = Output { lines: 0, templates: Vec::new(), templates_omitted: 0, levels: BTreeMap::new() };
        for (number, line) in (1..).zip(arguments.log.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            output.lines += 1;
            let line = truncate_utf8(line.trim_end(), LINE_BYTES_MAX);
            let level = level_of(line);
            if let Some(level) = level {
                *output.levels.entry(level.to_owned()).or_default() += 1;
            }
            let text = mask(line, masks);
            let group = groups.entry(text).or_insert_with_key(|text| Template {
                template: text.clone(),
                count: 0,
                first_line: number,
                last_line: number,
                level: level.map(str::to_owned),
                example: truncate_utf8(line, EXAMPLE_BYTES_MAX).to_owned(),
                before: split.map(|_| 0),
                after: split.map(|_| 0),
            });
            group.count += 1;
            group.last_line = number;
            let side = if split.is_some_and(|split| number < split) { &mut group.before } else { &mut group.after };
            if let Some(count) = side {
                *count += 1;
            }
        }
        let mut templates: Vec<Template> = groups.into_values().collect();
        templates.sort_by_key(|template| (std::cmp::Reverse(template.count), template.first_line));
        output.templates_omitted = templates.len().saturating_sub(TEMPLATES_MAX);
        templates.truncate(TEMPLATES_MAX);
        templates
            .iter_mut()
            .for_each(|group| group.template = truncate_utf8(&group.template, EXAMPLE_BYTES_MAX).to_owned());
        Ok(Output { templates, ..output })
    }
}

fn mask(line: &str, masks: &[(Regex, &str)]) -> String {
    masks.iter().fold(line.to_owned(), |text, (pattern, mark)| pattern.replace_all(&text, *mark).into_owned())
}

/// The level that is a word of the line.
fn level_of(line: &str) -> Option<&'static str> {
    const LEVELS: [(&str, &str); 11] = [
        ("FATAL", "fatal"),
        ("CRITICAL", "fatal"),
        ("PANIC", "fatal"),
        ("ERROR", "error"),
        ("ERR", "error"),
        ("SEVERE", "error"),
        ("WARN", "warning"),
        ("WARNING", "warning"),
        ("INFO", "info"),
        ("DEBUG", "debug"),
        ("TRACE", "trace"),
    ];
    let words = line.split(|c: char| !c.is_ascii_alphanumeric()).take(20);
    words
        .into_iter()
        .find_map(|word| LEVELS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, level)| *level))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::{LogTemplates, MASKS, mask};

    const LOG: &str = "2025-01-01T10:00:00Z INFO request 17 from 10.0.0.1:443 took 12.5 ms\n\
                       2025-01-01T10:00:01Z INFO request 18 from 10.0.0.2:443 took 9 ms\n\n\
                       2025-01-01T10:00:02Z ERROR connection 0x7f3a lost\n\
                       2025-01-01T10:00:03Z INFO request 19 from 10.0.0.1:443 took 1 ms\n";

    fn compute(arguments: Value) -> Value {
        compute_json::<LogTemplates>(arguments).unwrap()
    }

    #[test]
    fn lines_are_grouped_by_what_does_not_vary() {
        let output = compute(json!({ "log": LOG, "split_at_line": 4 }));
        assert_eq!((&output["lines"], &output["levels"]), (&json!(4), &json!({ "error": 1, "info": 3 })));
        let first = &output["templates"][0];
        assert_eq!(first["template"], json!("<time> INFO request <n> from <ip> took <n> ms"));
        assert_eq!((&first["count"], &first["first_line"], &first["last_line"]), (&json!(3), &json!(1), &json!(5)));
        assert_eq!((&first["before"], &first["after"]), (&json!(2), &json!(1)));
        assert_eq!(output["templates"][1]["template"], json!("<time> ERROR connection <hex> lost"));
    }

    #[test]
    fn what_varies_has_its_mark() {
        let masks = MASKS.as_ref().unwrap();
        for (line, template) in [
            ("id=550e8400-e29b-41d4-a716-446655440000", "id=<uuid>"),
            ("Jan  3 10:00:00 host sshd[99]: bad", "<time> host sshd[<n>]: bad"),
            ("[10/Oct/2000:13:55:36 -0700] GET", "[<time>] GET"),
            ("commit 9fceb02d0ae598e95dc970b74767f193", "commit <hex>"),
            ("decade facade", "decade facade"),
        ] {
            assert_eq!(mask(line, masks), template, "{line}");
        }
    }

    #[test]
    fn a_log_is_bounded() {
        let cause = compute_json::<LogTemplates>(json!({ "log": "x\n".repeat(20_001) })).unwrap_err();
        assert_eq!(cause.code, ErrorCode::PayloadTooLarge);
        let varied: String = (0..1_000_u32).map(|n| format!("{}\n", "ab".repeat(n as usize % 400 + 1))).collect();
        let output = compute(json!({ "log": varied }));
        assert_eq!((output["templates"].as_array().unwrap().len(), &output["templates_omitted"]), (150, &json!(250)));
        assert_eq!(compute(json!({ "log": "" }))["lines"], json!(0));
    }
}
