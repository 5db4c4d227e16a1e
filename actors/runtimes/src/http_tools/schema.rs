//! The schema of an argument: that of the document without its references, of bounded size, in the form that models are
//! given. A reference that would not end is cut: what is below it is any object.

use greenroom_protocol::Json;
use serde_json::{Map, json};

use super::references::target;
use crate::foreign::{is_visible, visible_text};

/// Maximum nesting of a schema.
const DEPTH_MAX: usize = 12;
/// Maximum schemas of one operation, each property being one.
const SCHEMAS_MAX: usize = 1_000;
/// Maximum bytes of all texts and names in the schemas of one operation: references multiply what a document has.
const ALL_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Maximum bytes of a text of a schema.
const TEXT_BYTES_MAX: usize = 500;
/// Maximum values of an enumeration.
const ENUM_VALUES_MAX: usize = 200;
/// Bytes of a number, about.
const NUMBER_BYTES: usize = 8;

/// Members that are copied if they are no lists and no objects.
const COPIED: [&str; 17] = [
    "default",
    "const",
    "description",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "uniqueItems",
];

/// Reads the schemas of one operation.
pub(super) struct SchemaReader<'a> {
    root: &'a Json,
    schemas_left: usize,
    text_bytes_left: usize,
    /// The references that lead to the current schema.
    open: Vec<&'a str>,
}

impl<'a> SchemaReader<'a> {
    /// A reader of schemas of this document.
    pub(super) const fn new(root: &'a Json) -> Self {
        Self { root, schemas_left: SCHEMAS_MAX, text_bytes_left: ALL_TEXT_BYTES_MAX, open: Vec::new() }
    }

    /// The schema without references.
    pub(super) fn read(&mut self, schema: &'a Json) -> Json {
        self.read_at(schema, 0)
    }

    fn read_at(&mut self, schema: &'a Json, depth: usize) -> Json {
        let members = match schema {
            Json::Object(members) => members,
            Json::Bool(_) => return schema.clone(),
            Json::Null | Json::Number(_) | Json::String(_) | Json::Array(_) => return json!({}),
        };
        let Some(schemas_left) = self.schemas_left.checked_sub(1).filter(|_| depth <= DEPTH_MAX) else {
            return json!({});
        };
        self.schemas_left = schemas_left;
        match members.get("$ref").and_then(Json::as_str) {
            Some(reference) => self.read_reference(reference, depth),
            None => self.read_members(members, depth),
        }
    }

    /// Takes the bytes of a text or a name from what is left; false if that is less.
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.text_bytes_left.checked_sub(bytes);
        self.text_bytes_left = left.unwrap_or(self.text_bytes_left);
        left.is_some()
    }

    fn read_reference(&mut self, reference: &'a str, depth: usize) -> Json {
        if self.open.contains(&reference) {
            return json!({ "type": "object" });
        }
        let Some(schema) = target(self.root, reference) else { return json!({}) };
        self.open.push(reference);
        let read = self.read_at(schema, depth + 1);
        self.open.pop();
        read
    }

    fn read_members(&mut self, members: &'a Map<String, Json>, depth: usize) -> Json {
        let mut read = Map::new();
        for name in COPIED {
            match members.get(name) {
                Some(Json::String(text)) if text.len() > TEXT_BYTES_MAX && name != "description" => {}
                Some(Json::String(text)) => {
                    let text = visible_text(text, TEXT_BYTES_MAX);
                    if self.take(text.len()) {
                        read.insert(name.to_owned(), text.into());
                    }
                }
                Some(value @ (Json::Number(_) | Json::Bool(_))) => {
                    read.insert(name.to_owned(), value.clone());
                }
                Some(Json::Null | Json::Array(_) | Json::Object(_)) | None => {}
            }
        }
        for name in ["items", "additionalProperties", "not"] {
            if let Some(schema) = members.get(name) {
                let schema = self.read_at(schema, depth + 1);
                read.insert(name.to_owned(), schema);
            }
        }
        for name in ["oneOf", "anyOf", "allOf", "prefixItems"] {
            if let Some(schemas) = members.get(name).and_then(Json::as_array) {
                // A part of the alternatives would forbid the others.
                if let Some(schemas) = self.read_all(schemas, depth) {
                    read.insert(name.to_owned(), Json::Array(schemas));
                }
            }
        }
        self.read_properties(members, depth, &mut read);
        self.insert_type(members, &mut read);
        correct_bounds(&mut read);
        Json::Object(read)
    }

    /// Each of these schemas; `None` if not all of them can be read.
    fn read_all(&mut self, schemas: &'a [Json], depth: usize) -> Option<Vec<Json>> {
        let mut read = Vec::new();
        for schema in schemas {
            if self.schemas_left == 0 {
                return None;
            }
            read.push(self.read_at(schema, depth + 1));
        }
        Some(read)
    }

    /// The properties that a client may send, and which of them it must.
    fn read_properties(&mut self, members: &'a Map<String, Json>, depth: usize, read: &mut Map<String, Json>) {
        let Some(properties) = members.get("properties").and_then(Json::as_object) else { return };
        let mut sent = Map::new();
        for (name, schema) in properties.iter().take(SCHEMAS_MAX) {
            // An object of which only a part fits would have required properties that no one describes.
            if self.schemas_left == 0 {
                break;
            }
            let is_sent = schema.get("readOnly") != Some(&Json::Bool(true)) && is_name(name);
            if is_sent && self.take(name.len()) {
                sent.insert(name.clone(), self.read_at(schema, depth + 1));
            }
        }
        let required = members.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let required: Vec<&str> = required
            .iter()
            .take(SCHEMAS_MAX)
            .filter_map(Json::as_str)
            .filter(|name| sent.contains_key(*name))
            .collect();
        if !required.is_empty() {
            read.insert("required".to_owned(), required.into());
        }
        read.insert("properties".to_owned(), Json::Object(sent));
    }

    /// The type and the enumeration. `nullable` is how version 3.0 writes a further type.
    fn insert_type(&mut self, members: &Map<String, Json>, read: &mut Map<String, Json>) {
        let nullable = members.get("nullable") == Some(&Json::Bool(true));
        let kind = match members.get("type") {
            Some(Json::String(kind)) if nullable && is_type(kind) => Some(json!([kind, "null"])),
            Some(Json::String(kind)) if is_type(kind) => Some(json!(kind)),
            Some(Json::Array(kinds))
                if kinds.len() <= 7 && kinds.iter().all(|kind| kind.as_str().is_some_and(is_type)) =>
            {
                Some(Json::Array(kinds.clone()))
            }
            Some(_) | None => None,
        };
        read.extend(kind.map(|kind| ("type".to_owned(), kind)));
        let values = members.get("enum").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        if values.is_empty() || values.len() > ENUM_VALUES_MAX {
            return;
        }
        let bytes = |value: &Json| match value {
            Json::String(text) if text.len() <= TEXT_BYTES_MAX && text.chars().all(is_visible) => Some(text.len()),
            Json::Null | Json::Bool(_) | Json::Number(_) => Some(NUMBER_BYTES),
            Json::String(_) | Json::Array(_) | Json::Object(_) => None,
        };
        let bytes: Option<usize> = values.iter().map(bytes).sum();
        if bytes.is_some_and(|bytes| self.take(bytes)) {
            read.insert("enum".to_owned(), Json::Array(values.to_vec()));
        }
    }
}

/// True for a name of a property that a person sees as it is.
fn is_name(name: &str) -> bool {
    name.len() <= TEXT_BYTES_MAX && name.chars().all(is_visible)
}

/// True for a type of JSON Schema.
fn is_type(kind: &str) -> bool {
    ["array", "boolean", "integer", "null", "number", "object", "string"].contains(&kind)
}

/// In version 3.0, `exclusiveMinimum: true` is a property of `minimum`.
fn correct_bounds(read: &mut Map<String, Json>) {
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(Json::Bool(is_exclusive)) = read.get(exclusive) {
            let value = if *is_exclusive { read.remove(bound) } else { None };
            match value {
                Some(value) => drop(read.insert(exclusive.to_owned(), value)),
                None => drop(read.remove(exclusive)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
