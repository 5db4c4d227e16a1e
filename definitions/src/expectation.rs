//! Whether what an example expects holds of the outputs of an execution.
//!
//! Texts are compared without regard to case and to the width of white space, because an assertion names facts, and a
//! model chooses the words around them.

use greenroom_protocol::{ErrorCode, Json, Values};
use serde::{Deserialize, Serialize};

use crate::agent::{Assertion, Expectation};

mod compare;
mod value_path;

pub use compare::is_equal;
pub use value_path::{PathPart, ValuePath};

/// Characters of a value in a reason.
const SHOWN_CHARS_MAX: usize = 120;

/// An assertion that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionFailure {
    /// The number of the assertion in its example, from 0.
    pub number: usize,
    /// The assertion as compact JSON.
    pub assertion: String,
    /// Why it does not hold.
    pub reason: String,
}

/// Returns the assertions that do not hold of the end of an execution: its outputs, or its error code. Without
/// assertions, the execution must succeed.
#[must_use]
pub fn failures(expectation: &Expectation, end: Result<&Values, ErrorCode>) -> Vec<AssertionFailure> {
    let assertions = expectation.assertions();
    if assertions.is_empty() {
        return end
            .err()
            .map(|code| failure(0, String::new(), format!("the execution failed with `{code}`")))
            .into_iter()
            .collect();
    }
    assertions
        .iter()
        .enumerate()
        .filter_map(|(number, assertion)| {
            let reason = reason(assertion, end)?;
            Some(failure(number, serde_json::to_string(assertion).unwrap_or_default(), reason))
        })
        .collect()
}

const fn failure(number: usize, assertion: String, reason: String) -> AssertionFailure {
    AssertionFailure { number, assertion, reason }
}

/// Why an assertion does not hold; `None` if it does.
fn reason(assertion: &Assertion, end: Result<&Values, ErrorCode>) -> Option<String> {
    let outputs = match (end, assertion.fails) {
        (Err(code), Some(expected)) if code == expected => return None,
        (Err(code), Some(_) | None) => return Some(format!("the execution failed with `{code}`")),
        (Ok(_), Some(_)) => return Some("the execution succeeded".to_owned()),
        (Ok(outputs), None) => outputs,
    };
    let Some(path) = &assertion.path else {
        let whole: Json = outputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        return reason_of_value(assertion, "outputs", &whole);
    };
    // The path was checked when the definition was loaded.
    let path = match ValuePath::parse(path) {
        Ok(path) => path,
        Err(problem) => return Some(problem),
    };
    match path.resolve(outputs) {
        Ok(values) => values.iter().find_map(|(path, value)| reason_of_value(assertion, path, value)),
        Err(_) if states_absence_only(assertion) => None,
        Err(missing) => Some(missing),
    }
}

/// True if the assertion only says what does not occur, which holds of a value that is not there.
fn states_absence_only(assertion: &Assertion) -> bool {
    let bare = Assertion { path: None, not_contains: Vec::new(), ..assertion.clone() };
    !assertion.not_contains.is_empty() && bare == Assertion::default()
}

/// Why the assertion does not hold of one value at its path.
fn reason_of_value(assertion: &Assertion, path: &str, value: &Json) -> Option<String> {
    let as_found = || format!("`{path}` is {}", excerpt(value));
    if let Some(expected) = &assertion.equals
        && !is_equal(value, expected)
    {
        return Some(as_found());
    }
    if !assertion.one_of.is_empty() && !assertion.one_of.iter().any(|option| is_equal(value, option)) {
        return Some(as_found());
    }
    reason_of_texts(assertion, path, value).or_else(|| reason_of_amounts(assertion, path, value))
}

fn reason_of_texts(assertion: &Assertion, path: &str, value: &Json) -> Option<String> {
    if assertion.contains.is_empty() && assertion.not_contains.is_empty() && assertion.matches.is_none() {
        return None;
    }
    let texts = compare::texts_in(value);
    let folded: Vec<String> = texts.iter().map(|text| compare::folded(text)).collect();
    let occurs = |text: &String| folded.iter().any(|one| one.contains(&compare::folded(text)));
    if let Some(absent) = assertion.contains.iter().find(|text| !occurs(text)) {
        return Some(format!("`{path}` does not contain {absent:?}: {}", excerpt(value)));
    }
    if let Some(present) = assertion.not_contains.iter().find(|text| occurs(text)) {
        return Some(format!("`{path}` contains {present:?}: {}", excerpt(value)));
    }
    let pattern = assertion.matches.as_ref()?;
    let is_match = texts.iter().any(|text| pattern.is_match(text));
    (!is_match).then(|| format!("`{path}` does not match {:?}: {}", pattern.as_str(), excerpt(value)))
}

fn reason_of_amounts(assertion: &Assertion, path: &str, value: &Json) -> Option<String> {
    if assertion.minimum.is_some() || assertion.maximum.is_some() {
        let Some(number) = value.as_f64() else {
            return Some(format!("`{path}` is no number: {}", excerpt(value)));
        };
        let is_within = assertion.minimum.is_none_or(|minimum| number >= minimum)
            && assertion.maximum.is_none_or(|maximum| number <= maximum);
        if !is_within {
            return Some(format!("`{path}` is {number}"));
        }
    }
    let (minimum, maximum) = assertion.length?.bounds();
    let length = match value {
        Json::String(text) => text.chars().count(),
        Json::Array(items) => items.len(),
        Json::Object(members) => members.len(),
        Json::Null | Json::Bool(_) | Json::Number(_) => {
            return Some(format!("`{path}` has no length: {}", excerpt(value)));
        }
    };
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    (!(minimum..=maximum).contains(&length)).then(|| format!("`{path}` has the length {length}: {}", excerpt(value)))
}

/// A value in a message, shortened.
fn excerpt(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
