//! What an example expects: assertions on the outputs, or an error code.

use greenroom_protocol::{ErrorCode, Json, Values};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::Pattern;

/// What an example expects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Expectation {
    /// Assertions, all of which must hold.
    Assertions(Vec<Assertion>),
    /// The older form: the expected outputs, by name; outputs that may vary are omitted.
    Outputs(Values),
}

impl Default for Expectation {
    fn default() -> Self {
        Self::Assertions(Vec::new())
    }
}

impl Expectation {
    /// True if nothing is expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Assertions(assertions) => assertions.is_empty(),
            Self::Outputs(outputs) => outputs.is_empty(),
        }
    }

    /// The assertions; an output of the older form is an assertion of its value.
    #[must_use]
    pub fn assertions(&self) -> Vec<Assertion> {
        match self {
            Self::Assertions(assertions) => assertions.clone(),
            Self::Outputs(outputs) => outputs
                .iter()
                .map(|(name, value)| Assertion {
                    path: Some(name.clone()),
                    equals: Some(value.clone()),
                    ..Assertion::default()
                })
                .collect(),
        }
    }

    /// The error code with which the example ends, if it expects a failure.
    #[must_use]
    pub fn fails(&self) -> Option<ErrorCode> {
        match self {
            Self::Assertions(assertions) => assertions.iter().find_map(|assertion| assertion.fails),
            Self::Outputs(_) => None,
        }
    }
}

/// One assertion: everything that it states must hold of the values at its path.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Assertion {
    /// The path of the value in the outputs, such as `rows[0].amount`, or `rows[*].amount` for each item. Without it,
    /// the assertion is about all outputs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equals: Option<Json>,
    /// Texts that occur in the value: a text, or a list of texts.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    #[schemars(schema_with = "one_or_many::schema")]
    pub contains: Vec<String>,
    /// Texts that do not occur in the value: a text, or a list of texts.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    #[schemars(schema_with = "one_or_many::schema")]
    pub not_contains: Vec<String>,
    /// A regular expression that a part of the text matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Pattern>,
    /// The minimum of a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The maximum of a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// Characters of a text, items of an array, members of an object: the number, or its minimum and maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<Length>,
    /// The allowed values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Json>,
    /// The error code with which the execution ends; the only assertion of its example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails: Option<ErrorCode>,
}

/// The length that a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Length {
    /// Exactly this.
    Exact(u64),
    /// Within these bounds.
    Between(LengthBounds),
}

/// The bounds of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LengthBounds {
    /// The minimum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u64>,
    /// The maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u64>,
}

impl Length {
    /// The minimum and the maximum.
    #[must_use]
    pub fn bounds(self) -> (u64, u64) {
        match self {
            Self::Exact(length) => (length, length),
            Self::Between(LengthBounds { minimum, maximum }) => {
                (minimum.unwrap_or_default(), maximum.unwrap_or(u64::MAX))
            }
        }
    }
}

/// A list of texts that may be written as one text.
mod one_or_many {
    use schemars::{Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(texts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        texts.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        })
    }

    pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
