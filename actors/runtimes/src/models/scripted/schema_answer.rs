//! Answers that a JSON Schema allows: the smallest one, and one that has something in every text, list and object, with
//! which the steps after it have something to read. The schemas are those of definitions.

use greenroom_protocol::Json;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::{Map, json};

/// Items of a list without bounds, in a filled answer.
const ITEMS: usize = 2;
/// Characters of a text without bounds, in a filled answer.
const TEXT_CHARS: usize = 120;
const SENTENCE: &str = "The schema allows this text. ";
/// Optional repetitions of a pattern that are tried to make a text as long as the schema demands.
const REPETITIONS_MAX: u32 = 8;
/// Characters that are preferred in a class of a pattern, because people read the answers.
const PLAIN_CHARACTERS: [char; 3] = ['a', 'A', '1'];

/// The smallest value that a schema allows.
pub(super) fn blank(schema: Option<&Json>) -> Json {
    let Some(schema) = schema else { return Json::Object(Map::new()) };
    if let Some(choice) = first_choice(schema) {
        return choice;
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => {
            let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
            Json::Object(properties.map(|(name, schema)| (name.clone(), blank(Some(schema)))).collect())
        }
        Some("array") => {
            let item = schema.get("items").unwrap_or(&Json::Null);
            Json::Array((0..count(schema, "minItems").unwrap_or(0)).map(|_| blank(Some(item))).collect())
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| Json::from(0)),
        Some("boolean") => Json::Bool(false),
        Some("null") => Json::Null,
        Some(_) | None => Json::String(".".repeat(count(schema, "minLength").unwrap_or(0))),
    }
}

/// A value that a schema allows, with every property, and with something in each text and list.
pub(super) fn filled(schema: Option<&Json>) -> Json {
    let Some(schema) = schema else { return Json::from(SENTENCE.trim_end()) };
    if let Some(choice) = first_choice(schema) {
        return choice;
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => match schema.get("properties").and_then(Json::as_object) {
            Some(properties) => {
                Json::Object(properties.iter().map(|(name, schema)| (name.clone(), filled(Some(schema)))).collect())
            }
            None => json!({ "text": SENTENCE.trim_end() }),
        },
        Some("array") => {
            let length = bounded(ITEMS, count(schema, "minItems"), count(schema, "maxItems"));
            Json::Array((0..length).map(|_| filled(schema.get("items"))).collect())
        }
        Some("integer" | "number") => number(schema),
        Some("boolean") => Json::Bool(true),
        Some("null") => Json::Null,
        Some(_) | None => Json::String(text(schema)),
    }
}

fn first_choice(schema: &Json) -> Option<Json> {
    schema.get("const").or_else(|| schema.get("enum")?.as_array()?.first()).cloned()
}

fn count(schema: &Json, name: &str) -> Option<usize> {
    schema.get(name).and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok())
}

fn bounded(wanted: usize, minimum: Option<usize>, maximum: Option<usize>) -> usize {
    wanted.max(minimum.unwrap_or(0)).min(maximum.unwrap_or(usize::MAX))
}

/// One, or the bound that is nearest to it.
fn number(schema: &Json) -> Json {
    let bound = |name: &str, excludes_one: fn(f64) -> bool| {
        schema.get(name).filter(|bound| bound.as_f64().is_some_and(excludes_one)).cloned()
    };
    bound("minimum", |minimum| minimum > 1.0)
        .or_else(|| bound("maximum", |maximum| maximum < 1.0))
        .unwrap_or_else(|| Json::from(1))
}

fn text(schema: &Json) -> String {
    let member = |name: &str| schema.get(name).and_then(Json::as_str);
    // ISO codes have no format of JSON Schema; the description names them.
    let is_code = |standard: &str| member("description").is_some_and(|description| description.contains(standard));
    match member("format") {
        Some("date") => return "2024-12-31".to_owned(),
        Some("date-time") => return "2024-12-31T12:00:00Z".to_owned(),
        Some("duration") => return "P1D".to_owned(),
        Some("email") => return "name@example.org".to_owned(),
        Some("uri") => return "https://example.org/".to_owned(),
        Some(_) | None => {}
    }
    let (minimum, maximum) = (count(schema, "minLength"), count(schema, "maxLength"));
    match member("pattern") {
        Some(_) if is_code("ISO 4217") => "EUR".to_owned(),
        Some(_) if is_code("ISO 3166") => "DE".to_owned(),
        Some(pattern) => matching_within(pattern, minimum.unwrap_or(0), maximum.unwrap_or(usize::MAX)),
        None => SENTENCE.chars().cycle().take(bounded(TEXT_CHARS, minimum, maximum)).collect(),
    }
}

/// A text of this length that matches the pattern; the shortest one that matches if none of the length is found.
fn matching_within(pattern: &str, minimum: usize, maximum: usize) -> String {
    let Ok(parsed) = regex_syntax::parse(pattern) else { return String::new() };
    let fits = |text: &String| (minimum..=maximum).contains(&text.chars().count());
    let fitting = (0..=REPETITIONS_MAX).map(|more| matching(&parsed, more)).find(fits);
    fitting.unwrap_or_else(|| matching(&parsed, 0))
}

/// A text that matches a pattern, with `more` repetitions than needed where the pattern allows them.
fn matching(pattern: &Hir, more: u32) -> String {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => String::new(),
        HirKind::Literal(literal) => String::from_utf8_lossy(&literal.0).into_owned(),
        HirKind::Class(class) => character(class).into_iter().collect(),
        HirKind::Repetition(repetition) => {
            let wanted = repetition.min.saturating_add(more);
            matching(&repetition.sub, more).repeat(wanted.min(repetition.max.unwrap_or(wanted)) as usize)
        }
        HirKind::Capture(capture) => matching(&capture.sub, more),
        HirKind::Concat(parts) => parts.iter().map(|part| matching(part, more)).collect(),
        HirKind::Alternation(options) => options.first().map(|option| matching(option, more)).unwrap_or_default(),
    }
}

fn character(class: &Class) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => {
            class.ranges().iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect()
        }
    };
    let contains = |c: &char| ranges.iter().any(|(start, end)| (start..=end).contains(&c));
    PLAIN_CHARACTERS.into_iter().find(contains).or_else(|| ranges.first().map(|(start, _)| *start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_answer_has_every_property_within_its_bounds() {
        let schema = json!({ "type": "object", "required": ["kind"], "properties": {
            "kind": { "type": "string", "enum": ["first", "second"] },
            "rows": { "type": "array", "minItems": 3, "items": { "type": "object", "properties": {
                "share": { "type": "number", "minimum": 0.0, "maximum": 0.5 }, "days": { "type": "integer" } } } },
            "one": { "type": "array", "maxItems": 1, "items": { "type": "boolean" } },
            "title": { "type": "string", "minLength": 5, "maxLength": 10 },
            "open": { "type": "object" } } });
        let answer = filled(Some(&schema));
        let row = json!({ "share": 0.5, "days": 1 });
        assert_eq!(answer["rows"], json!([row, row, row]));
        assert_eq!((&answer["kind"], &answer["one"]), (&json!("first"), &json!([true])));
        assert_eq!(answer["title"], "The schema");
        assert!(answer["open"].as_object().is_some_and(|members| !members.is_empty()));
    }

    #[test]
    fn texts_have_the_format_and_match_the_pattern() {
        for (member, form, expected) in [
            ("format", "date", "2024-12-31"),
            ("pattern", "^T[0-9]{4}(\\.[0-9]{3})?$", "T1111"),
            ("pattern", "^(outcome|O[0-9]{1,2})$", "outcome"),
            ("pattern", "^[1-4]\\.[1-5]\\.[0-9]{1,2}$", "1.1.1"),
            ("pattern", "^[^a]$", "A"),
            ("pattern", "^/", "/"),
        ] {
            assert_eq!(filled(Some(&json!({ "type": "string", member: form }))), expected, "{form}");
        }
        let word = json!({ "type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "minLength": 2, "maxLength": 5 });
        assert_eq!(filled(Some(&word)), "aa-aa");
        let currency =
            json!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": "Format: a code of ISO 4217" });
        assert_eq!(filled(Some(&currency)), "EUR");
    }
}
