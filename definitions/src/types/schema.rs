//! The JSON Schema of fields, for the output of a model and the arguments of a tool.

use greenroom_protocol::Json;
use serde_json::{Map, json};

use super::{Field, FieldType};

/// Returns the schema of one field.
#[must_use]
pub fn field_schema(field: &Field) -> Json {
    let mut schema = Map::new();
    schema.insert("type".into(), json!(json_type(field.field_type)));
    if let Some(description) = &field.description {
        schema.insert("description".into(), json!(description));
    }
    if let Some(items) = field.items {
        schema.insert("items".into(), json!({ "type": json_type(items) }));
    }
    if !field.one_of.is_empty() {
        schema.insert("enum".into(), Json::Array(field.one_of.clone()));
    }
    let numbers = [("minimum", field.minimum), ("maximum", field.maximum)];
    let counts = [
        ("minLength", field.min_length),
        ("maxLength", field.max_length),
        ("minItems", field.min_items),
        ("maxItems", field.max_items),
    ];
    schema.extend(numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    schema.extend(counts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    if let Some(default) = &field.default {
        schema.insert("default".into(), default.clone());
    }
    Json::Object(schema)
}

/// Returns the schema of an object with exactly these fields. Fields with `from` are excluded.
#[must_use]
pub fn object_schema(fields: &[Field]) -> Json {
    let model_fields = || fields.iter().filter(|field| field.from.is_none());
    let properties: Map<String, Json> = model_fields().map(|field| (field.name.clone(), field_schema(field))).collect();
    let required: Vec<&str> = model_fields().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

const fn json_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Text | FieldType::String | FieldType::File => "string",
        FieldType::Integer => "integer",
        FieldType::Number => "number",
        FieldType::Boolean => "boolean",
        FieldType::Array => "array",
        FieldType::Object => "object",
    }
}
