//! Tests of the schemas that each API receives.

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
fn gemini_reads_in_the_description_what_its_schemas_lack() {
    let schema = object(json!({ "text": { "type": "string", "maxLength": 9, "pattern": "a+" } }), &["text"]);
    let expected =
        object(json!({ "text": { "type": "string", "description": "maxLength: 9 (pattern: a+)" } }), &["text"]);
    assert_eq!(adapt_answer(AdapterKind::Gemini, &schema), AnswerSchema::Strict(expected));
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
