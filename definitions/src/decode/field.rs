//! Inputs and outputs.

use super::value_type::read_type;
use super::{Decoder, MapFields, Read, json, list, name};
use crate::problem::ProblemKind;
use crate::types::{Field, TYPE_DEPTH_MAX, TYPE_NODES_MAX, Undeclared, ValueType};
use crate::yaml::{Node, PathSegment, Position};

/// Inputs and their properties are optional by default.
const INPUTS_REQUIRED: bool = false;
/// Outputs and their properties are required by default.
const OUTPUTS_REQUIRED: bool = true;

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
            let at = node.nearest(&[PathSegment::Item(index), PathSegment::Name("name")]).at;
            decoder.error(at, ProblemKind::DuplicateId, format!("`{}` is duplicated", field.name), "");
        }
    }
    Some(fields)
}

fn input(decoder: &mut Decoder, node: &Node) -> Option<Field> {
    let field = read::<INPUTS_REQUIRED>(decoder, node)?;
    if field.from.is_some() {
        let at = node.nearest(&[PathSegment::Name("from")]).at;
        decoder.error(at, ProblemKind::InvalidValue, "an input has no `from`", "`from` belongs to an output");
    }
    if let Some(default) = field.default.clone()
        && let Err(mismatches) = field.value_type.accept(default, Undeclared::Reject)
    {
        let at = node.nearest(&[PathSegment::Name("default")]).at;
        for problem in mismatches.describe(&field.name) {
            decoder.error(at, ProblemKind::InvalidValue, format!("the default of {problem}"), "");
        }
    }
    Some(field)
}

fn output(decoder: &mut Decoder, node: &Node) -> Option<Field> {
    let field = read::<OUTPUTS_REQUIRED>(decoder, node)?;
    if field.default.is_some() {
        let at = node.nearest(&[PathSegment::Name("default")]).at;
        decoder.error(at, ProblemKind::InvalidValue, "an output has no default", "remove it");
    }
    Some(field)
}

fn read<const REQUIRED: bool>(decoder: &mut Decoder, node: &Node) -> Option<Field> {
    let mut fields = MapFields::new(decoder, node, "a field")?;
    let name = fields.required(decoder, "name", identifier);
    let property = read_type::<REQUIRED>(decoder, &mut fields, node);
    let default = fields.optional(decoder, "default", json);
    let from = fields.optional(decoder, "from", identifier);
    fields.finish(decoder);
    let property = property?;
    check_bounds(decoder, node.at, &property.value_type);
    Some(Field {
        name: name?,
        required: property.required,
        default: default?,
        from: from?,
        value_type: property.value_type,
    })
}

fn check_bounds(decoder: &mut Decoder, at: Position, value_type: &ValueType) {
    let (depth, nodes) = (value_type.depth(), value_type.nodes());
    if depth > TYPE_DEPTH_MAX {
        let found = format!("the type is nested {depth} levels deep");
        decoder.error(at, ProblemKind::TooDeep, found, format!("at most {TYPE_DEPTH_MAX}"));
    }
    if nodes > TYPE_NODES_MAX {
        let found = format!("the type consists of {nodes} types");
        decoder.error(at, ProblemKind::TooLarge, found, format!("at most {TYPE_NODES_MAX}"));
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
