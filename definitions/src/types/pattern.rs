//! Patterns of texts: regular expressions that take linear time, compiled when a definition is loaded.

use std::borrow::Cow;
use std::fmt;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a pattern as written.
pub const PATTERN_BYTES_MAX: usize = 512;
/// Bytes of a compiled pattern.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// A compiled pattern. As in JSON Schema, a text matches if any part of it does; `^` and `$` are its ends.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The message, with the character of the problem.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern has {} bytes, {PATTERN_BYTES_MAX} are allowed", text.len()));
        }
        regex_syntax::parse(text).map_err(|error| describe(&error))?;
        let compiled =
            RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
        compiled.map(Self).map_err(|_| format!("the compiled pattern needs more than {COMPILED_BYTES_MAX} bytes"))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// True if a part of the text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn describe(error: &regex_syntax::Error) -> String {
    let (problem, span) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span()),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span()),
        other => return format!("the pattern is invalid: {other}"),
    };
    format!("the pattern is invalid at its character {}: {problem}", span.start.column)
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "regex", "maxLength": PATTERN_BYTES_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_a_part_unless_it_has_ends() {
        assert!(Pattern::new("[0-9]+").unwrap().is_match("a 12 b"));
        assert!(!Pattern::new("^[0-9]+$").unwrap().is_match("a 12 b"));
    }

    #[test]
    fn a_pattern_that_is_invalid_long_or_large_is_rejected() {
        for (text, problem) in [
            ("^[a-z", "the pattern is invalid at its character 2: unclosed character class"),
            ("a(?=b)", "the pattern is invalid at its character 2: look-around"),
            ("(a)\\1", "the pattern is invalid at its character 4: backreferences are not supported"),
            ("(a{1000}){1000}", "the compiled pattern needs more than"),
            (&"a".repeat(513), "the pattern has 513 bytes, 512 are allowed"),
        ] {
            let found = Pattern::new(text).unwrap_err();
            assert!(found.starts_with(problem), "{text}: {found}");
        }
    }
}
