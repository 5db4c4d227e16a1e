//! The parts of the editors' JSON Schema in which a file may use a shorter form than the types have.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::{FieldType, Property};

/// `true`, `false`, or the names of the required properties.
pub(super) fn required(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["boolean", "array"], "items": { "type": "string" }, "default": false })
}

/// The name of a type, or a type.
pub(super) fn items(generator: &mut SchemaGenerator) -> Schema {
    let (short, full) = (generator.subschema_for::<FieldType>(), generator.subschema_for::<Property>());
    json_schema!({ "anyOf": [short, full] })
}

/// Names of properties, each with the name of a type, or a type.
pub(super) fn properties(generator: &mut SchemaGenerator) -> Schema {
    let member = items(generator);
    json_schema!({ "type": "object", "additionalProperties": member })
}
