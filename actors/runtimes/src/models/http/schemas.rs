//! Schemas in the form that an API takes: that of an answer, and those of the parameters of tools.
//!
//! A strict API constrains every token, so it requires a closed schema: each object lists its properties, and
//! each array its items. An object that may have any properties would be sent as one that has none, and `{}`
//! would be all that a model may write. An open schema is therefore sent without `strict`, or in the prompt.

use genai::adapter::AdapterKind;
use greenroom_protocol::Json;
use serde_json::{Map, json};

/// Keywords that Anthropic's structured outputs reject.
const ANTHROPIC_UNSUPPORTED: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
];
/// The largest `minItems` that Anthropic's structured outputs accept.
const ANTHROPIC_MIN_ITEMS_MAX: u64 = 1;
/// Keywords that are not among those of Gemini's structured outputs.
const GEMINI_UNSUPPORTED: &[&str] = &["minLength", "maxLength", "pattern", "uniqueItems", "default"];
/// Keywords that OpenAI's structured outputs reject.
const OPENAI_UNSUPPORTED: &[&str] = &["minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties"];
/// The format that OpenAI's structured outputs reject.
const OPENAI_UNSUPPORTED_FORMAT: &str = "uri";

/// How a request carries a schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AnswerSchema {
    /// By genai, which marks it as strict for an API that knows the mark.
    Strict(Json),
    /// In the body of the request, marked as not strict.
    Loose(Json),
    /// Not by the API.
    InPrompt,
}

/// Adapts the schema of an answer to an API.
pub(super) fn adapt_answer(api: AdapterKind, schema: &Json) -> AnswerSchema {
    match (api, is_closed(schema)) {
        (AdapterKind::Gemini | AdapterKind::GeminiIx | AdapterKind::Vertex, _) => {
            AnswerSchema::Strict(rewrite(schema, &gemini))
        }
        (AdapterKind::Anthropic | AdapterKind::MiniMax, true) => AnswerSchema::Strict(rewrite(schema, &anthropic)),
        (AdapterKind::OpenAIResp, true) => AnswerSchema::Strict(rewrite(schema, &openai)),
        (_, _) => AnswerSchema::InPrompt,
    }
}

/// Adapts the schema of an answer to OpenAI's chat completions.
pub(super) fn adapt_chat_completions(schema: &Json) -> AnswerSchema {
    if is_closed(schema) {
        AnswerSchema::Strict(rewrite(schema, &openai))
    } else {
        AnswerSchema::Loose(complete_parameters(schema))
    }
}

/// The schema in words, for the end of the system prompt.
pub(super) fn in_prompt(schema: &Json) -> String {
    format!("\n\nAnswer with one JSON object and nothing else. It must match this JSON Schema:\n{schema}")
}

/// Gives every array `items`: an API rejects the whole request for one without. An empty schema accepts any item.
pub(super) fn complete_parameters(schema: &Json) -> Json {
    rewrite(schema, &complete_array)
}

fn complete_array(members: &mut Map<String, Json>) {
    let is_array =
        |kind: &Json| kind == "array" || kind.as_array().is_some_and(|all| all.iter().any(|one| one == "array"));
    if members.get("type").is_some_and(is_array) {
        members.entry("items").or_insert_with(|| json!({}));
    }
}

/// True if the schema leaves no part of the answer open.
fn is_closed(schema: &Json) -> bool {
    let is_of = |kind: &str| schema.get("type").is_some_and(|found| found == kind);
    if is_of("object") {
        let properties = schema.get("properties").and_then(Json::as_object);
        return schema.get("additionalProperties") == Some(&Json::Bool(false))
            && properties.is_some_and(|properties| !properties.is_empty() && properties.values().all(is_closed));
    }
    if is_of("array") {
        return schema.get("items").is_some_and(is_closed);
    }
    schema.get("type").is_some()
}

/// Rewrites a schema from its innermost parts. Schemas of definitions use only the first of each kind of keyword;
/// a tool of another source may use all of them.
fn rewrite(schema: &Json, dialect: &dyn Fn(&mut Map<String, Json>)) -> Json {
    let Json::Object(members) = schema else { return schema.clone() };
    let mut members = members.clone();
    for keyword in ["properties", "$defs", "definitions"] {
        if let Some(Json::Object(named)) = members.get_mut(keyword) {
            named.values_mut().for_each(|inner| *inner = rewrite(inner, dialect));
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(keyword) {
            *inner = rewrite(inner, dialect);
        }
    }
    for keyword in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Json::Array(alternatives)) = members.get_mut(keyword) {
            alternatives.iter_mut().for_each(|inner| *inner = rewrite(inner, dialect));
        }
    }
    dialect(&mut members);
    Json::Object(members)
}

fn gemini(members: &mut Map<String, Json>) {
    complete_array(members);
    for keyword in GEMINI_UNSUPPORTED {
        move_to_description(members, keyword);
    }
}

/// OpenAI requires every property; an optional one may be null, which counts as missing.
fn openai(members: &mut Map<String, Json>) {
    for keyword in OPENAI_UNSUPPORTED {
        move_to_description(members, keyword);
    }
    if members.get("format").is_some_and(|format| format == OPENAI_UNSUPPORTED_FORMAT) {
        move_to_description(members, "format");
    }
    let required = members.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| required.as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let Some(Json::Object(properties)) = members.get_mut("properties") else { return };
    for (name, property) in properties.iter_mut() {
        if !is_required(name) {
            make_nullable(property);
        }
    }
    let names: Vec<&String> = properties.keys().collect();
    let names = json!(names);
    members.insert("required".into(), names);
}

fn make_nullable(schema: &mut Json) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(kind) = members.get_mut("type") {
        *kind = json!([kind, "null"]);
    }
    if let Some(Json::Array(options)) = members.get_mut("enum") {
        options.push(Json::Null);
    }
}

fn anthropic(members: &mut Map<String, Json>) {
    for keyword in ANTHROPIC_UNSUPPORTED {
        move_to_description(members, keyword);
    }
    if members.get("minItems").and_then(Json::as_u64).is_some_and(|min| min > ANTHROPIC_MIN_ITEMS_MAX) {
        move_to_description(members, "minItems");
    }
}

/// Moves a keyword that the API rejects to the description, where the model reads it.
fn move_to_description(members: &mut Map<String, Json>, keyword: &str) {
    let Some(value) = members.remove(keyword) else { return };
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let description = match members.get("description").and_then(Json::as_str) {
        Some(description) => format!("{description} ({keyword}: {value})"),
        None => format!("{keyword}: {value}"),
    };
    members.insert("description".into(), Json::String(description));
}

#[cfg(test)]
mod tests;
