//! Walks a value along the tree of its type. The depth of a type is bounded, and with it the recursion.

use greenroom_protocol::{ArtifactRef, Json};
use serde_json::Map;

use super::Undeclared;
use super::constraints::{check, check_size, mistyped, typed};
use crate::problem::did_you_mean;
use crate::types::{FieldType, Mismatches, ValueType};

/// The state of one validation.
pub(super) struct Validator {
    undeclared: Undeclared,
    /// The path of the current value below the validated one.
    path: String,
    mismatches: Mismatches,
}

impl Validator {
    pub(super) fn new(undeclared: Undeclared) -> Self {
        Self { undeclared, path: String::new(), mismatches: Mismatches::default() }
    }

    pub(super) fn accept(mut self, value_type: &ValueType, value: Json) -> Result<Json, Mismatches> {
        let canonical = self.value(value_type, value);
        if self.mismatches.is_empty() { Ok(canonical) } else { Err(self.mismatches) }
    }

    fn mismatch(&mut self, message: String) {
        self.mismatches.push(&self.path, message);
    }

    /// Returns the canonical form; null after recording a mismatch.
    fn value(&mut self, value_type: &ValueType, value: Json) -> Json {
        // Only a whole value, or a file, may be an artifact: no other value inside one is replaced by its
        // content.
        if (self.path.is_empty() || value_type.kind == FieldType::File)
            && let Some(artifact) = ArtifactRef::from_json(&value)
        {
            if let Err(message) = check_artifact(value_type, &artifact) {
                self.mismatch(message);
            }
            return value;
        }
        let value = match typed(value_type.kind, value) {
            Ok(value) => value,
            Err(message) => {
                self.mismatch(message);
                return Json::Null;
            }
        };
        let canonical = match value {
            Json::Array(items) => self.items(value_type, items),
            Json::Object(members) if !value_type.properties.is_empty() => self.members(value_type, members),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => value,
        };
        if let Err(message) = check(value_type, &canonical) {
            self.mismatch(message);
        }
        canonical
    }

    fn items(&mut self, value_type: &ValueType, items: Vec<Json>) -> Json {
        let Some(item_type) = value_type.items.as_deref() else { return Json::Array(items) };
        let item = |(index, item)| self.inside(&format!("[{index}]"), |validator| validator.value(item_type, item));
        items.into_iter().enumerate().map(item).collect()
    }

    fn members(&mut self, value_type: &ValueType, mut members: Map<String, Json>) -> Json {
        let mut canonical = Map::new();
        for (name, property) in &value_type.properties {
            let value = members.remove(name).filter(|value| !value.is_null());
            let kind = property.value_type.kind;
            self.inside(&member_path(name), |validator| match value {
                Some(value) => drop(canonical.insert(name.clone(), validator.value(&property.value_type, value))),
                None if property.required => validator.mismatch(format!("({kind}) is missing")),
                None => {}
            });
        }
        if self.undeclared == Undeclared::Reject {
            for name in members.keys() {
                let hint = did_you_mean(name, value_type.properties.keys().map(String::as_str)).unwrap_or_default();
                self.mismatch(format!("has no property `{name}`{hint}"));
            }
        }
        Json::Object(canonical)
    }

    fn inside<T>(&mut self, segment: &str, validate: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(segment);
        let result = validate(self);
        self.path.truncate(length);
        result
    }
}

/// `.amount`, or `["unit price"]` for a name that is no identifier.
fn member_path(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_plain { format!(".{name}") } else { format!("[{name:?}]") }
}

fn check_artifact(value_type: &ValueType, artifact: &ArtifactRef) -> Result<(), String> {
    match value_type.kind {
        FieldType::Integer | FieldType::Number | FieldType::Boolean => Err(mistyped(value_type.kind, "an artifact")),
        FieldType::Text | FieldType::String | FieldType::Array | FieldType::Object | FieldType::File => {
            check_size(value_type, artifact.bytes)
        }
    }
}
