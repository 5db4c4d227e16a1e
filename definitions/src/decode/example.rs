//! The examples of an agent, with what they expect. That an assertion fits the outputs is checked later.

use greenroom_protocol::{ErrorCode, Json};

use super::{Decoder, MapFields, count, json, list, name, number, text, values};
use crate::agent::{Assertion, Example, Expectation, Length, LengthBounds};
use crate::problem::{ProblemKind, did_you_mean};
use crate::types::Pattern;
use crate::yaml::{Node, NodeValue};

/// Maximum number of assertions of one example.
const ASSERTIONS_MAX: usize = 50;

pub(super) fn examples(decoder: &mut Decoder, node: &Node) -> Option<Vec<Example>> {
    list(decoder, node, example)
}

fn example(decoder: &mut Decoder, node: &Node) -> Option<Example> {
    let mut fields = MapFields::new(decoder, node, "an example")?;
    let name = fields.optional(decoder, "name", name);
    let inputs = fields.required(decoder, "inputs", values);
    let expect = fields.or_default(decoder, "expect", expectation);
    let holds_offline = fields.or_default(decoder, "holds_offline", boolean);
    fields.finish(decoder);
    Some(Example { name: name?, inputs: inputs?, expect: expect?, holds_offline: holds_offline? })
}

fn boolean(decoder: &mut Decoder, node: &Node) -> Option<bool> {
    match &node.value {
        NodeValue::Bool(truth) => Some(*truth),
        NodeValue::Null | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::List(_) | NodeValue::Map(_) => {
            decoder.mistyped(node, "`true` or `false`")
        }
    }
}

/// Decodes a list of assertions, or a map of outputs.
fn expectation(decoder: &mut Decoder, node: &Node) -> Option<Expectation> {
    let NodeValue::List(items) = &node.value else {
        let outputs = values(decoder, node)?;
        return Some(if outputs.is_empty() { Expectation::default() } else { Expectation::Outputs(outputs) });
    };
    if items.len() > ASSERTIONS_MAX {
        let found = format!("{} assertions are too many", items.len());
        decoder.error(node.at, ProblemKind::TooLarge, found, format!("at most {ASSERTIONS_MAX}"));
        return None;
    }
    list(decoder, node, assertion).map(Expectation::Assertions)
}

fn assertion(decoder: &mut Decoder, node: &Node) -> Option<Assertion> {
    let mut fields = MapFields::new(decoder, node, "an assertion")?;
    let path = fields.optional(decoder, "path", name);
    let equals = fields.optional(decoder, "equals", json);
    let contains = fields.or_default(decoder, "contains", texts);
    let not_contains = fields.or_default(decoder, "not_contains", texts);
    let matches = fields.optional(decoder, "matches", pattern);
    let minimum = fields.optional(decoder, "minimum", number);
    let maximum = fields.optional(decoder, "maximum", number);
    let length = fields.optional(decoder, "length", length);
    let one_of = fields.or_default(decoder, "one_of", options);
    let fails = fields.optional(decoder, "fails", error_code);
    fields.finish(decoder);
    Some(Assertion {
        path: path?,
        equals: equals?,
        contains: contains?,
        not_contains: not_contains?,
        matches: matches?,
        minimum: minimum?,
        maximum: maximum?,
        length: length?,
        one_of: one_of?,
        fails: fails?,
    })
}

/// Decodes a text, or a list of texts. A number is written as text, so that its digits are compared as written.
fn texts(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    let texts = match &node.value {
        NodeValue::List(_) => list(decoder, node, name)?,
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::Map(_) => {
            vec![name(decoder, node)?]
        }
    };
    if texts.is_empty() {
        decoder.error(node.at, ProblemKind::InvalidValue, "the list is empty", "name at least one text");
        return None;
    }
    Some(texts)
}

fn options(decoder: &mut Decoder, node: &Node) -> Option<Vec<Json>> {
    let options = list(decoder, node, json)?;
    if options.is_empty() {
        decoder.error(node.at, ProblemKind::InvalidValue, "the list is empty", "name at least one value");
        return None;
    }
    Some(options)
}

fn pattern(decoder: &mut Decoder, node: &Node) -> Option<Pattern> {
    match Pattern::new(&text(decoder, node)?) {
        Ok(pattern) => Some(pattern),
        Err(problem) => {
            decoder.error(node.at, ProblemKind::Expression, problem, "");
            None
        }
    }
}

/// Decodes a number, or a minimum and a maximum.
fn length(decoder: &mut Decoder, node: &Node) -> Option<Length> {
    let NodeValue::Map(_) = &node.value else { return count(decoder, node).map(Length::Exact) };
    let mut fields = MapFields::new(decoder, node, "a length")?;
    let minimum = fields.optional(decoder, "minimum", count);
    let maximum = fields.optional(decoder, "maximum", count);
    fields.finish(decoder);
    let bounds = LengthBounds { minimum: minimum?, maximum: maximum? };
    match (bounds.minimum, bounds.maximum) {
        (None, None) => {
            decoder.error(node.at, ProblemKind::MissingField, "a length needs `minimum` or `maximum`", "");
            None
        }
        (Some(minimum), Some(maximum)) if minimum > maximum => {
            let found = format!("the minimum {minimum} is above the maximum {maximum}");
            decoder.error(node.at, ProblemKind::InvalidValue, found, "");
            None
        }
        _ => Some(Length::Between(bounds)),
    }
}

fn error_code(decoder: &mut Decoder, node: &Node) -> Option<ErrorCode> {
    let written = text(decoder, node)?;
    let known = ErrorCode::ALL.iter().find(|code| code.as_str() == written);
    if known.is_none() {
        let hint = did_you_mean(&written, ErrorCode::ALL.iter().map(|code| code.as_str())).unwrap_or_default();
        let found = format!("there is no error code `{written}`{hint}");
        decoder.error(node.at, ProblemKind::UnknownName, found, "`greenroom explain` lists them");
    }
    known.copied()
}
