//! Constraints against the type that has them: each must apply to its kind, no minimum may exceed its maximum,
//! and an allowed value must be one of the type.

use super::super::Decoder;
use crate::problem::ProblemKind;
use crate::types::{FieldType, Undeclared, ValueType};
use crate::yaml::{Node, PathSegment};

pub(super) fn check(decoder: &mut Decoder, node: &Node, value_type: &ValueType) {
    apply(decoder, node, value_type);
    cross(decoder, node, value_type);
    check_options(decoder, node, value_type);
}

fn apply(decoder: &mut Decoder, node: &Node, value_type: &ValueType) {
    let number = matches!(value_type.kind, FieldType::Integer | FieldType::Number);
    let array = value_type.kind == FieldType::Array;
    let object = value_type.kind == FieldType::Object;
    let text = value_type.kind.is_text();
    let constraints = [
        ("items", value_type.items.is_some(), array),
        ("properties", !value_type.properties.is_empty(), object),
        ("unit", value_type.unit.is_some(), number),
        ("pattern", value_type.pattern.is_some(), text),
        ("format", value_type.format.is_some(), text),
        ("minimum", value_type.minimum.is_some(), number),
        ("maximum", value_type.maximum.is_some(), number),
        ("min_length", value_type.min_length.is_some(), text),
        ("max_length", value_type.max_length.is_some(), text),
        ("min_items", value_type.min_items.is_some(), array),
        ("max_items", value_type.max_items.is_some(), array),
    ];
    for (name, _, _) in constraints.iter().filter(|(_, is_set, applies)| *is_set && !applies) {
        let at = node.nearest(&[PathSegment::Name(name)]).at;
        let found = format!("`{name}` does not apply to {}", value_type.kind.described());
        decoder.error(at, ProblemKind::InvalidValue, found, "remove it, or change the type");
    }
}

fn cross(decoder: &mut Decoder, node: &Node, value_type: &ValueType) {
    let is_crossed = |min: Option<u64>, max: Option<u64>| matches!((min, max), (Some(min), Some(max)) if min > max);
    let crossed = [
        ("minimum", matches!((value_type.minimum, value_type.maximum), (Some(min), Some(max)) if min > max)),
        ("min_length", is_crossed(value_type.min_length, value_type.max_length)),
        ("min_items", is_crossed(value_type.min_items, value_type.max_items)),
    ];
    for (name, _) in crossed.iter().filter(|(_, crossed)| *crossed) {
        let at = node.nearest(&[PathSegment::Name(name)]).at;
        decoder.error(at, ProblemKind::InvalidValue, format!("`{name}` is above its maximum"), "");
    }
}

/// An allowed value must fit the rest of the type: `2024` is a number, and no text equals it.
fn check_options(decoder: &mut Decoder, node: &Node, value_type: &ValueType) {
    let without_options = ValueType { one_of: Vec::new(), ..value_type.clone() };
    for (index, option) in value_type.one_of.iter().enumerate() {
        let path = [PathSegment::Name("enum"), PathSegment::Item(index)];
        let at = node.nearest(&path).at;
        match without_options.accept(option.clone(), Undeclared::Reject) {
            Ok(canonical) if canonical == *option => {}
            Ok(canonical) => {
                decoder.error(
                    at,
                    ProblemKind::WrongType,
                    format!("no value equals `{option}`"),
                    format!("write `{canonical}`"),
                );
            }
            Err(mismatches) => {
                let quotes = if value_type.kind.is_text() && !option.is_string() { "put it in quotes" } else { "" };
                for problem in mismatches.describe(&format!("enum[{index}]")) {
                    decoder.error(at, ProblemKind::WrongType, problem, quotes);
                }
            }
        }
    }
}
