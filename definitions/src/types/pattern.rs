//! Patterns of texts: regular expressions that take linear time. A pattern is checked when its definition is loaded, and
//! compiled into what matches fast when it is used first: most of a catalogue's patterns are not used by one process.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::{Regex, RegexBuilder};
use regex_automata::nfa::thompson::{self, NFA};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a pattern as written.
pub const PATTERN_BYTES_MAX: usize = 512;
/// Bytes of the automaton of a pattern.
const AUTOMATON_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a compiled pattern, which has that automaton forwards and backwards, and a part of it for captures.
const COMPILED_BYTES_MAX: usize = 4 * AUTOMATON_BYTES_MAX;

/// A pattern. As in JSON Schema, a text matches if any part of it does; `^` and `$` are its ends.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    compiled: Arc<OnceLock<Option<Regex>>>,
}

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// The message, with the character of the problem.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern has {} bytes, {PATTERN_BYTES_MAX} are allowed", text.len()));
        }
        let parsed = regex_syntax::parse(text).map_err(|error| describe(&error))?;
        let limits = thompson::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        NFA::compiler()
            .configure(limits)
            .build_from_hir(&parsed)
            .map_err(|_| format!("the automaton of the pattern needs more than {AUTOMATON_BYTES_MAX} bytes"))?;
        Ok(Self { text: text.into(), compiled: Arc::default() })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if a part of the text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.get_or_init(|| compile(&self.text)).as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Compiles a pattern that was checked. It is never `None`: the limits are above what the check has allowed.
fn compile(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(AUTOMATON_BYTES_MAX).build().ok()
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
    fn a_pattern_that_is_almost_too_large_is_compiled_when_it_is_used() {
        let fits = |count: usize| Pattern::new(&format!("^[\\p{{L}}0-9]{{1,{count}}}$")).ok();
        let largest = (1..200).rev().find_map(fits).unwrap();
        assert!(Pattern::new("^[\\p{L}0-9]{1,200}$").is_err(), "the limit is below");
        assert!(largest.is_match("aä9") && !largest.is_match("a-b") && !largest.is_match(""));
    }

    #[test]
    fn a_pattern_that_is_invalid_long_or_large_is_rejected() {
        for (text, problem) in [
            ("^[a-z", "the pattern is invalid at its character 2: unclosed character class"),
            ("a(?=b)", "the pattern is invalid at its character 2: look-around"),
            ("(a)\\1", "the pattern is invalid at its character 4: backreferences are not supported"),
            ("(a{1000}){1000}", "the automaton of the pattern needs more than"),
            (&"a".repeat(513), "the pattern has 513 bytes, 512 are allowed"),
        ] {
            let found = Pattern::new(text).unwrap_err();
            assert!(found.starts_with(problem), "{text}: {found}");
        }
    }
}
