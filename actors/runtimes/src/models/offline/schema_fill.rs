//! Parsed prompt → an object that matches a JSON Schema. A value is stated in the inputs, or it is a figure of
//! their facts, or it is a text of extracted sentences. Anything else is absent, and a gap if it is required.

use greenroom_protocol::Json;
use serde_json::Map;

use super::lists;
use super::mark::{TEXT_CHARS, marked, room};
use super::narrative;
use super::parsed_prompt::ParsedPrompt;
use super::schema::{allows_null, count_limit, describe, fits, is_required, is_within, type_name};

/// Maximum characters of a summary: one page.
const SUMMARY_CHARS: usize = 900;
/// Maximum characters of a title or a subject.
const TITLE_CHARS: usize = 120;
/// Maximum depth of a schema.
const DEPTH_MAX: usize = 6;
/// A required value that the inputs do not state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// The path of the field: `score`, or `items.owner`.
    pub(super) field: String,
    /// Its type, for the message.
    pub(super) expected: String,
}

/// Writes the answer to a request without a schema.
pub(super) fn text(prompt: &ParsedPrompt) -> Result<String, Vec<Gap>> {
    let text = prose(prompt, &prompt.task, prompt.characters_max.unwrap_or(TEXT_CHARS));
    text.ok_or_else(|| vec![Gap { field: "answer".to_owned(), expected: "a text".to_owned() }])
}

/// Fills the object of the schema.
///
/// # Errors
/// Its required values that are not stated; all of them, if none of its values is stated.
pub(super) fn object(prompt: &ParsedPrompt, schema: &Json) -> Result<Json, Vec<Gap>> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        let gap = || vec![Gap { field: "answer".to_owned(), expected: "an object".to_owned() }];
        return value(prompt, "answer", schema, 0).ok_or_else(gap);
    };
    let filled = members(prompt, properties, 0);
    let is_missing = |name: &str| filled.get(name).is_none_or(Json::is_null);
    let gaps = |is_gap: &dyn Fn(&str, &Json) -> bool| -> Vec<Gap> {
        let missing = properties.iter().filter(|(name, schema)| is_missing(name) && is_gap(name, schema));
        missing.map(|(name, schema)| Gap { field: name.clone(), expected: describe(schema) }).collect()
    };
    let required = gaps(&|name, property| is_required(schema, name) && !allows_null(property));
    if !required.is_empty() {
        return Err(required);
    }
    // An answer without any value would look like one that was given.
    if !properties.is_empty() && properties.keys().all(|name| is_missing(name)) {
        return Err(gaps(&|_, _| true));
    }
    Ok(Json::Object(filled))
}

/// The value of one field; `None` if the inputs do not state it.
fn value(prompt: &ParsedPrompt, name: &str, schema: &Json, depth: usize) -> Option<Json> {
    if let Some(fixed) = schema.get("const") {
        return Some(fixed.clone());
    }
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        return stated_choice(prompt, name, choices);
    }
    if depth > DEPTH_MAX {
        return None;
    }
    match type_name(schema) {
        "object" => match schema.get("properties").and_then(Json::as_object) {
            Some(properties) => complete_members(prompt, schema, properties, depth),
            None => free_object(prompt, name),
        },
        "array" => lists::items(prompt, name, schema),
        "integer" => stated_number(prompt, name).and_then(to_integer).filter(|number| is_within(schema, number)),
        "number" => stated_number(prompt, name).filter(|number| is_within(schema, number)),
        "boolean" => stated_boolean(prompt, name),
        "string" => string(prompt, name, schema).map(Json::from),
        _ => None,
    }
}

/// The members that have a value; a missing one is null where the schema allows it, and absent elsewhere.
fn members(prompt: &ParsedPrompt, properties: &Map<String, Json>, depth: usize) -> Map<String, Json> {
    let mut filled = Map::new();
    for (name, property) in properties {
        match value(prompt, name, property, depth + 1) {
            Some(value) => drop(filled.insert(name.clone(), value)),
            None if allows_null(property) => drop(filled.insert(name.clone(), Json::Null)),
            None => {}
        }
    }
    filled
}

/// The members of an inner object, if none that is required is missing.
fn complete_members(
    prompt: &ParsedPrompt,
    schema: &Json,
    properties: &Map<String, Json>,
    depth: usize,
) -> Option<Json> {
    let filled = members(prompt, properties, depth);
    let is_complete = properties.keys().all(|name| filled.contains_key(name) || !is_required(schema, name));
    let has_value = filled.values().any(|value| !value.is_null());
    (is_complete && has_value).then_some(Json::Object(filled))
}

/// An object without declared properties: the object of this name, or the totals of the facts.
fn free_object(prompt: &ParsedPrompt, name: &str) -> Option<Json> {
    let stated = prompt.stated.value(name, |value| value.is_object().then(|| value.clone()), |_| None);
    stated.or_else(|| {
        let facts = prompt.facts.as_ref()?;
        let totals = facts
            .headline()
            .filter_map(|measure| Some((measure.name.clone(), Json::Number(measure.figure()?.clone()))));
        Some(Json::Object(totals.collect()))
    })
}

fn stated_choice(prompt: &ParsedPrompt, name: &str, choices: &[Json]) -> Option<Json> {
    let words = |text: &str| text.trim().to_lowercase().replace(['_', '-'], " ");
    let from_line = |line: &str| {
        let is_line = |choice: &&Json| match choice {
            Json::String(text) => words(text) == words(line),
            other => !other.is_null() && other.to_string().as_str() == line,
        };
        choices.iter().find(is_line).cloned()
    };
    let from_json = |value: &Json| match value {
        Json::String(text) => from_line(text),
        other => choices.iter().find(|choice| !choice.is_null() && *choice == other).cloned(),
    };
    prompt.stated.value(name, from_json, from_line)
}

/// The figure of this name: a member, a line, or the total of a measure.
fn stated_number(prompt: &ParsedPrompt, name: &str) -> Option<Json> {
    let measure = prompt.facts.as_ref().and_then(|facts| facts.measure(name));
    if let Some(measure) = measure {
        return measure.figure().cloned().map(Json::Number);
    }
    let from_line = |line: &str| serde_json::from_str::<serde_json::Number>(line).ok().map(Json::Number);
    prompt.stated.value(name, |value| value.is_number().then(|| value.clone()), from_line)
}

/// An integer, unchanged: a number with a fraction is not one, and rounding would make another figure.
fn to_integer(number: Json) -> Option<Json> {
    match number.as_f64() {
        _ if number.is_i64() || number.is_u64() => Some(number),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Some(float) if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => Some(Json::from(float as i64)),
        Some(_) | None => None,
    }
}

fn stated_boolean(prompt: &ParsedPrompt, name: &str) -> Option<Json> {
    let from_line = |line: &str| match line.to_lowercase().as_str() {
        "true" | "yes" => Some(Json::from(true)),
        "false" | "no" => Some(Json::from(false)),
        _ => None,
    };
    prompt.stated.value(name, |value| value.is_boolean().then(|| value.clone()), from_line)
}

fn string(prompt: &ParsedPrompt, name: &str, schema: &Json) -> Option<String> {
    let lower = name.to_lowercase();
    let chars_max = count_limit(schema, "maxLength");
    let has = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_prose = has(&lower, &["summary", "narrative", "report", "brief", "minutes", "text"]);
    if !is_prose && let Some(stated) = stated_text(prompt, name, schema) {
        return Some(stated);
    }
    if has(&lower, &["title", "subject", "headline", "topic", "label"]) {
        return marked(&narrative::title(prompt)?, chars_max.unwrap_or(TITLE_CHARS)).filter(|text| fits(schema, text));
    }
    let description = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    let about = format!("{lower} {}", description.to_lowercase());
    let default_max =
        if about.contains("summary") && !about.contains("financial") { SUMMARY_CHARS } else { TEXT_CHARS };
    let limit = chars_max.into_iter().chain(prompt.characters_max).min().unwrap_or(default_max).min(default_max);
    // The name of the output selects the figures; the task of the definition does only if it does not.
    let is_known = has(&about, &["kpi", "insight", "metric", "financ", "narrative", "summary", "brief", "report"]);
    prose(prompt, if is_known { &about } else { &prompt.task }, limit).filter(|text| fits(schema, text))
}

/// The text that the inputs state by this name. One that is too short for the mark is copied without it, like
/// a number.
fn stated_text(prompt: &ParsedPrompt, name: &str, schema: &Json) -> Option<String> {
    let from_json = |value: &Json| value.as_str().map(str::to_owned);
    let stated = prompt.stated.value(name, from_json, |line| Some(line.to_owned()))?;
    let chars_max = count_limit(schema, "maxLength").unwrap_or(TEXT_CHARS);
    let text = match room(chars_max) {
        Some(room) if stated.chars().count() <= room => marked(&stated, chars_max)?,
        Some(_) | None => stated,
    };
    fits(schema, &text).then_some(text)
}

/// Writes a marked text of figures or sentences within the limit; `None` if there are none, or no room.
fn prose(prompt: &ParsedPrompt, about: &str, chars_max: usize) -> Option<String> {
    let room = room(chars_max)?;
    let has = |words: &[&str]| words.iter().any(|word| about.contains(word));
    let body = match &prompt.facts {
        Some(facts) if has(&["kpi", "insight", "metric", "dashboard"]) => {
            let lines = narrative::kpis(facts).into_iter().map(|line| format!("- {line}")).collect();
            narrative::take_within(lines, room).join("\n")
        }
        Some(facts) if has(&["financ", "narrative"]) => {
            narrative::take_within(narrative::financial(facts), room).join("\n\n")
        }
        Some(_) | None => narrative::summary(prompt, room).join(" "),
    };
    if !body.is_empty() {
        return marked(&body, chars_max);
    }
    // Not even the shortest sentence fits: the first one is cut off.
    marked(&prompt.sentences.first()?.text, chars_max)
}
