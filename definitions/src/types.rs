//! The types of inputs and outputs, and whether a value is one of them.

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

/// What kind of value an input or output is.
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
    /// A file: an artifact, or a path inside the folders that may be read.
    File,
}

impl FieldType {
    /// Every kind that a definition may name.
    pub const ALL: &'static [Self] =
        &[Self::Text, Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Array, Self::Object, Self::File];

    /// The kind as it is written.
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

    /// The kind in a sentence: `an integer`.
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

    /// True for what a prompt can hold as it is.
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

/// One input or output: its name, its kind, and what is asked of its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// True if it must be there. Where nothing is said an input need not be, and an output must.
    #[serde(default)]
    pub required: bool,
    /// What an input is if nobody gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// An output that is this input, unchanged: no model writes it, so it cannot be written wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it means, for people and for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The kind of each item of an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<FieldType>,
    /// The only values that it may have.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Json>,
    /// The smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The largest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Characters at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// Characters at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// Items at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    /// Items at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    /// Bytes at most, of the value or of the file behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

impl Field {
    /// A field without constraints.
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

    /// Checks a value and gives it back in its one form: an integer written as `5.0` becomes `5`.
    /// An artifact stands for any value that can be large: it is checked when it is read.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the field's name.
    pub fn accept(&self, value: Json) -> Result<Json, String> {
        validate::accept(self, value)
    }
}

#[cfg(test)]
mod tests;
