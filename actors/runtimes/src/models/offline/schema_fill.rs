//! Parsed prompt → an object that matches a JSON Schema.

use greenroom_protocol::Json;
use serde_json::{Map, Number, json};

use super::DISCLAIMER;
use super::narrative;
use super::parsed_prompt::ParsedPrompt;
use crate::tables::{TableFacts, number_format};

/// Maximum characters of a text, if neither the schema nor the request has a limit.
const TEXT_CHARS: usize = 2_400;
/// Maximum characters of a summary: one page.
const SUMMARY_CHARS: usize = 900;
/// Maximum characters of a title or a subject.
const TITLE_CHARS: usize = 90;
/// Maximum items of a list.
const ITEMS: usize = 6;
/// Maximum depth of a schema.
const DEPTH_MAX: usize = 6;

/// Writes the answer to a request without a schema.
pub(super) fn text(prompt: &ParsedPrompt) -> String {
    prose(prompt, &prompt.task, prompt.characters_max.unwrap_or(TEXT_CHARS))
}

/// Fills the object of the schema.
pub(super) fn object(prompt: &ParsedPrompt, schema: &Json) -> Json {
    value(prompt, "", schema, 0)
}

fn number_of(schema: &Json, name: &str) -> Option<usize> {
    schema.get(name).and_then(Json::as_u64).and_then(|number| usize::try_from(number).ok())
}

fn value(prompt: &ParsedPrompt, name: &str, schema: &Json, depth: usize) -> Json {
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        return choice(prompt, choices);
    }
    if depth > DEPTH_MAX {
        return Json::Null;
    }
    match type_name(schema) {
        "object" => members(prompt, schema, depth),
        "array" => items(prompt, name, schema, depth),
        "integer" => {
            #[expect(clippy::cast_possible_truncation, reason = "rounded, and saturating by the language")]
            let rounded = figure(prompt, name, schema).round() as i64;
            json!(rounded)
        }
        "number" => json!(figure(prompt, name, schema)),
        "boolean" => json!(false),
        "null" => Json::Null,
        _ => json!(string(prompt, name, schema)),
    }
}

/// The type of the schema; of several, the first that is not null.
fn type_name(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(name)) => name,
        Some(Json::Array(names)) => {
            names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or("null")
        }
        Some(_) | None if schema.get("properties").is_some() => "object",
        Some(_) | None => "string",
    }
}

fn members(prompt: &ParsedPrompt, schema: &Json, depth: usize) -> Json {
    match schema.get("properties").and_then(Json::as_object) {
        Some(properties) => {
            let filled = properties.iter().map(|(name, schema)| (name.clone(), value(prompt, name, schema, depth + 1)));
            Json::Object(filled.collect())
        }
        // An object without declared properties gets the totals by name, the only certain content.
        None => match &prompt.facts {
            Some(facts) => {
                let totals =
                    facts.headline().map(|measure| (measure.name.clone(), Json::Number(measure.total.clone())));
                Json::Object(totals.collect())
            }
            None => Json::Object(Map::new()),
        },
    }
}

fn choice(prompt: &ParsedPrompt, choices: &[Json]) -> Json {
    let mentions = |choice: &Json| {
        let Some(word) = choice.as_str().map(|word| word.replace('_', " ").to_lowercase()) else { return 0 };
        prompt.sentences.iter().filter(|sentence| sentence.text.to_lowercase().contains(&word)).count()
    };
    let mut best = choices.first();
    for choice in choices {
        if best.is_some_and(|best| mentions(choice) > mentions(best)) {
            best = Some(choice);
        }
    }
    best.cloned().unwrap_or_default()
}

/// The figure of this name; or else a count; or else the minimum of the schema.
fn figure(prompt: &ParsedPrompt, name: &str, schema: &Json) -> f64 {
    let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
    let (minimum, maximum) = (bound("minimum"), bound("maximum"));
    let known = prompt.facts.as_ref().and_then(|facts| facts.measure(name)).and_then(|measure| measure.total.as_f64());
    let known = known.or_else(|| prompt.documents.iter().find_map(|document| document.get(name)?.as_f64()));
    let known = known.or_else(|| {
        let name = name.to_lowercase();
        (name.contains("count") || name.contains("total"))
            .then(|| f64::from(u32::try_from(prompt.sentences.len()).unwrap_or(u32::MAX)))
    });
    let value = known.or(minimum).unwrap_or(0.0);
    value.clamp(minimum.unwrap_or(f64::MIN), maximum.unwrap_or(f64::MAX).max(minimum.unwrap_or(f64::MIN)))
}

fn items(prompt: &ParsedPrompt, name: &str, schema: &Json, depth: usize) -> Json {
    let (items_min, items_max) =
        (number_of(schema, "minItems").unwrap_or(0), number_of(schema, "maxItems").unwrap_or(ITEMS));
    let empty = json!({});
    let item = schema.get("items").unwrap_or(&empty);
    let mut all: Vec<Json> = match type_name(item) {
        "object" => objects(prompt, item, depth),
        "string" if item.get("enum").is_some() => vec![value(prompt, name, item, depth + 1)],
        "string" => points(prompt, name).into_iter().map(|point| json!(truncate(&point, item))).collect(),
        _ => Vec::new(),
    };
    all.truncate(items_max);
    while all.len() < items_min {
        all.push(value(prompt, name, item, depth + 1));
    }
    Json::Array(all)
}

/// Creates one object per measure or, without facts, one per sentence.
fn objects(prompt: &ParsedPrompt, schema: &Json, depth: usize) -> Vec<Json> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return match &prompt.facts {
            Some(facts) => facts
                .headline()
                .map(|measure| {
                    json!({
                        "name": measure.name,
                        "unit": measure.unit,
                        "value": measure.total,
                        "previous": measure.previous_total,
                        "change_pct": measure.growth_pct,
                    })
                })
                .collect(),
            None => narrative::extract(&prompt.sentences, TEXT_CHARS, ITEMS)
                .into_iter()
                .map(|text| json!({ "text": text }))
                .collect(),
        };
    };
    let rows: Vec<(String, String, Option<Number>, Option<Number>)> = match &prompt.facts {
        Some(facts) => facts
            .headline()
            .map(|measure| {
                let formatted = number_format::exact(Some(&measure.total), measure.unit.as_deref());
                (measure.name.clone(), formatted, Some(measure.total.clone()), measure.growth_pct.clone())
            })
            .collect(),
        None => narrative::extract(&prompt.sentences, TEXT_CHARS, ITEMS)
            .into_iter()
            .map(|text| (text.clone(), text, None, None))
            .collect(),
    };
    rows.into_iter()
        .map(|(label, formatted, total, growth)| {
            let filled = properties.iter().map(|(name, schema)| {
                let is_growth = ["growth", "change", "trend", "delta"].iter().any(|word| name.contains(word));
                let number = if is_growth { &growth } else { &total };
                let filled = match (type_name(schema), number) {
                    _ if schema.get("enum").is_some() => value(prompt, name, schema, depth + 1),
                    ("string", _) if is_growth => json!(number_format::change(growth.as_ref())),
                    ("string", _)
                        if ["value", "total", "amount", "detail", "description", "text"].contains(&name.as_str()) =>
                    {
                        json!(truncate(&formatted, schema))
                    }
                    ("string", _) => json!(truncate(&label, schema)),
                    ("number" | "integer", Some(number)) => Json::Number(number.clone()),
                    _ => value(prompt, name, schema, depth + 1),
                };
                (name.clone(), filled)
            });
            Json::Object(filled.collect())
        })
        .collect()
}

/// Selects the lines of a list by the name of the list.
fn points(prompt: &ParsedPrompt, name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let select = |is_match: &dyn Fn(&str) -> bool| {
        let all = prompt.sentences.iter().map(|sentence| &sentence.text).filter(|text| is_match(text));
        all.take(ITEMS).cloned().collect::<Vec<_>>()
    };
    if ["action", "task", "todo", "next_step", "follow"].iter().any(|word| name.contains(word)) {
        const WORDS: [&str; 9] =
            ["will ", "must ", "should ", "needs to ", "to do", "action", "owner", "follow up", "by friday"];
        return select(&|text| WORDS.iter().any(|word| text.to_lowercase().contains(word)));
    }
    if name.contains("question") {
        return select(&|text| text.ends_with('?'));
    }
    if name.contains("decision") {
        return select(&|text| {
            ["decided", "agreed", "approved", "decision"].iter().any(|word| text.to_lowercase().contains(word))
        });
    }
    if name.contains("risk") || name.contains("concern") {
        return select(&|text| {
            ["risk", "down ", "delay", "late", "fell", "decline", "weak", "loss"]
                .iter()
                .any(|word| text.to_lowercase().contains(word))
        });
    }
    match &prompt.facts {
        Some(facts) => narrative::kpis(facts).into_iter().take(ITEMS).collect(),
        None => narrative::extract(&prompt.sentences, TEXT_CHARS, ITEMS),
    }
}

/// Truncates a text to the length that the schema allows.
fn truncate(text: &str, schema: &Json) -> String {
    match number_of(schema, "maxLength") {
        Some(chars_max) if text.chars().count() > chars_max => text.chars().take(chars_max).collect(),
        Some(_) | None => text.to_owned(),
    }
}

fn string(prompt: &ParsedPrompt, name: &str, schema: &Json) -> String {
    let lower = name.to_lowercase();
    let chars_max = number_of(schema, "maxLength");
    let is_title = ["title", "subject", "headline", "name", "topic", "label"].iter().any(|word| lower.contains(word));
    if is_title || chars_max.is_some_and(|limit| limit <= DISCLAIMER.len() * 2) {
        return truncate(&title(prompt, chars_max.unwrap_or(TITLE_CHARS)), schema);
    }
    let about =
        format!("{lower} {}", schema.get("description").and_then(Json::as_str).unwrap_or_default().to_lowercase());
    let default_limit =
        if about.contains("summary") && !about.contains("financial") { SUMMARY_CHARS } else { TEXT_CHARS };
    let limit = chars_max.into_iter().chain(prompt.characters_max).min().unwrap_or(default_limit).min(default_limit);
    // The name of the output determines the text; the task of the definition does only if it does not.
    let is_known = ["kpi", "insight", "metric", "financ", "narrative", "summary", "brief", "report"]
        .iter()
        .any(|word| about.contains(word));
    let text = prose(prompt, if is_known { &about } else { &prompt.task }, limit);
    truncate(&text, schema)
}

fn title(prompt: &ParsedPrompt, chars_max: usize) -> String {
    let text = match &prompt.facts {
        Some(TableFacts { period, file, .. }) => format!("{}: {file}", period.label),
        None => prompt.sentences.first().map_or_else(|| "Untitled".to_owned(), |sentence| sentence.text.clone()),
    };
    if text.chars().count() <= chars_max {
        text
    } else {
        text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
    }
}

/// Writes a text about the subject, followed by the disclaimer, within the limit.
fn prose(prompt: &ParsedPrompt, about: &str, characters_max: usize) -> String {
    let body_max = characters_max.saturating_sub(DISCLAIMER.chars().count() + 2);
    let has = |words: &[&str]| words.iter().any(|word| about.contains(word));
    let body = match &prompt.facts {
        Some(facts) if has(&["kpi", "insight", "metric", "dashboard"]) => {
            let lines = narrative::kpis(facts).into_iter().map(|line| format!("- {line}")).collect();
            narrative::take_within(lines, body_max).join("\n")
        }
        Some(facts) if has(&["financ", "narrative"]) => {
            narrative::take_within(narrative::financial(facts), body_max).join("\n\n")
        }
        Some(_) | None => narrative::summary(prompt, body_max).join(" "),
    };
    let body = if body.is_empty() {
        prompt.sentences.first().map_or_else(String::new, |sentence| sentence.text.chars().take(body_max).collect())
    } else {
        body
    };
    if body.is_empty() {
        return format!("There is nothing in the request to extract. {DISCLAIMER}");
    }
    let gap = if body.contains('\n') { "\n\n" } else { " " };
    format!("{body}{gap}{DISCLAIMER}")
}
