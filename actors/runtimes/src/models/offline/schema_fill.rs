//! A reading → an object of the shape that a JSON Schema asks for.

use greenroom_protocol::Json;
use serde_json::{Map, Number, json};

use super::DISCLAIMER;
use super::narrative;
use super::parsed_prompt::ParsedPrompt;
use crate::tables::{TableFacts, number_format};

/// Characters of a text, if neither the schema nor the request says how many.
const TEXT_CHARS: usize = 2_400;
/// Characters of a summary, a page at most.
const SUMMARY_CHARS: usize = 900;
/// Characters of a title or a subject.
const TITLE_CHARS: usize = 90;
/// Items of a list.
const ITEMS: usize = 6;
/// How deep a schema is followed.
const DEPTH_MAX: usize = 6;

/// The answer to a request without a schema.
pub(super) fn text(reading: &ParsedPrompt) -> String {
    prose(reading, &reading.task, reading.characters_max.unwrap_or(TEXT_CHARS))
}

/// The object that the schema asks for.
pub(super) fn object(reading: &ParsedPrompt, schema: &Json) -> Json {
    value(reading, "", schema, 0)
}

fn number_of(schema: &Json, name: &str) -> Option<usize> {
    schema.get(name).and_then(Json::as_u64).and_then(|number| usize::try_from(number).ok())
}

fn value(reading: &ParsedPrompt, name: &str, schema: &Json, depth: usize) -> Json {
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        return choice(reading, choices);
    }
    if depth > DEPTH_MAX {
        return Json::Null;
    }
    match kind(schema) {
        "object" => members(reading, schema, depth),
        "array" => items(reading, name, schema, depth),
        "integer" => {
            #[expect(clippy::cast_possible_truncation, reason = "rounded, and saturating by the language")]
            let whole = figure(reading, name, schema).round() as i64;
            json!(whole)
        }
        "number" => json!(figure(reading, name, schema)),
        "boolean" => json!(false),
        "null" => Json::Null,
        _ => json!(string(reading, name, schema)),
    }
}

/// The type; of several, the first that is not null.
fn kind(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(kind)) => kind,
        Some(Json::Array(kinds)) => {
            kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        Some(_) | None if schema.get("properties").is_some() => "object",
        Some(_) | None => "string",
    }
}

fn members(reading: &ParsedPrompt, schema: &Json, depth: usize) -> Json {
    match schema.get("properties").and_then(Json::as_object) {
        Some(properties) => {
            let filled =
                properties.iter().map(|(name, schema)| (name.clone(), value(reading, name, schema, depth + 1)));
            Json::Object(filled.collect())
        }
        // An object without a shape: the totals by name, which is what it can say for certain.
        None => match &reading.facts {
            Some(facts) => {
                let totals =
                    facts.headline().map(|measure| (measure.name.clone(), Json::Number(measure.total.clone())));
                Json::Object(totals.collect())
            }
            None => Json::Object(Map::new()),
        },
    }
}

fn choice(reading: &ParsedPrompt, choices: &[Json]) -> Json {
    let said = |choice: &Json| {
        let Some(word) = choice.as_str().map(|word| word.replace('_', " ").to_lowercase()) else { return 0 };
        reading.sentences.iter().filter(|sentence| sentence.text.to_lowercase().contains(&word)).count()
    };
    let mut best = choices.first();
    for choice in choices {
        if best.is_some_and(|best| said(choice) > said(best)) {
            best = Some(choice);
        }
    }
    best.cloned().unwrap_or_default()
}

/// A figure that stands beside its name; else a count; else the least that is allowed.
fn figure(reading: &ParsedPrompt, name: &str, schema: &Json) -> f64 {
    let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
    let (least, most) = (bound("minimum"), bound("maximum"));
    let found = reading.facts.as_ref().and_then(|facts| facts.measure(name)).and_then(|measure| measure.total.as_f64());
    let found = found.or_else(|| reading.documents.iter().find_map(|document| document.get(name)?.as_f64()));
    let found = found.or_else(|| {
        let name = name.to_lowercase();
        (name.contains("count") || name.contains("total"))
            .then(|| f64::from(u32::try_from(reading.sentences.len()).unwrap_or(u32::MAX)))
    });
    let value = found.or(least).unwrap_or(0.0);
    value.clamp(least.unwrap_or(f64::MIN), most.unwrap_or(f64::MAX).max(least.unwrap_or(f64::MIN)))
}

fn items(reading: &ParsedPrompt, name: &str, schema: &Json, depth: usize) -> Json {
    let (least, most) = (number_of(schema, "minItems").unwrap_or(0), number_of(schema, "maxItems").unwrap_or(ITEMS));
    let empty = json!({});
    let item = schema.get("items").unwrap_or(&empty);
    let mut all: Vec<Json> = match kind(item) {
        "object" => objects(reading, item, depth),
        "string" if item.get("enum").is_some() => vec![value(reading, name, item, depth + 1)],
        "string" => points(reading, name).into_iter().map(|point| json!(fitted(&point, item))).collect(),
        _ => Vec::new(),
    };
    all.truncate(most);
    while all.len() < least {
        all.push(value(reading, name, item, depth + 1));
    }
    Json::Array(all)
}

/// One object a measure; without facts, one a sentence.
fn objects(reading: &ParsedPrompt, schema: &Json, depth: usize) -> Vec<Json> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return match &reading.facts {
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
            None => narrative::extract(&reading.sentences, TEXT_CHARS, ITEMS)
                .into_iter()
                .map(|text| json!({ "text": text }))
                .collect(),
        };
    };
    let rows: Vec<(String, String, Option<Number>, Option<Number>)> = match &reading.facts {
        Some(facts) => facts
            .headline()
            .map(|measure| {
                let told = number_format::exact(Some(&measure.total), measure.unit.as_deref());
                (measure.name.clone(), told, Some(measure.total.clone()), measure.growth_pct.clone())
            })
            .collect(),
        None => narrative::extract(&reading.sentences, TEXT_CHARS, ITEMS)
            .into_iter()
            .map(|text| (text.clone(), text, None, None))
            .collect(),
    };
    rows.into_iter()
        .map(|(label, told, total, growth)| {
            let filled = properties.iter().map(|(name, schema)| {
                let is_growth = ["growth", "change", "trend", "delta"].iter().any(|word| name.contains(word));
                let number = if is_growth { &growth } else { &total };
                let filled = match (kind(schema), number) {
                    _ if schema.get("enum").is_some() => value(reading, name, schema, depth + 1),
                    ("string", _) if is_growth => json!(number_format::change(growth.as_ref())),
                    ("string", _)
                        if ["value", "total", "amount", "detail", "description", "text"].contains(&name.as_str()) =>
                    {
                        json!(fitted(&told, schema))
                    }
                    ("string", _) => json!(fitted(&label, schema)),
                    ("number" | "integer", Some(number)) => Json::Number(number.clone()),
                    _ => value(reading, name, schema, depth + 1),
                };
                (name.clone(), filled)
            });
            Json::Object(filled.collect())
        })
        .collect()
}

/// The lines of a list, chosen by what the list is called.
fn points(reading: &ParsedPrompt, name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let picked = |wanted: &dyn Fn(&str) -> bool| {
        let all = reading.sentences.iter().map(|sentence| &sentence.text).filter(|text| wanted(text));
        all.take(ITEMS).cloned().collect::<Vec<_>>()
    };
    if ["action", "task", "todo", "next_step", "follow"].iter().any(|word| name.contains(word)) {
        const WORDS: [&str; 9] =
            ["will ", "must ", "should ", "needs to ", "to do", "action", "owner", "follow up", "by friday"];
        return picked(&|text| WORDS.iter().any(|word| text.to_lowercase().contains(word)));
    }
    if name.contains("question") {
        return picked(&|text| text.ends_with('?'));
    }
    if name.contains("decision") {
        return picked(&|text| {
            ["decided", "agreed", "approved", "decision"].iter().any(|word| text.to_lowercase().contains(word))
        });
    }
    if name.contains("risk") || name.contains("concern") {
        return picked(&|text| {
            ["risk", "down ", "delay", "late", "fell", "decline", "weak", "loss"]
                .iter()
                .any(|word| text.to_lowercase().contains(word))
        });
    }
    match &reading.facts {
        Some(facts) => narrative::kpis(facts).into_iter().take(ITEMS).collect(),
        None => narrative::extract(&reading.sentences, TEXT_CHARS, ITEMS),
    }
}

/// A text cut to what the schema allows.
fn fitted(text: &str, schema: &Json) -> String {
    match number_of(schema, "maxLength") {
        Some(most) if text.chars().count() > most => text.chars().take(most).collect(),
        Some(_) | None => text.to_owned(),
    }
}

fn string(reading: &ParsedPrompt, name: &str, schema: &Json) -> String {
    let lower = name.to_lowercase();
    let most = number_of(schema, "maxLength");
    let is_title = ["title", "subject", "headline", "name", "topic", "label"].iter().any(|word| lower.contains(word));
    if is_title || most.is_some_and(|most| most <= DISCLAIMER.len() * 2) {
        return fitted(&title(reading, most.unwrap_or(TITLE_CHARS)), schema);
    }
    let about =
        format!("{lower} {}", schema.get("description").and_then(Json::as_str).unwrap_or_default().to_lowercase());
    let usual = if about.contains("summary") && !about.contains("financial") { SUMMARY_CHARS } else { TEXT_CHARS };
    let limit = most.into_iter().chain(reading.characters_max).min().unwrap_or(usual).min(usual);
    // The name of the output says what it is; the definition's own words only where it does not.
    let known = ["kpi", "insight", "metric", "financ", "narrative", "summary", "brief", "report"]
        .iter()
        .any(|word| about.contains(word));
    let text = prose(reading, if known { &about } else { &reading.task }, limit);
    fitted(&text, schema)
}

fn title(reading: &ParsedPrompt, most: usize) -> String {
    let text = match &reading.facts {
        Some(TableFacts { period, file, .. }) => format!("{}: {file}", period.label),
        None => reading.sentences.first().map_or_else(|| "Untitled".to_owned(), |sentence| sentence.text.clone()),
    };
    if text.chars().count() <= most { text } else { text.chars().take(most.saturating_sub(1)).chain(['…']).collect() }
}

/// A text about what `about` says, with the mark behind it, within the limit.
fn prose(reading: &ParsedPrompt, about: &str, characters_max: usize) -> String {
    let room = characters_max.saturating_sub(DISCLAIMER.chars().count() + 2);
    let has = |words: &[&str]| words.iter().any(|word| about.contains(word));
    let body = match &reading.facts {
        Some(facts) if has(&["kpi", "insight", "metric", "dashboard"]) => {
            let lines = narrative::kpis(facts).into_iter().map(|line| format!("- {line}")).collect();
            narrative::within(lines, room).join("\n")
        }
        Some(facts) if has(&["financ", "narrative"]) => {
            narrative::within(narrative::financial(facts), room).join("\n\n")
        }
        Some(_) | None => narrative::summary(reading, room).join(" "),
    };
    let body = if body.is_empty() {
        reading.sentences.first().map_or_else(String::new, |sentence| sentence.text.chars().take(room).collect())
    } else {
        body
    };
    if body.is_empty() {
        return format!("There is nothing in the request to extract. {DISCLAIMER}");
    }
    let gap = if body.contains('\n') { "\n\n" } else { " " };
    format!("{body}{gap}{DISCLAIMER}")
}
