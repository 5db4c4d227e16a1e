//! Types: the members that an input, an output, a property and the items of an array share.

use std::collections::BTreeMap;

use super::{Decoder, MapFields, count, json, list, name, number, one_of, text};
use crate::problem::{ProblemKind, did_you_mean};
use crate::types::{FieldType, Format, Pattern, Property, ValueType};
use crate::yaml::{Node, NodeValue, PathSegment, Position};

mod constraints;

/// Characters of the name of a property.
const PROPERTY_NAME_CHARS_MAX: usize = 64;

/// `required` as it is written.
enum Requirement {
    /// Whether the field or the property itself is required.
    Own(bool),
    /// The names of the required properties of the object.
    Properties(Vec<(String, Position)>),
}

/// Decodes a type, and whether the field or the property that has it is required. `REQUIRED` is the default,
/// for this one and for the properties in it.
pub(super) fn read_type<const REQUIRED: bool>(
    decoder: &mut Decoder,
    fields: &mut MapFields<'_>,
    node: &Node,
) -> Option<Property> {
    let kind = fields.required(decoder, "type", kind);
    let requirement = fields.optional(decoder, "required", requirement);
    let description = fields.optional(decoder, "description", text);
    let unit = fields.optional(decoder, "unit", name);
    let items = fields.optional(decoder, "items", items::<REQUIRED>);
    let properties = fields.or_default(decoder, "properties", properties::<REQUIRED>);
    let one_of = fields.or_default(decoder, "enum", options);
    let pattern = fields.optional(decoder, "pattern", pattern);
    let format = fields.optional(decoder, "format", format);
    let minimum = fields.optional(decoder, "minimum", number);
    let maximum = fields.optional(decoder, "maximum", number);
    let min_length = fields.optional(decoder, "min_length", count);
    let max_length = fields.optional(decoder, "max_length", count);
    let min_items = fields.optional(decoder, "min_items", count);
    let max_items = fields.optional(decoder, "max_items", count);
    let max_bytes = fields.optional(decoder, "max_bytes", count);
    let mut value_type = ValueType {
        kind: kind?,
        description: description?,
        unit: unit?,
        items: items?.map(Box::new),
        properties: properties?,
        one_of: one_of?,
        pattern: pattern?,
        format: format?,
        minimum: minimum?,
        maximum: maximum?,
        min_length: min_length?,
        max_length: max_length?,
        min_items: min_items?,
        max_items: max_items?,
        max_bytes: max_bytes?,
    };
    constraints::check(decoder, node, &value_type);
    let required = match requirement? {
        Some(Requirement::Own(required)) => required,
        Some(Requirement::Properties(names)) => {
            require_properties(decoder, &mut value_type, &names);
            REQUIRED
        }
        None => REQUIRED,
    };
    Some(Property { required, value_type })
}

/// A list of `required` states which properties are required; all others are optional.
fn require_properties(decoder: &mut Decoder, value_type: &mut ValueType, names: &[(String, Position)]) {
    for (name, at) in names {
        if !value_type.properties.contains_key(name) {
            let hint = did_you_mean(name, value_type.properties.keys().map(String::as_str)).unwrap_or_default();
            let found = format!("there is no property `{name}`{hint}");
            decoder.error(*at, ProblemKind::UnknownReference, found, "");
        }
    }
    for (name, property) in &mut value_type.properties {
        property.required = names.iter().any(|(required, _)| required == name);
    }
}

fn kind(decoder: &mut Decoder, node: &Node) -> Option<FieldType> {
    let all: Vec<(&str, FieldType)> = FieldType::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    one_of(decoder, node, &all)
}

fn format(decoder: &mut Decoder, node: &Node) -> Option<Format> {
    let all: Vec<(&str, Format)> = Format::ALL.iter().map(|format| (format.as_str(), *format)).collect();
    one_of(decoder, node, &all)
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

fn options(decoder: &mut Decoder, node: &Node) -> Option<Vec<greenroom_protocol::Json>> {
    list(decoder, node, json)
}

fn requirement(decoder: &mut Decoder, node: &Node) -> Option<Requirement> {
    match &node.value {
        NodeValue::Bool(required) => Some(Requirement::Own(*required)),
        NodeValue::List(items) => {
            let read = |item| Some((text(decoder, item)?, item.at));
            let names: Vec<Option<(String, Position)>> = items.iter().map(read).collect();
            names.into_iter().collect::<Option<_>>().map(Requirement::Properties)
        }
        NodeValue::Null | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::Map(_) => {
            decoder.mistyped(node, "`true`, `false`, or a list of properties")
        }
    }
}

/// Decodes the items of an array, which are either there or not: they are not required themselves.
fn items<const REQUIRED: bool>(decoder: &mut Decoder, node: &Node) -> Option<ValueType> {
    let required = node.nearest(&[PathSegment::Name("required")]);
    if matches!(&node.value, NodeValue::Map(_)) && matches!(&required.value, NodeValue::Bool(_)) {
        let expected = "set `min_items` of the array, or list the required properties";
        decoder.error(required.at, ProblemKind::InvalidValue, "an item is not required itself", expected);
    }
    named_or_full::<REQUIRED>(decoder, node).map(|property| property.value_type)
}

/// Decodes the name of a type, or a type.
fn named_or_full<const REQUIRED: bool>(decoder: &mut Decoder, node: &Node) -> Option<Property> {
    if let NodeValue::Text(_) = &node.value {
        let value_type = ValueType::new(kind(decoder, node)?);
        return Some(Property { required: REQUIRED, value_type });
    }
    let mut fields = MapFields::new(decoder, node, "a type")?;
    let property = read_type::<REQUIRED>(decoder, &mut fields, node);
    fields.finish(decoder);
    property
}

/// Decodes properties: a map of names and types, or a list of types with names.
fn properties<const REQUIRED: bool>(decoder: &mut Decoder, node: &Node) -> Option<BTreeMap<String, Property>> {
    let members: Vec<Option<(String, Property)>> = match &node.value {
        NodeValue::Map(entries) => entries
            .iter()
            .map(|entry| {
                check_name(decoder, &entry.name, entry.at);
                Some((entry.name.clone(), named_or_full::<REQUIRED>(decoder, &entry.value)?))
            })
            .collect(),
        NodeValue::List(items) => items.iter().map(|item| listed_property::<REQUIRED>(decoder, item)).collect(),
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) => {
            return decoder.mistyped(node, "a map of names and types, such as `{ amount: { type: number } }`");
        }
    };
    if members.is_empty() {
        let expected = "leave it out for an object with any properties";
        decoder.error(node.at, ProblemKind::InvalidValue, "there are no properties", expected);
    }
    let mut all = BTreeMap::new();
    for (name, property) in members.into_iter().collect::<Option<Vec<_>>>()? {
        if all.insert(name.clone(), property).is_some() {
            decoder.error(node.at, ProblemKind::DuplicateId, format!("the property `{name}` is duplicated"), "");
        }
    }
    Some(all)
}

fn listed_property<const REQUIRED: bool>(decoder: &mut Decoder, node: &Node) -> Option<(String, Property)> {
    let mut fields = MapFields::new(decoder, node, "a property")?;
    let name = fields.required(decoder, "name", self::name);
    let property = read_type::<REQUIRED>(decoder, &mut fields, node);
    fields.finish(decoder);
    let name = name?;
    check_name(decoder, &name, node.nearest(&[PathSegment::Name("name")]).at);
    Some((name, property?))
}

fn check_name(decoder: &mut Decoder, name: &str, at: Position) {
    let chars = name.chars().count();
    if name.trim().is_empty() || chars > PROPERTY_NAME_CHARS_MAX {
        let found = format!("the name of the property has {chars} characters");
        decoder.error(at, ProblemKind::InvalidValue, found, format!("1 to {PROPERTY_NAME_CHARS_MAX}"));
    }
}
