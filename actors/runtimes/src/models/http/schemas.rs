//! Schemas in the form that an API takes: that of an answer, and those of the parameters of tools.
//!
//! A strict API constrains every token, so it requires a closed schema: each object lists its properties, and
//! each array its items. An object that may have any properties would be sent as one that has none, and `{}`
//! would be all that a model may write. An open schema is therefore sent without `strict`, or in the prompt.

use genai::adapter::AdapterKind;
use greenroom_protocol::Json;
use serde_json::{Map, json};

/// Keywords that Anthropic's structured outputs reject.
const ANTHROPIC_UNSUPPORTED: &[&str] = &["minimum", "maximum", "minLength", "maxLength", "maxItems"];
/// The largest `minItems` that Anthropic's structured outputs accept.
const ANTHROPIC_MIN_ITEMS_MAX: u64 = 1;
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
            AnswerSchema::Strict(complete_parameters(schema))
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
mod tests {
    use super::*;
    use crate::models::test_calls::shipped_catalogue;

    fn object(properties: Json, required: &[&str]) -> Json {
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    #[test]
    fn a_closed_schema_is_strict_and_an_open_one_is_not() {
        let closed = object(json!({ "a": { "type": "string" } }), &["a"]);
        let open = [
            object(json!({ "a": { "type": "object", "additionalProperties": true } }), &["a"]),
            object(json!({ "a": { "type": "array", "items": {} } }), &["a"]),
            object(
                json!({ "a": { "type": "array", "items": { "type": "object", "additionalProperties": true } } }),
                &["a"],
            ),
            object(json!({ "a": object(json!({}), &[]) }), &["a"]),
        ];
        for api in [AdapterKind::OpenAIResp, AdapterKind::Anthropic, AdapterKind::Gemini] {
            assert_eq!(adapt_answer(api, &closed), AnswerSchema::Strict(closed.clone()), "{api}");
        }
        assert_eq!(adapt_chat_completions(&closed), AnswerSchema::Strict(closed));
        for schema in open {
            assert_eq!(adapt_chat_completions(&schema), AnswerSchema::Loose(schema.clone()));
            assert_eq!(adapt_answer(AdapterKind::OpenAIResp, &schema), AnswerSchema::InPrompt);
            assert_eq!(adapt_answer(AdapterKind::Anthropic, &schema), AnswerSchema::InPrompt);
            assert_eq!(adapt_answer(AdapterKind::Gemini, &schema), AnswerSchema::Strict(schema));
        }
    }

    #[test]
    fn openai_requires_every_property_and_an_optional_one_may_be_null() {
        let row = object(
            json!({ "currency": { "type": "string", "enum": ["EUR"] }, "amount": { "type": "number" } }),
            &["amount"],
        );
        let schema = object(
            json!({ "rows": { "type": "array", "items": row }, "source": { "type": "string", "format": "uri", "maxLength": 9 } }),
            &["rows"],
        );
        let expected_row = object(
            json!({ "currency": { "type": ["string", "null"], "enum": ["EUR", null] }, "amount": { "type": "number" } }),
            &["currency", "amount"],
        );
        let expected = object(
            json!({
                "rows": { "type": "array", "items": expected_row },
                "source": { "type": ["string", "null"], "description": "maxLength: 9 (format: uri)" }
            }),
            &["rows", "source"],
        );
        assert_eq!(adapt_chat_completions(&schema), AnswerSchema::Strict(expected.clone()));
        assert_eq!(adapt_answer(AdapterKind::OpenAIResp, &schema), AnswerSchema::Strict(expected));
    }

    #[test]
    fn anthropic_reads_in_the_description_what_its_schemas_lack() {
        let text = json!({ "type": "string", "description": "A summary", "minLength": 1, "maxLength": 9 });
        let schema = object(
            json!({ "text": text, "list": { "type": "array", "items": { "type": "integer", "minimum": 2 }, "minItems": 3 } }),
            &["text"],
        );
        let expected = object(
            json!({
                "text": { "type": "string", "description": "A summary (minLength: 1) (maxLength: 9)" },
                "list": { "type": "array", "items": { "type": "integer", "description": "minimum: 2" }, "description": "minItems: 3" }
            }),
            &["text"],
        );
        assert_eq!(adapt_answer(AdapterKind::Anthropic, &schema), AnswerSchema::Strict(expected));
    }

    #[test]
    fn every_array_has_items() {
        let bare = object(json!({ "rows": { "type": "array" } }), &["rows"]);
        for adapted in [adapt_chat_completions(&bare), adapt_answer(AdapterKind::Gemini, &bare)] {
            let (AnswerSchema::Strict(schema) | AnswerSchema::Loose(schema)) = adapted else { panic!("{adapted:?}") };
            assert_eq!(schema["properties"]["rows"]["items"], json!({}));
        }
        let parameters = json!({
            "type": "object",
            "properties": {
                "tags": { "type": "array" },
                "rows": { "type": "array", "items": { "type": "object", "properties": { "cells": { "type": "array" } } } },
                "either": { "anyOf": [{ "type": "array" }, { "type": "string" }] },
            },
        });
        let complete = complete_parameters(&parameters);
        assert_eq!(complete["properties"]["tags"], json!({ "type": "array", "items": {} }));
        assert_eq!(complete["properties"]["rows"]["items"]["properties"]["cells"]["items"], json!({}));
        assert_eq!(complete["properties"]["either"]["anyOf"][0]["items"], json!({}));
        let closed = object(json!({ "expression": { "type": "string" } }), &["expression"]);
        assert_eq!(complete_parameters(&closed), closed);
    }

    /// True if a part of the schema is an object that may have no properties at all.
    fn has_closed_empty_object(schema: &Json) -> bool {
        let is_closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
        let is_empty = schema.get("properties").and_then(Json::as_object).is_none_or(Map::is_empty);
        let properties = schema.get("properties").and_then(Json::as_object).into_iter().flat_map(Map::values);
        is_closed && is_empty || properties.chain(schema.get("items")).any(has_closed_empty_object)
    }

    #[test]
    fn no_shipped_agent_sends_an_object_as_one_that_must_be_empty() {
        let mut count = 0;
        for agent in shipped_catalogue().agents() {
            let schema = agent.output_schema();
            let apis = [AdapterKind::Anthropic, AdapterKind::OpenAIResp].map(|api| adapt_answer(api, &schema));
            for adapted in apis.into_iter().chain([adapt_chat_completions(&schema)]) {
                if let AnswerSchema::Strict(sent) = adapted {
                    assert!(!has_closed_empty_object(&sent), "{}: {sent}", agent.id());
                    count += 1;
                }
            }
        }
        assert!(count > 0);
    }
}
