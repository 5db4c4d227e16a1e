//! The parameters of policies: which policies have one, and how a definition writes it. The rules are Rego.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Bytes of the smallest size that a policy may set.
const SIZE_MIN: u64 = 1_024;
/// Bytes of the largest size that a policy may set: what the guard allows without a policy.
const SIZE_MAX: u64 = 256 * 1_024 * 1_024;

/// The parameter of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyParameter {
    /// A number of bytes, written with its unit.
    Size,
}

impl PolicyParameter {
    /// Every policy with a parameter.
    pub const POLICIES: &'static [(&'static str, Self)] = &[("max_document_size", Self::Size)];

    /// The parameter of a policy; `None` if it has none.
    #[must_use]
    pub fn for_policy(policy: &str) -> Option<Self> {
        Self::POLICIES.iter().find(|(name, _)| *name == policy).map(|(_, parameter)| *parameter)
    }

    /// Parses a parameter as it is written: `25mb` is 26,214,400 bytes. `None` if it is invalid or out of bounds.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<u64> {
        match self {
            Self::Size => size(text),
        }
    }

    /// What is expected, for a message.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Size => "a size from `1kb` to `256mb`",
        }
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "kb" => 1_024,
        "mb" => 1_024 * 1_024,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (SIZE_MIN..=SIZE_MAX).contains(&bytes).then_some(bytes)
}

/// The schema of a list of policies: names, or maps of a name and its parameter.
pub(crate) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    let parameters: serde_json::Map<String, serde_json::Value> = PolicyParameter::POLICIES
        .iter()
        .map(|(name, parameter)| {
            let described = serde_json::json!({ "type": "string", "description": parameter.expected() });
            ((*name).to_owned(), described)
        })
        .collect();
    json_schema!({
        "type": "array",
        "items": {
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": parameters,
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1
                }
            ]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_and_bounds() {
        for (text, bytes) in [("1kb", Some(1_024)), ("25mb", Some(26_214_400)), ("256mb", Some(SIZE_MAX))] {
            assert_eq!(PolicyParameter::Size.parse(text), bytes, "{text}");
        }
        for text in ["", "mb", "25", "25 mb", "25MB", "0kb", "257mb", "-1mb", "1.5mb", "99999999999999999999mb"] {
            assert_eq!(PolicyParameter::Size.parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_some_policies_have_a_parameter() {
        assert_eq!(PolicyParameter::for_policy("max_document_size"), Some(PolicyParameter::Size));
        assert_eq!(PolicyParameter::for_policy("max_document_size_10mb"), None);
    }
}
