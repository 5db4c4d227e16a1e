//! The members of a document that its JSON Schema does not name. Only the keywords are understood that the schemas of
//! this crate have.

use crate::value::Json;

/// Removes every unknown member, at any depth.
pub(super) fn remove_unknown(value: &mut Json, schema: &Json) {
    remove(value, &[schema], schema);
}

/// Returns the path of an unknown member.
pub(super) fn find_unknown(value: &Json, schema: &Json) -> Option<String> {
    find(value, &[schema], schema, "")
}

fn remove(value: &mut Json, schemas: &[&Json], root: &Json) {
    let parts = applicable(value, schemas, root);
    match value {
        Json::Object(members) => {
            members.retain(|name, member| match knowledge_of(name, &parts) {
                Knowledge::Open => true,
                Knowledge::Unknown => false,
                Knowledge::Known(schemas) => {
                    remove(member, &schemas, root);
                    true
                }
            });
        }
        Json::Array(items) => {
            let schemas = item_schemas(&parts);
            items.iter_mut().for_each(|item| remove(item, &schemas, root));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn find(value: &Json, schemas: &[&Json], root: &Json, path: &str) -> Option<String> {
    let parts = applicable(value, schemas, root);
    match value {
        Json::Object(members) => members.iter().find_map(|(name, member)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match knowledge_of(name, &parts) {
                Knowledge::Open => None,
                Knowledge::Unknown => Some(path),
                Knowledge::Known(schemas) => find(member, &schemas, root, &path),
            }
        }),
        Json::Array(items) => {
            let schemas = item_schemas(&parts);
            items.iter().enumerate().find_map(|(index, item)| find(item, &schemas, root, &format!("{path}[{index}]")))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}

/// The schemas that apply to a value.
struct Parts<'s> {
    schemas: Vec<&'s Json>,
    /// True if the value is none of the alternatives that a schema has, such as a variant of a later release: nothing is
    /// known about its members.
    is_open: bool,
}

/// What the schemas of an object state about one of its members.
enum Knowledge<'s> {
    /// The object may have any member.
    Open,
    /// The object has no such member.
    Unknown,
    /// The schemas of the member.
    Known(Vec<&'s Json>),
}

fn knowledge_of<'s>(name: &str, parts: &Parts<'s>) -> Knowledge<'s> {
    let properties = || parts.schemas.iter().filter_map(|part| part.get("properties"));
    let schemas: Vec<&Json> = properties().filter_map(|members| members.get(name)).collect();
    if !schemas.is_empty() {
        return Knowledge::Known(schemas);
    }
    let additional = || parts.schemas.iter().filter_map(|part| part.get("additionalProperties"));
    let schemas: Vec<&Json> = additional().filter(|schema| schema.is_object()).collect();
    if !schemas.is_empty() {
        return Knowledge::Known(schemas);
    }
    let allows_any = parts.is_open || additional().any(|schema| schema.as_bool() == Some(true));
    if allows_any || properties().next().is_none() { Knowledge::Open } else { Knowledge::Unknown }
}

fn item_schemas<'s>(parts: &Parts<'s>) -> Vec<&'s Json> {
    parts.schemas.iter().filter_map(|part| part.get("items")).collect()
}

/// The schemas that apply to a value: these, those that they refer to, and of their alternatives those that fit.
fn applicable<'s>(value: &Json, schemas: &[&'s Json], root: &'s Json) -> Parts<'s> {
    let mut parts = Parts { schemas: Vec::new(), is_open: false };
    let mut pending: Vec<&'s Json> = schemas.to_vec();
    while let Some(schema) = pending.pop() {
        parts.schemas.push(schema);
        pending.extend(find_ref(schema, root));
        pending.extend(list(schema, "allOf"));
        for keyword in ["oneOf", "anyOf"] {
            let alternatives: Vec<&'s Json> =
                list(schema, keyword).filter(|schema| fits(value, schema, root)).collect();
            parts.is_open |= alternatives.is_empty() && schema.get(keyword).is_some();
            pending.extend(alternatives);
        }
    }
    parts
}

fn find_ref<'s>(schema: &Json, root: &'s Json) -> Option<&'s Json> {
    let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
    root.get("$defs")?.get(name)
}

fn list<'s>(schema: &'s Json, keyword: &str) -> impl Iterator<Item = &'s Json> {
    schema.get(keyword).and_then(Json::as_array).into_iter().flatten()
}

/// True unless the value has another type, lacks a required member, or is tagged as another variant.
fn fits(value: &Json, schema: &Json, root: &Json) -> bool {
    let has_type = match schema.get("type") {
        Some(Json::String(name)) => is_type(value, name),
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).any(|name| is_type(value, name)),
        _ => true,
    };
    let has_required =
        list(schema, "required").filter_map(Json::as_str).all(|name| !value.is_object() || value.get(name).is_some());
    let tags = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let has_tags = tags
        .filter_map(|(name, member)| Some((name, member.get("const")?)))
        .all(|(name, tag)| value.get(name).is_none_or(|found| found == tag));
    has_type && has_required && has_tags && find_ref(schema, root).is_none_or(|schema| fits(value, schema, root))
}

fn is_type(value: &Json, name: &str) -> bool {
    match value {
        Json::Null => name == "null",
        Json::Bool(_) => name == "boolean",
        Json::Number(_) => matches!(name, "number" | "integer"),
        Json::String(_) => name == "string",
        Json::Array(_) => name == "array",
        Json::Object(_) => name == "object",
    }
}
