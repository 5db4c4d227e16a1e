//! The filters and tests of templates. A filter whose output can be larger than its input checks the
//! size before it allocates.

use greenroom_protocol::Json;
use minijinja::value::{Kwargs, ViaDeserialize};
use minijinja::{Environment, Error, ErrorKind, Value, filters, tests};

use super::TooLong;
use crate::bounds::{PROMPT_BYTES_MAX, Tag, TemplateError, tags};
use crate::problem::did_you_mean;

/// The filters of a template.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "capitalize",
    "default",
    "dictsort",
    "first",
    "float",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lower",
    "markdown",
    "max",
    "min",
    "replace",
    "reverse",
    "round",
    "sort",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
];

/// The tests of a template (`is …`).
const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "boolean",
    "sequence",
    "mapping",
    "iterable",
    "true",
    "false",
    "even",
    "odd",
    "in",
];

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("default", filters::default);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("markdown", markdown);
    environment.add_filter("max", filters::max);
    environment.add_filter("min", filters::min);
    environment.add_filter("replace", replace);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("round", filters::round);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("sum", filters::sum);
    environment.add_filter("title", filters::title);
    environment.add_filter("tojson", tojson);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("truncate", truncate);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("upper", filters::upper);
    install_tests(environment);
}

fn install_tests(environment: &mut Environment<'static>) {
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("even", tests::is_even);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("in", tests::is_in);
}

/// Checks the names after `|` and `is`, since the engine checks them only when it renders.
///
/// # Errors
/// An error about the first unknown name, with the line of its tag.
pub(super) fn check_names(text: &str) -> Result<(), TemplateError> {
    for Tag { inside, line, .. } in tags(text)? {
        check_tag(inside).map_err(|message| TemplateError::invalid(message, line))?;
    }
    Ok(())
}

fn check_tag(inside: &str) -> Result<(), String> {
    let plain = without_quoted(inside);
    for filter in plain.split('|').skip(1) {
        check_known(filter, NAMES, "filter")?;
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    for pair in words.windows(3) {
        if let ["is", "not", name] = pair {
            check_known(name, TESTS, "test")?;
        } else if let ["is", name, _] | [_, "is", name] = pair
            && *name != "not"
        {
            check_known(name, TESTS, "test")?;
        }
    }
    Ok(())
}

fn check_known(text: &str, names: &[&str], kind: &str) -> Result<(), String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() || names.contains(&name.as_str()) {
        return Ok(());
    }
    let hint = did_you_mean(&name, names.iter().copied()).unwrap_or_default();
    Err(format!("uses the {kind} `{name}`, which is not known{hint}"))
}

fn without_quoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => plain.push(c),
        }
    }
    plain
}

fn too_much(filter: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{filter}` would write more than {PROMPT_BYTES_MAX} bytes"))
}

/// The error for a value that is too large by itself, independently of the template.
fn too_long(filter: &str, bytes: usize) -> Error {
    too_much(filter).with_source(TooLong { bytes })
}

fn bounded(filter: &str, text: String) -> Result<String, Error> {
    if text.len() > PROMPT_BYTES_MAX { Err(too_long(filter, text.len())) } else { Ok(text) }
}

/// Joins the items of a list with a separator.
fn join(list: &Value, separator: Option<&str>) -> Result<String, Error> {
    let between = separator.unwrap_or_default();
    let mut text = String::new();
    for (at, item) in list.try_iter()?.enumerate() {
        let item = item.to_string();
        let separator = if at == 0 { "" } else { between };
        let bytes = text.len() + separator.len() + item.len();
        if bytes > PROMPT_BYTES_MAX {
            return Err(too_long("join", bytes));
        }
        text.push_str(separator);
        text.push_str(&item);
    }
    Ok(text)
}

/// Replaces every occurrence of a text.
fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let count = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
    let bytes_after = text.len().saturating_add(count.saturating_mul(to.len()));
    if bytes_after > PROMPT_BYTES_MAX.max(text.len()) {
        return Err(too_much("replace"));
    }
    Ok(text.replace(from, to))
}

/// Formats the value as JSON; with `indent=true` over several lines.
fn tojson(ViaDeserialize(value): ViaDeserialize<Json>, options: Kwargs) -> Result<Value, Error> {
    let pretty = options.get::<Option<bool>>("indent")?.unwrap_or_default();
    options.assert_all_used()?;
    let written = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    let text = written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    bounded("tojson", text).map(Value::from)
}

/// Renders the value as Markdown lists.
fn markdown(ViaDeserialize(value): ViaDeserialize<Json>) -> Result<String, Error> {
    bounded("markdown", crate::binding::render(&value))
}

/// Truncates a text to a number of characters and marks the cut with an ellipsis.
fn truncate(text: &str, length: Option<usize>) -> String {
    match text.char_indices().nth(length.unwrap_or(255)) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
