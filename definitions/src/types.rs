//! The types of inputs and outputs: one tree, from which the validation of values, the JSON Schema for a
//! model and the description for people are derived.

use std::collections::BTreeMap;
use std::fmt;

use greenroom_protocol::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod describe;
mod editor_schema;
mod format;
mod mismatch;
mod parse;
mod path;
mod pattern;
mod schema;
mod short_form;
mod validate;

pub use describe::outline;
pub use format::Format;
pub use mismatch::{Mismatch, Mismatches};
pub use parse::parse_cli_value;
pub(crate) use path::UndeclaredProperty;
pub use pattern::{PATTERN_BYTES_MAX, Pattern};
pub use schema::object_schema;
pub(crate) use validate::validate_bound_inputs;
pub use validate::{Undeclared, validate_inputs, validate_outputs};

/// Levels of a type: an array of objects with numbers has three.
pub const TYPE_DEPTH_MAX: usize = 8;
/// Types in the tree of one input or output.
pub const TYPE_NODES_MAX: usize = 200;

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

    /// True for a value without parts.
    pub(crate) const fn is_scalar(self) -> bool {
        match self {
            Self::Text | Self::String | Self::Integer | Self::Number | Self::Boolean => true,
            Self::Array | Self::Object | Self::File => false,
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

/// The type of a value: its kind, its constraints, and the types of the values in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ValueType {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// Its meaning, for people and for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The unit of a number, such as `EUR` or `days`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The type of the items of an array: the name of a type, or a type.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "short_form::items")]
    #[schemars(schema_with = "editor_schema::items")]
    pub items: Option<Box<ValueType>>,
    /// The members of an object, by name. Without them, an object may have any members.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "editor_schema::properties")]
    pub properties: BTreeMap<String, Property>,
    /// The allowed values.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Json>,
    /// A regular expression that a part of the text matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// The format of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
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

impl ValueType {
    /// Creates a type without constraints.
    #[must_use]
    pub const fn new(kind: FieldType) -> Self {
        Self {
            kind,
            description: None,
            unit: None,
            items: None,
            properties: BTreeMap::new(),
            one_of: Vec::new(),
            pattern: None,
            format: None,
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
    /// artifact may replace a whole value that can be large; its content is validated when it is read.
    ///
    /// # Errors
    /// Every value in it that does not fit, by its path.
    pub fn accept(&self, value: Json, undeclared: Undeclared) -> Result<Json, Mismatches> {
        validate::accept(self, value, undeclared)
    }

    /// The types directly inside this one.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.items.as_deref().into_iter().chain(self.properties.values().map(|property| &property.value_type))
    }

    /// The number of levels, this one included.
    #[must_use]
    pub fn depth(&self) -> usize {
        1 + self.children().map(Self::depth).max().unwrap_or_default()
    }

    /// The number of types in the tree, this one included.
    #[must_use]
    pub fn nodes(&self) -> usize {
        1 + self.children().map(Self::nodes).sum::<usize>()
    }

    /// True if the tree has a type of this kind.
    #[must_use]
    pub fn contains_kind(&self, kind: FieldType) -> bool {
        self.kind == kind || self.children().any(|child| child.contains_kind(kind))
    }
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Property {
    /// True if a value is required. By default a property of an input is optional, one of an output is required.
    /// A list instead of true or false has the names of the required properties of this object.
    #[serde(default)]
    #[schemars(schema_with = "editor_schema::required")]
    pub required: bool,
    /// Its type.
    #[serde(flatten)]
    pub value_type: ValueType,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// True if a value is required. By default inputs are optional and outputs are required. A list instead
    /// of true or false has the names of the required properties of an object.
    #[serde(default)]
    #[schemars(schema_with = "editor_schema::required")]
    pub required: bool,
    /// The default value of an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    /// The input that this output copies unchanged. No model produces the value, so none can alter it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its type.
    #[serde(flatten)]
    pub value_type: ValueType,
}

impl Field {
    /// Creates a field without constraints.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: FieldType, required: bool) -> Self {
        Self { name: name.into(), required, default: None, from: None, value_type: ValueType::new(kind) }
    }

    /// The kind of its type.
    #[must_use]
    pub const fn kind(&self) -> FieldType {
        self.value_type.kind
    }
}

#[cfg(test)]
mod tests;
