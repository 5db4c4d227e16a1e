//! Inputs and outputs.

use super::{Decoder, MapFields, Read, boolean, count, json, list, name, number, one_of, text};
use crate::problem::ProblemKind;
use crate::types::{Field, FieldType};
use crate::yaml::Node;

pub(super) fn inputs(decoder: &mut Decoder, node: &Node) -> Option<Vec<Field>> {
    unique(decoder, node, input)
}

pub(super) fn outputs(decoder: &mut Decoder, node: &Node) -> Option<Vec<Field>> {
    unique(decoder, node, output)
}

fn unique(decoder: &mut Decoder, node: &Node, read: Read<Field>) -> Option<Vec<Field>> {
    let fields = list(decoder, node, read)?;
    for (index, field) in fields.iter().enumerate() {
        if fields.iter().take(index).any(|before| before.name == field.name) {
            let at = node.nearest(&[crate::yaml::PathSegment::Item(index), crate::yaml::PathSegment::Name("name")]).at;
            decoder.error(at, ProblemKind::DuplicateId, format!("`{}` is duplicated", field.name), "");
        }
    }
    Some(fields)
}

fn input(decoder: &mut Decoder, node: &Node) -> Option<Field> {
    let field = read(decoder, node, false)?;
    if field.from.is_some() {
        let at = node.nearest(&[crate::yaml::PathSegment::Name("from")]).at;
        decoder.error(at, ProblemKind::InvalidValue, "an input has no `from`", "`from` belongs to an output");
    }
    if let Some(default) = field.default.clone()
        && let Err(message) = field.accept(default)
    {
        let at = node.nearest(&[crate::yaml::PathSegment::Name("default")]).at;
        decoder.error(at, ProblemKind::InvalidValue, format!("the default of `{}` {message}", field.name), "");
    }
    Some(field)
}

fn output(decoder: &mut Decoder, node: &Node) -> Option<Field> {
    let field = read(decoder, node, true)?;
    if field.default.is_some() {
        let at = node.nearest(&[crate::yaml::PathSegment::Name("default")]).at;
        decoder.error(at, ProblemKind::InvalidValue, "an output has no default", "remove it");
    }
    Some(field)
}

fn read(decoder: &mut Decoder, node: &Node, required: bool) -> Option<Field> {
    let mut fields = MapFields::new(decoder, node, "a field")?;
    let name = fields.required(decoder, "name", identifier);
    let field_type = fields.required(decoder, "type", field_type);
    let is_required = fields.optional(decoder, "required", boolean);
    let default = fields.optional(decoder, "default", json);
    let from = fields.optional(decoder, "from", identifier);
    let description = fields.optional(decoder, "description", text);
    let items = fields.optional(decoder, "items", self::field_type);
    let one_of = fields.or_default(decoder, "enum", options);
    let minimum = fields.optional(decoder, "minimum", number);
    let maximum = fields.optional(decoder, "maximum", number);
    let min_length = fields.optional(decoder, "min_length", count);
    let max_length = fields.optional(decoder, "max_length", count);
    let min_items = fields.optional(decoder, "min_items", count);
    let max_items = fields.optional(decoder, "max_items", count);
    let max_bytes = fields.optional(decoder, "max_bytes", count);
    fields.finish(decoder);
    let field = Field {
        name: name?,
        field_type: field_type?,
        required: is_required?.unwrap_or(required),
        default: default?,
        from: from?,
        description: description?,
        items: items?,
        one_of: one_of?,
        minimum: minimum?,
        maximum: maximum?,
        min_length: min_length?,
        max_length: max_length?,
        min_items: min_items?,
        max_items: max_items?,
        max_bytes: max_bytes?,
    };
    constraints(decoder, node, &field);
    Some(field)
}

/// A constraint must apply to the type, and a minimum may not exceed its maximum.
fn constraints(decoder: &mut Decoder, node: &Node, field: &Field) {
    let number = matches!(field.field_type, FieldType::Integer | FieldType::Number);
    let array = field.field_type == FieldType::Array;
    let text = field.field_type.is_text();
    let constraints = [
        ("items", field.items.is_some(), array),
        ("minimum", field.minimum.is_some(), number),
        ("maximum", field.maximum.is_some(), number),
        ("min_length", field.min_length.is_some(), text),
        ("max_length", field.max_length.is_some(), text),
        ("min_items", field.min_items.is_some(), array),
        ("max_items", field.max_items.is_some(), array),
    ];
    for (name, _, _) in constraints.iter().filter(|(_, is_set, applies)| *is_set && !applies) {
        let at = node.nearest(&[crate::yaml::PathSegment::Name(name)]).at;
        let found = format!("`{name}` does not apply to {}", field.field_type.described());
        decoder.error(at, ProblemKind::InvalidValue, found, "remove it, or change the type");
    }
    let crossed = [
        ("minimum", matches!((field.minimum, field.maximum), (Some(min), Some(max)) if min > max)),
        ("min_length", matches!((field.min_length, field.max_length), (Some(min), Some(max)) if min > max)),
        ("min_items", matches!((field.min_items, field.max_items), (Some(min), Some(max)) if min > max)),
    ];
    for (name, _) in crossed.iter().filter(|(_, crossed)| *crossed) {
        let at = node.nearest(&[crate::yaml::PathSegment::Name(name)]).at;
        decoder.error(at, ProblemKind::InvalidValue, format!("`{name}` is above its maximum"), "");
    }
}

/// Decodes a name that templates and references can use.
pub(super) fn identifier(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let text = name(decoder, node)?;
    let mut letters = text.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some(text);
    }
    let found = format!("{text:?} is not a valid name");
    decoder.error(
        node.at,
        ProblemKind::InvalidValue,
        found,
        "a name has letters, digits and `_`, and does not begin with a digit",
    );
    None
}

fn field_type(decoder: &mut Decoder, node: &Node) -> Option<FieldType> {
    let all: Vec<(&str, FieldType)> = FieldType::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    one_of(decoder, node, &all)
}

fn options(decoder: &mut Decoder, node: &Node) -> Option<Vec<greenroom_protocol::Json>> {
    list(decoder, node, json)
}
