//! The types of inputs and outputs, and the validation of values.

use std::fmt;

use greenroom_protocol::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod parse;
mod schema;
mod validate;

pub use parse::parse_cli_value;
pub use schema::{field_schema, object_schema};
pub use validate::{validate_inputs, validate_outputs};

/// The type of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// A text of any length.
    Text,
    /// A short text, such as a name.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// Named values.
    Object,
    /// A file: an artifact, or a path inside the directories that may be read.
    File,
}

impl FieldType {
    /// Every type that a definition may name.
    pub const ALL: &'static [Self] =
        &[Self::Text, Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Array, Self::Object, Self::File];

    /// The name of the type as a definition writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
            Self::File => "file",
        }
    }

    /// Describes the type for a message: `an integer`.
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Array => "an array",
            Self::Object => "an object",
            Self::File => "a file",
        }
    }

    /// True for types that a prompt contains unchanged.
    #[must_use]
    pub const fn is_text(self) -> bool {
        match self {
            Self::Text | Self::String => true,
            Self::Integer | Self::Number | Self::Boolean | Self::Array | Self::Object | Self::File => false,
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One input or output: its name, type and constraints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// True if a value is required. By default inputs are optional and outputs are required.
    #[serde(default)]
    pub required: bool,
    /// The default value of an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// The input that this output copies unchanged. No model produces the value, so none can alter it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its meaning, for people and for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The type of the items of an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<FieldType>,
    /// The allowed values.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Json>,
    /// The minimum of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The maximum of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// The minimum length in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// The maximum length in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// The minimum number of items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// The maximum number of items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// The maximum size in bytes, of the value or of its artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

impl Field {
    /// Creates a field without constraints.
    #[must_use]
    pub fn new(name: impl Into<String>, field_type: FieldType, required: bool) -> Self {
        Self {
            name: name.into(),
            field_type,
            required,
            default: None,
            from: None,
            description: None,
            items: None,
            one_of: Vec::new(),
            minimum: None,
            maximum: None,
            min_length: None,
            max_length: None,
            min_items: None,
            max_items: None,
            max_bytes: None,
        }
    }

    /// Validates a value and returns its canonical form: an integer written as `5.0` becomes `5`. An
    /// artifact may replace any value that can be large; its content is validated when it is read.
    ///
    /// # Errors
    /// A message without its subject (the name of the field).
    pub fn accept(&self, value: Json) -> Result<Json, String> {
        validate::accept(self, value)
    }
}

#[cfg(test)]
mod tests;
