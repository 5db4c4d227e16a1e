//! Lists of an answer: items that the inputs state under the list's name, figures of facts, and extracted
//! sentences. A list that claims more of its items than that they are in the inputs is not filled.

use greenroom_protocol::Json;
use serde_json::{Map, json};

use super::mark::{TEXT_CHARS, marked};
use super::narrative;
use super::parsed_prompt::ParsedPrompt;
use super::schema::{allows_null, count_limit, is_required, type_name};
use crate::tables::{Measure, number_format};

/// Maximum items that are extracted.
const ITEMS_MAX: usize = 6;
/// Words of the names of lists that any sentence or figure of the inputs belongs to. A list of decisions, tasks
/// or risks is not one: to select its items is to judge.
const EXTRACT_WORDS: [&str; 14] = [
    "point",
    "highlight",
    "insight",
    "fact",
    "figure",
    "kpi",
    "metric",
    "measure",
    "sentence",
    "extract",
    "excerpt",
    "quote",
    "summar",
    "paragraph",
];

/// The items; `None` if the inputs do not state them.
pub(super) fn items(prompt: &ParsedPrompt, name: &str, schema: &Json) -> Option<Json> {
    let (items_min, items_max) = (count_limit(schema, "minItems"), count_limit(schema, "maxItems"));
    let text_schema = json!({});
    let item = schema.get("items").unwrap_or(&text_schema);
    let stated = prompt.stated.list(name).and_then(|items| items.iter().map(|stated| accept(item, stated)).collect());
    let all: Vec<Json> = match stated {
        Some(stated) => stated,
        None => extracted(prompt, name, item)?
            .into_iter()
            .take(items_max.map_or(ITEMS_MAX, |max| max.min(ITEMS_MAX)))
            .collect(),
    };
    let is_allowed = items_min.is_none_or(|min| all.len() >= min) && items_max.is_none_or(|max| all.len() <= max);
    (is_allowed && !all.is_empty()).then_some(Json::Array(all))
}

/// The stated item, if it matches the schema of the items.
fn accept(schema: &Json, stated: &Json) -> Option<Json> {
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        return choices.contains(stated).then(|| stated.clone());
    }
    match type_name(schema) {
        "string" => marked(stated.as_str()?, count_limit(schema, "maxLength").unwrap_or(TEXT_CHARS)).map(Json::from),
        "integer" => (stated.is_i64() || stated.is_u64()).then(|| stated.clone()),
        "number" => stated.is_number().then(|| stated.clone()),
        "boolean" => stated.is_boolean().then(|| stated.clone()),
        "object" => stated.is_object().then(|| stated.clone()),
        _ => None,
    }
}

fn extracted(prompt: &ParsedPrompt, name: &str, schema: &Json) -> Option<Vec<Json>> {
    let name = name.to_lowercase();
    if schema.get("enum").is_some() || !EXTRACT_WORDS.iter().any(|word| name.contains(word)) {
        return None;
    }
    match type_name(schema) {
        "string" => {
            let texts = match &prompt.facts {
                Some(facts) => narrative::kpis(facts),
                None => narrative::extract(&prompt.sentences, TEXT_CHARS, ITEMS_MAX),
            };
            let chars_max = count_limit(schema, "maxLength").unwrap_or(TEXT_CHARS);
            texts.iter().map(|text| marked(text, chars_max).map(Json::from)).collect()
        }
        "object" => {
            let facts = prompt.facts.as_ref()?;
            facts.headline().map(|measure| measure_object(measure, schema)).collect()
        }
        _ => None,
    }
}

/// One measure as an object: all that is known of it, or the declared members.
fn measure_object(measure: &Measure, schema: &Json) -> Option<Json> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return Some(json!({
            "name": measure.name,
            "unit": measure.unit,
            "value": measure.figure(),
            "previous": measure.previous_total,
            "change_pct": measure.growth_pct,
        }));
    };
    let mut members = Map::new();
    for (name, property) in properties {
        match property.get("const").cloned().or_else(|| measure_member(measure, name, property)) {
            Some(member) => drop(members.insert(name.clone(), member)),
            None if allows_null(property) => drop(members.insert(name.clone(), Json::Null)),
            None if is_required(schema, name) => return None,
            None => {}
        }
    }
    Some(Json::Object(members))
}

/// The member of a measure with exactly this name.
fn measure_member(measure: &Measure, name: &str, schema: &Json) -> Option<Json> {
    let number = match name {
        "value" | "amount" => measure.figure().cloned(),
        "total" => measure.total.clone(),
        "previous" | "previous_total" => measure.previous_total.clone(),
        "change_pct" | "growth_pct" | "growth" | "change" => measure.growth_pct.clone(),
        "mean" => measure.mean.clone(),
        "min" => measure.min.clone(),
        "max" => measure.max.clone(),
        "count" => Some(measure.count.into()),
        _ => None,
    };
    match (type_name(schema), name) {
        _ if schema.get("enum").is_some() => None,
        ("string", "name" | "label" | "measure" | "metric" | "kpi") => Some(json!(measure.name)),
        ("string", "unit") => measure.unit.as_ref().map(|unit| json!(unit)),
        ("string", "change_pct" | "growth_pct" | "growth" | "change") => {
            number.map(|number| json!(number_format::change(Some(&number))))
        }
        ("string", _) => number.map(|number| json!(number_format::exact(Some(&number), measure.unit.as_deref()))),
        ("number", _) => number.map(Json::Number),
        ("integer", _) => number.filter(|number| number.is_i64() || number.is_u64()).map(Json::Number),
        (_, _) => None,
    }
}
