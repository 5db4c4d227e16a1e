//! The JSON Schema of types, for the output of a model and the arguments of a tool. Every API adapts it to its
//! own dialect; this is what all of them have in common.

use greenroom_protocol::Json;
use serde_json::{Map, json};

use super::{Field, FieldType, ValueType};

/// Returns the schema of an object with exactly these fields. Fields with `from` are excluded.
#[must_use]
pub fn object_schema(fields: &[Field]) -> Json {
    let model_fields = || fields.iter().filter(|field| field.from.is_none());
    let schema = |field: &Field| {
        let mut schema = value_schema(&field.value_type);
        if let (Some(members), Some(default)) = (schema.as_object_mut(), &field.default) {
            members.insert("default".into(), default.clone());
        }
        (field.name.clone(), schema)
    };
    let required = model_fields().filter(|field| field.required).map(|field| field.name.as_str());
    closed_object(model_fields().map(schema).collect(), required)
}

fn closed_object<'a>(properties: Map<String, Json>, required: impl Iterator<Item = &'a str>) -> Json {
    let required: Vec<&str> = required.collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Returns the schema of a type. An object without properties is open, and an array always has `items`:
/// an API rejects a tool with an array that has none.
fn value_schema(value_type: &ValueType) -> Json {
    let mut schema = Map::new();
    if value_type.kind == FieldType::Object && !value_type.properties.is_empty() {
        let member = |(name, property): (&String, &super::Property)| (name.clone(), value_schema(&property.value_type));
        let required = value_type.properties.iter().filter(|(_, property)| property.required);
        let closed =
            closed_object(value_type.properties.iter().map(member).collect(), required.map(|(name, _)| name.as_str()));
        schema.extend(closed.as_object().cloned().unwrap_or_default());
    } else {
        schema.insert("type".into(), json!(json_type(value_type.kind)));
    }
    match value_type.kind {
        FieldType::Object if value_type.properties.is_empty() => {
            schema.insert("additionalProperties".into(), json!(true));
        }
        FieldType::Array => {
            let items = value_type.items.as_deref().map_or_else(|| json!({}), value_schema);
            schema.insert("items".into(), items);
        }
        FieldType::Object
        | FieldType::Text
        | FieldType::String
        | FieldType::Integer
        | FieldType::Number
        | FieldType::Boolean
        | FieldType::File => {}
    }
    if let Some(description) = description(value_type) {
        schema.insert("description".into(), json!(description));
    }
    insert_constraints(&mut schema, value_type);
    Json::Object(schema)
}

/// The description, with the parts of the type that JSON Schema lacks: the unit, and the formats of ISO codes.
fn description(value_type: &ValueType) -> Option<String> {
    let format = value_type.format.filter(|format| format.json_schema_format().is_none());
    let parts = [
        value_type.description.clone(),
        value_type.unit.as_ref().map(|unit| format!("Unit: {unit}")),
        format.map(|format| format!("Format: {}", format.described())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(". "))
}

fn insert_constraints(schema: &mut Map<String, Json>, value_type: &ValueType) {
    if !value_type.one_of.is_empty() {
        schema.insert("enum".into(), Json::Array(value_type.one_of.clone()));
    }
    let format = value_type.format;
    let pattern = value_type.pattern.as_ref().map(super::Pattern::as_str);
    let texts = [
        ("pattern", pattern.or_else(|| format?.json_schema_pattern())),
        ("format", format.and_then(super::Format::json_schema_format)),
    ];
    let numbers = [("minimum", value_type.minimum), ("maximum", value_type.maximum)];
    let counts = [
        ("minLength", value_type.min_length),
        ("maxLength", value_type.max_length),
        ("minItems", value_type.min_items),
        ("maxItems", value_type.max_items),
    ];
    schema.extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    schema.extend(numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    schema.extend(counts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
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
