//! Inputs and outputs.

use super::{Decoder, MapFields, Read, boolean, count, json, list, name, number, one_of, text};
use crate::problem::ProblemKind;
use crate::types::{Field, FieldType};
use crate::yaml::Node;

pub(super) fn inputs(reader: &mut Decoder, node: &Node) -> Option<Vec<Field>> {
    unique(reader, node, input)
}

pub(super) fn outputs(reader: &mut Decoder, node: &Node) -> Option<Vec<Field>> {
    unique(reader, node, output)
}

fn unique(reader: &mut Decoder, node: &Node, read: Read<Field>) -> Option<Vec<Field>> {
    let fields = list(reader, node, read)?;
    for (at, field) in fields.iter().enumerate() {
        if fields.iter().take(at).any(|before| before.name == field.name) {
            let place = node.nearest(&[crate::yaml::PathSegment::Item(at), crate::yaml::PathSegment::Name("name")]).at;
            reader.error(place, ProblemKind::DuplicateId, format!("`{}` is there twice", field.name), "");
        }
    }
    Some(fields)
}

fn input(reader: &mut Decoder, node: &Node) -> Option<Field> {
    let field = read(reader, node, false)?;
    if field.from.is_some() {
        let place = node.nearest(&[crate::yaml::PathSegment::Name("from")]).at;
        reader.error(place, ProblemKind::InvalidValue, "an input is taken from nothing", "`from` belongs to an output");
    }
    if let Some(default) = field.default.clone()
        && let Err(why) = field.accept(default)
    {
        let place = node.nearest(&[crate::yaml::PathSegment::Name("default")]).at;
        reader.error(place, ProblemKind::InvalidValue, format!("the default of `{}` {why}", field.name), "");
    }
    Some(field)
}

fn output(reader: &mut Decoder, node: &Node) -> Option<Field> {
    let field = read(reader, node, true)?;
    if field.default.is_some() {
        let place = node.nearest(&[crate::yaml::PathSegment::Name("default")]).at;
        reader.error(place, ProblemKind::InvalidValue, "an output has no default", "leave it out");
    }
    Some(field)
}

fn read(reader: &mut Decoder, node: &Node, required: bool) -> Option<Field> {
    let mut fields = MapFields::of(reader, node, "a field")?;
    let name = fields.required(reader, "name", identifier);
    let kind = fields.required(reader, "type", kind);
    let is_required = fields.optional(reader, "required", boolean);
    let default = fields.optional(reader, "default", json);
    let from = fields.optional(reader, "from", identifier);
    let description = fields.optional(reader, "description", text);
    let items = fields.optional(reader, "items", self::kind);
    let one_of = fields.or_default(reader, "enum", options);
    let minimum = fields.optional(reader, "minimum", number);
    let maximum = fields.optional(reader, "maximum", number);
    let min_length = fields.optional(reader, "min_length", count);
    let max_length = fields.optional(reader, "max_length", count);
    let min_items = fields.optional(reader, "min_items", count);
    let max_items = fields.optional(reader, "max_items", count);
    let max_bytes = fields.optional(reader, "max_bytes", count);
    fields.finish(reader);
    let field = Field {
        name: name?,
        field_type: kind?,
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
    constraints(reader, node, &field);
    Some(field)
}

/// A constraint must mean something for the kind, and its two ends must stand in order.
fn constraints(reader: &mut Decoder, node: &Node, field: &Field) {
    let number = matches!(field.field_type, FieldType::Integer | FieldType::Number);
    let array = field.field_type == FieldType::Array;
    let text = field.field_type.is_text();
    let given = [
        ("items", field.items.is_some(), array),
        ("minimum", field.minimum.is_some(), number),
        ("maximum", field.maximum.is_some(), number),
        ("min_length", field.min_length.is_some(), text),
        ("max_length", field.max_length.is_some(), text),
        ("min_items", field.min_items.is_some(), array),
        ("max_items", field.max_items.is_some(), array),
    ];
    for (name, _, _) in given.iter().filter(|(_, given, fits)| *given && !fits) {
        let place = node.nearest(&[crate::yaml::PathSegment::Name(name)]).at;
        let found = format!("`{name}` means nothing for {}", field.field_type.described());
        reader.error(place, ProblemKind::InvalidValue, found, "leave it out, or change the type");
    }
    let crossed = [
        ("minimum", matches!((field.minimum, field.maximum), (Some(min), Some(max)) if min > max)),
        ("min_length", matches!((field.min_length, field.max_length), (Some(min), Some(max)) if min > max)),
        ("min_items", matches!((field.min_items, field.max_items), (Some(min), Some(max)) if min > max)),
    ];
    for (name, _) in crossed.iter().filter(|(_, crossed)| *crossed) {
        let place = node.nearest(&[crate::yaml::PathSegment::Name(name)]).at;
        reader.error(place, ProblemKind::InvalidValue, format!("`{name}` is above its maximum"), "");
    }
}

/// A name that a template and a reference can write.
pub(super) fn identifier(reader: &mut Decoder, node: &Node) -> Option<String> {
    let text = name(reader, node)?;
    let mut letters = text.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some(text);
    }
    let found = format!("{text:?} cannot be a name here");
    reader.error(
        node.at,
        ProblemKind::InvalidValue,
        found,
        "a name has letters, digits and `_`, and begins with no digit",
    );
    None
}

fn kind(reader: &mut Decoder, node: &Node) -> Option<FieldType> {
    let all: Vec<(&str, FieldType)> = FieldType::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    one_of(reader, node, &all)
}

fn options(reader: &mut Decoder, node: &Node) -> Option<Vec<greenroom_protocol::Json>> {
    list(reader, node, json)
}
