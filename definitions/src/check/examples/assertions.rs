//! Checks that an assertion can hold and can fail: its path exists in the declared outputs, and what it states fits
//! the type there.

use super::super::index::hint;
use crate::agent::{Agent, Assertion};
use crate::definition_set::Located;
use crate::expectation::{PathPart, ValuePath};
use crate::problem::{Problem, ProblemKind};
use crate::types::{FieldType, Undeclared, ValueType};
use crate::yaml::PathSegment;

/// A problem of one assertion: the member that has it, and the message.
struct Senseless {
    member: &'static str,
    kind: ProblemKind,
    found: String,
    expected: String,
}

impl Senseless {
    fn new(member: &'static str, found: String) -> Self {
        Self { member, kind: ProblemKind::InvalidValue, found, expected: String::new() }
    }
}

pub(super) fn check(
    definition: &Located<Agent>,
    example: usize,
    assertions: &[Assertion],
    problems: &mut Vec<Problem>,
) {
    for (at, assertion) in assertions.iter().enumerate() {
        for senseless in senseless(&definition.value, assertion, assertions.len()) {
            let path = [
                PathSegment::Name("examples"),
                PathSegment::Item(example),
                PathSegment::Name("expect"),
                PathSegment::Item(at),
                PathSegment::Name(senseless.member),
            ];
            problems.push(definition.error(&path, senseless.kind, senseless.found, senseless.expected));
        }
    }
}

fn senseless(agent: &Agent, assertion: &Assertion, count: usize) -> Vec<Senseless> {
    let bare = Assertion { path: None, ..assertion.clone() };
    if bare == Assertion::default() {
        return vec![Senseless::new("path", "the assertion states nothing".to_owned())];
    }
    if assertion.fails.is_some() {
        let only = Assertion { fails: assertion.fails, ..Assertion::default() };
        let is_alone = *assertion == only && count == 1;
        let found = "an execution that fails has no outputs, so `fails` is the only assertion of its example";
        return if is_alone { Vec::new() } else { vec![Senseless::new("fails", found.to_owned())] };
    }
    let Some(path) = &assertion.path else { return about_all_outputs(assertion) };
    match type_at(agent, path) {
        Ok(Some(value_type)) => misfits(assertion, path, value_type),
        // Nothing is declared there, so that anything may be.
        Ok(None) => Vec::new(),
        Err(problem) => vec![problem],
    }
}

/// An assertion without a path says what occurs anywhere in the outputs, or does not.
fn about_all_outputs(assertion: &Assertion) -> Vec<Senseless> {
    let texts = Assertion {
        contains: assertion.contains.clone(),
        not_contains: assertion.not_contains.clone(),
        matches: assertion.matches.clone(),
        ..Assertion::default()
    };
    if *assertion == texts {
        return Vec::new();
    }
    let found = "without `path`, an assertion has `contains`, `not_contains` or `matches` only";
    vec![Senseless::new("path", found.to_owned())]
}

/// The declared type at a path; `None` if the path leads into a part without a declaration.
fn type_at<'a>(agent: &'a Agent, path: &str) -> Result<Option<&'a ValueType>, Senseless> {
    let parsed = ValuePath::parse(path).map_err(|problem| Senseless::new("path", problem))?;
    let unknown = |found: String, expected: String| Senseless {
        member: "path",
        kind: ProblemKind::UnknownReference,
        found,
        expected,
    };
    let Some(field) = agent.output(&parsed.output) else {
        let known = agent.spec().outputs.iter().map(|field| field.name.as_str());
        let found = format!("the agent has no output `{}`", parsed.output);
        return Err(unknown(found, hint(&parsed.output, known)));
    };
    let (mut value_type, mut at) = (&field.value_type, parsed.output.clone());
    for part in &parsed.parts {
        let inner = match (part, value_type.kind) {
            (PathPart::Member(name), FieldType::Object) if !value_type.properties.is_empty() => {
                let known = value_type.properties.keys().map(String::as_str);
                let property = value_type
                    .properties
                    .get(name)
                    .ok_or_else(|| unknown(format!("`{at}` has no property `{name}`"), hint(name, known)))?;
                at.push_str(&format!(".{name}"));
                Some(&property.value_type)
            }
            (PathPart::Item(_) | PathPart::EveryItem, FieldType::Array) => {
                at.push_str("[*]");
                value_type.items.as_deref()
            }
            (PathPart::Member(_), FieldType::Object) => None,
            (_, kind) => {
                let found = format!("`{at}` is {}, in which `{path}` leads nowhere", kind.described());
                return Err(unknown(found, String::new()));
            }
        };
        match inner {
            Some(inner) => value_type = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(value_type))
}

/// What does not fit the type at the path.
fn misfits(assertion: &Assertion, path: &str, value_type: &ValueType) -> Vec<Senseless> {
    let mut found = Vec::new();
    let described = value_type.kind.described();
    let values = assertion.equals.iter().map(|value| ("equals", value));
    for (member, value) in values.chain(assertion.one_of.iter().map(|value| ("one_of", value))) {
        if let Err(mismatches) = value_type.accept(value.clone(), Undeclared::Reject) {
            let problems = mismatches.describe(path).into_iter();
            found.extend(problems.map(|problem| Senseless::new(member, format!("the expected {problem}"))));
        }
    }
    let (is_number, is_text) = match value_type.kind {
        FieldType::Text | FieldType::String => (false, true),
        FieldType::Integer | FieldType::Number => (true, false),
        FieldType::Array | FieldType::Object | FieldType::Boolean | FieldType::File => (false, false),
    };
    let has_parts = matches!(value_type.kind, FieldType::Array | FieldType::Object);
    let mut only_for = |member, is_stated: bool, fits: bool| {
        if is_stated && !fits {
            found.push(Senseless::new(member, format!("`{path}` is {described}, to which `{member}` does not apply")));
        }
    };
    only_for("contains", !assertion.contains.is_empty(), is_text || is_number || has_parts);
    only_for("not_contains", !assertion.not_contains.is_empty(), is_text || is_number || has_parts);
    only_for("matches", assertion.matches.is_some(), is_text || has_parts);
    only_for("minimum", assertion.minimum.is_some(), is_number);
    only_for("maximum", assertion.maximum.is_some(), is_number);
    only_for("length", assertion.length.is_some(), is_text || has_parts);
    found.extend(impossible_range(assertion, path, value_type));
    found.extend(impossible_length(assertion, path, value_type));
    found
}

/// A range that no valid output has.
fn impossible_range(assertion: &Assertion, path: &str, value_type: &ValueType) -> Option<Senseless> {
    let minimum = assertion.minimum.into_iter().chain(value_type.minimum).fold(f64::NEG_INFINITY, f64::max);
    let maximum = assertion.maximum.into_iter().chain(value_type.maximum).fold(f64::INFINITY, f64::min);
    let is_stated = assertion.minimum.is_some() || assertion.maximum.is_some();
    let member = if assertion.minimum.is_some() { "minimum" } else { "maximum" };
    let found = || format!("`{path}` is at least {minimum} and at most {maximum}, which no number is");
    (is_stated && minimum > maximum).then(|| Senseless::new(member, found()))
}

/// A length that no valid output has.
fn impossible_length(assertion: &Assertion, path: &str, value_type: &ValueType) -> Option<Senseless> {
    let (minimum, maximum) = assertion.length?.bounds();
    let declared = match value_type.kind {
        FieldType::Text | FieldType::String => (value_type.min_length, value_type.max_length),
        FieldType::Array => (value_type.min_items, value_type.max_items),
        FieldType::Object | FieldType::Integer | FieldType::Number | FieldType::Boolean | FieldType::File => {
            (None, None)
        }
    };
    let lowest = minimum.max(declared.0.unwrap_or_default());
    let highest = maximum.min(declared.1.unwrap_or(u64::MAX));
    let found = || format!("the length of `{path}` is at least {lowest} and at most {highest}, which none is");
    (lowest > highest).then(|| Senseless::new("length", found()))
}
