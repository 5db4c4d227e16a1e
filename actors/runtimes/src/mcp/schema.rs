//! Whether the schema of a tool can be described to a model: an object of bounded size and depth, whose references end in
//! it and in no circle. No reference is ever fetched.

use std::collections::BTreeMap;

use greenroom_protocol::Json;

use crate::foreign::{is_visible, visible_text};

/// Bytes of a schema, as compact JSON.
pub(super) const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Nested values of a schema.
const DEPTH_MAX: usize = 32;
/// References that lead to each other.
const REFERENCES_MAX: usize = 16;
/// Keywords that refer to a schema by what is known only while a value is checked.
const DYNAMIC: [&str; 2] = ["$dynamicRef", "$recursiveRef"];

/// Checks a schema.
///
/// # Errors
/// The reason why it cannot be used.
pub(super) fn check(schema: &Json) -> Result<(), String> {
    let Some(members) = schema.as_object() else { return Err("its schema is no object".to_owned()) };
    if members.get("type").is_some_and(|kind| kind != "object") {
        return Err("its schema is not that of an object".to_owned());
    }
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES_MAX {
        return Err(format!("its schema has {bytes} bytes, and {SCHEMA_BYTES_MAX} are possible"));
    }
    if depth(schema) > DEPTH_MAX {
        return Err(format!("its schema is nested more than {DEPTH_MAX} deep"));
    }
    if has_hidden_name(schema) {
        return Err("its schema has a name with characters that are not visible".to_owned());
    }
    References { root: schema, inspections: BTreeMap::from([("", Inspection::Open)]) }.inspect(schema, 0)
}

/// The schema without characters in its texts that are not visible.
pub(super) fn visible_schema(schema: &Json) -> Json {
    match schema {
        Json::String(text) => Json::String(visible_text(text, SCHEMA_BYTES_MAX)),
        Json::Array(items) => items.iter().map(visible_schema).collect(),
        Json::Object(members) => {
            Json::Object(members.iter().map(|(name, value)| (name.clone(), visible_schema(value))).collect())
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => schema.clone(),
    }
}

fn has_hidden_name(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().any(has_hidden_name),
        Json::Object(members) => {
            members.iter().any(|(name, value)| !name.chars().all(is_visible) || has_hidden_name(value))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn depth(value: &Json) -> usize {
    let inner = match value {
        Json::Array(items) => items.iter().map(depth).max(),
        Json::Object(members) => members.values().map(depth).max(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return 0,
    };
    inner.unwrap_or_default().saturating_add(1)
}

/// Whether the target of a reference is being inspected, or was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inspection {
    Open,
    Done,
}

struct References<'s> {
    root: &'s Json,
    inspections: BTreeMap<&'s str, Inspection>,
}

impl<'s> References<'s> {
    /// Follows every reference in a value. `level` counts the references that lead here.
    fn inspect(&mut self, value: &'s Json, level: usize) -> Result<(), String> {
        match value {
            Json::Array(items) => items.iter().try_for_each(|item| self.inspect(item, level)),
            Json::Object(members) => {
                if let Some(keyword) = DYNAMIC.iter().find(|keyword| members.contains_key(**keyword)) {
                    return Err(format!("its schema has `{keyword}`"));
                }
                // A property may be called `$ref`; its value is an object then.
                if let Some(Json::String(reference)) = members.get("$ref") {
                    self.follow(reference, level)?;
                }
                members.values().try_for_each(|member| self.inspect(member, level))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(()),
        }
    }

    fn follow(&mut self, reference: &'s str, level: usize) -> Result<(), String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err("its schema refers to another document".to_owned());
        };
        match self.inspections.get(pointer) {
            Some(Inspection::Open) => return Err("its schema refers to itself".to_owned()),
            Some(Inspection::Done) => return Ok(()),
            None => {}
        }
        let target = self.root.pointer(pointer).ok_or("its schema has a reference to nothing")?;
        if level >= REFERENCES_MAX {
            return Err(format!("its schema has more than {REFERENCES_MAX} references that lead to each other"));
        }
        self.inspections.insert(pointer, Inspection::Open);
        self.inspect(target, level.saturating_add(1))?;
        self.inspections.insert(pointer, Inspection::Done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_with_references_that_end_can_be_used() {
        for schema in [
            json!({}),
            json!({"type": "object", "properties": {"$ref": {"type": "string"}}}),
            json!({
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"type": "string"}}
            }),
        ] {
            assert_eq!(check(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn no_text_of_a_schema_is_hidden_from_people() {
        let hidden = json!({"description": "x\u{e0041}y", "enum": ["\u{200b}z", 1], "default": "\u{1b}[0m"});
        let schema = json!({"properties": {"a": hidden}});
        let plain = json!({"properties": {"a": {"description": "xy", "enum": ["z", 1], "default": "[0m"}}});
        assert_eq!(visible_schema(&schema), plain);
    }

    #[test]
    fn what_cannot_be_described_is_refused_with_its_reason() {
        let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
        let chain: serde_json::Map<String, Json> =
            (0..40).map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}))).collect();
        for (schema, reason) in [
            (json!(5), "no object"),
            (json!([]), "no object"),
            (json!({"type": "string"}), "not that of an object"),
            (json!({"type": ["object", "null"]}), "not that of an object"),
            (json!({"description": "x".repeat(1_000_000)}), "1000018 bytes"),
            (deep, "nested more than 32"),
            (json!({"properties": {"a": {"$ref": "#"}}}), "refers to itself"),
            (json!({"properties": {"a": {"$ref": "#/properties/a"}}}), "refers to itself"),
            (
                json!({"$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"items": {"$ref": "#/$defs/A"}}}}),
                "refers to itself",
            ),
            (json!({"properties": {"a": {"$ref": "https://evil.example/x.json"}}}), "another document"),
            (json!({"properties": {"a": {"$ref": "#/$defs/none"}}}), "reference to nothing"),
            (json!({"$dynamicRef": "#x"}), "`$dynamicRef`"),
            (json!({"properties": {"a\u{e0041}": {}}}), "not visible"),
            (json!({"$defs": chain, "$ref": "#/$defs/d0"}), "references that lead to each other"),
        ] {
            let found = check(&schema).unwrap_err();
            assert!(found.contains(reason), "{reason}: {found}");
        }
    }
}
