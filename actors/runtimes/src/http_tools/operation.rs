//! Finds the operations of a document that can be tools, with their parameters and bodies.
//!
//! ```text
//! parameter   one parameter, and how it is written
//! template    the path of an operation
//! ```

pub(super) mod parameter;
pub(super) mod template;

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::Json;
use greenroom_protocol::value::truncate_utf8;
use reqwest::Method;
use serde_json::{Map, json};

use super::references::resolve;
use super::schema::SchemaReader;
use crate::foreign::visible_text;
use crate::outbound::response::is_json;

use parameter::{Declaration, Location, Parameter};
use template::PathTemplate;

/// Maximum operations of a document.
const OPERATIONS_MAX: usize = 2_000;
/// Maximum parameters of an operation.
const PARAMETERS_MAX: usize = 64;
/// Maximum bytes of the id of an operation.
const ID_BYTES_MAX: usize = 128;
/// Maximum bytes of the description of a tool.
const DESCRIPTION_BYTES_MAX: usize = 1_000;
/// Maximum bytes of the schemas of all operations, as compact JSON.
const SCHEMA_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The methods of tools, as a document writes them.
static METHODS: [(&str, Method); 6] = [
    ("get", Method::GET),
    ("head", Method::HEAD),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
];
/// The arguments that a body may have as its name.
const BODY_NAMES: [&str; 2] = ["body", "request_body"];

/// One operation.
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) method: Method,
    pub(super) path: PathTemplate,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    /// The schema of the arguments: an object.
    pub(super) schema: Json,
}

/// The body of an operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// The argument that has it.
    pub(super) argument: &'static str,
    pub(super) is_required: bool,
    pub(super) media_type: String,
    pub(super) form: BodyForm,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    Json,
    UrlEncoded,
    Text,
}

/// The operations that are tools, and why others are not.
pub(super) struct FoundOperations {
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) skipped: Vec<String>,
}

/// An operation where the document has it.
struct Located<'a> {
    id: Option<&'a str>,
    method: &'static Method,
    path: &'a str,
    item: &'a Json,
    operation: &'a Json,
}

/// Finds the operations of a document: those with these ids, or all.
///
/// # Errors
/// A fragment that names an id that is there twice, or one of the ids that is missing or can be no tool.
pub(super) fn find(root: &Json, wanted: Option<&[String]>) -> Result<FoundOperations, String> {
    let located = locate(root)?;
    let mut ids = BTreeSet::new();
    if let Some(id) = located.iter().filter_map(|located| located.id).find(|id| !ids.insert(*id)) {
        return Err(format!("the document has the operation id `{}` twice", truncate_utf8(id, ID_BYTES_MAX)));
    }
    if let Some(missing) = wanted.into_iter().flatten().find(|id| !ids.contains(id.as_str())) {
        return Err(format!("the document has no operation with the id `{missing}`"));
    }
    let mut found = FoundOperations { operations: BTreeMap::new(), skipped: Vec::new() };
    let mut schema_bytes = 0_usize;
    for located in &located {
        let label = || format!("{} {}", located.method, truncate_utf8(located.path, ID_BYTES_MAX));
        let Some(id) = located.id else {
            found.skipped.push(format!("{}: it has no `operationId`", label()));
            continue;
        };
        if wanted.is_some_and(|wanted| wanted.iter().all(|wanted| wanted != id)) {
            continue;
        }
        let operation = read(root, located, id).and_then(|operation| {
            schema_bytes = schema_bytes.saturating_add(operation.schema.to_string().len());
            let problem = || format!("the operations before it have {SCHEMA_BYTES_MAX} bytes of schemas");
            (schema_bytes <= SCHEMA_BYTES_MAX).then_some(operation).ok_or_else(problem)
        });
        match operation {
            Ok(operation) => drop(found.operations.insert(id.to_owned(), operation)),
            Err(problem) if wanted.is_some() => return Err(format!("the operation `{id}` can be no tool: {problem}")),
            Err(problem) => found.skipped.push(format!("{}: {problem}", label())),
        }
    }
    Ok(found)
}

fn locate(root: &Json) -> Result<Vec<Located<'_>>, String> {
    let mut all = Vec::new();
    let paths = root.get("paths").and_then(Json::as_object);
    for (path, item) in paths.into_iter().flatten() {
        let Some(item) = resolve(root, item) else { continue };
        for (name, method) in &METHODS {
            let Some(operation) = item.get(name).filter(|operation| operation.is_object()) else { continue };
            let id = operation.get("operationId").and_then(Json::as_str);
            all.push(Located { id, method, path, item, operation });
        }
        if all.len() > OPERATIONS_MAX {
            return Err(format!("the document has more than {OPERATIONS_MAX} operations"));
        }
    }
    Ok(all)
}

/// Reads one operation.
///
/// # Errors
/// Why it can be no tool.
fn read(root: &Json, located: &Located<'_>, id: &str) -> Result<Operation, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.chars().all(is_plain) {
        return Err("its id has other characters than letters, digits and `_-./`, or too many".to_owned());
    }
    let mut declared = parameters(root, located)?;
    let path = PathTemplate::parse(located.path)?;
    for name in path.parameters() {
        let is_declared =
            |one: &&mut Declaration<'_>| one.parameter.location == Location::Path && one.parameter.name == name;
        match declared.iter_mut().find(is_declared) {
            // A path without it is another path.
            Some(declared) => declared.parameter.is_required = true,
            None => return Err(format!("the parameter `{name}` of its path is not declared")),
        }
    }
    let (body, body_schema) = match located.operation.get("requestBody") {
        Some(body) => read_body(root, body, &declared)?,
        None => (None, None),
    };
    let schema = arguments_schema(root, &declared, body.as_ref(), body_schema);
    Ok(Operation {
        id: id.to_owned(),
        description: description(located),
        method: located.method.clone(),
        path,
        parameters: declared.into_iter().map(|declared| declared.parameter).collect(),
        body,
        schema,
    })
}

/// The parameters: those of the path, replaced by those of the operation with the same name and location.
fn parameters<'a>(root: &'a Json, located: &Located<'a>) -> Result<Vec<Declaration<'a>>, String> {
    let mut all: Vec<Declaration<'a>> = Vec::new();
    for owner in [located.item, located.operation] {
        let declared = owner.get("parameters").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        for declared in declared {
            let declared = resolve(root, declared).ok_or("a parameter is elsewhere")?;
            let Some(declared) = Declaration::parse(declared)? else { continue };
            let (location, name) = (declared.parameter.location, &declared.parameter.name);
            all.retain(|other| other.parameter.location != location || other.parameter.name != *name);
            all.push(declared);
            if all.len() > PARAMETERS_MAX {
                return Err(format!("it has more than {PARAMETERS_MAX} parameters"));
            }
        }
    }
    // Parameters of two locations may have one name.
    let names: Vec<String> = all.iter().map(|one| one.parameter.name.clone()).collect();
    for parameter in all.iter_mut().map(|declared| &mut declared.parameter) {
        if names.iter().filter(|name| **name == parameter.name).count() > 1 {
            parameter.argument = format!("{}_{}", parameter.location.as_str(), parameter.name);
        }
    }
    Ok(all)
}

type BodyAndSchema<'a> = (Option<Body>, Option<&'a Json>);

/// The body in the first form that a tool can write.
fn read_body<'a>(root: &'a Json, body: &'a Json, declared: &[Declaration<'_>]) -> Result<BodyAndSchema<'a>, String> {
    let body = resolve(root, body).ok_or("its body is elsewhere")?;
    let is_required = body.get("required") == Some(&Json::Bool(true));
    let content = body.get("content").and_then(Json::as_object);
    let essence = |name: &str| name.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let forms = content.into_iter().flatten().filter_map(|(name, media)| {
        let form = match essence(name).as_str() {
            json if is_json(json) => BodyForm::Json,
            "*/*" => BodyForm::Json,
            "application/x-www-form-urlencoded" => BodyForm::UrlEncoded,
            "text/plain" => BodyForm::Text,
            _ => return None,
        };
        Some((form, essence(name), media))
    });
    let rank = |form: BodyForm| match form {
        BodyForm::Json => 0,
        BodyForm::UrlEncoded => 1,
        BodyForm::Text => 2,
    };
    let Some((form, media_type, media)) = forms.min_by_key(|(form, _, _)| rank(*form)) else {
        return match is_required {
            true => Err("its body is neither JSON, a form nor plain text".to_owned()),
            false => Ok((None, None)),
        };
    };
    let media_type = if media_type == "*/*" { "application/json".to_owned() } else { media_type };
    let is_used = |name: &&str| declared.iter().any(|one| one.parameter.argument == *name);
    let argument =
        BODY_NAMES.into_iter().find(|name| !is_used(name)).ok_or("its parameters have the names of a body")?;
    Ok((Some(Body { argument, is_required, media_type, form }), media.get("schema")))
}

/// One object with all parameters and the body.
fn arguments_schema(
    root: &Json,
    declared: &[Declaration<'_>],
    body: Option<&Body>,
    body_schema: Option<&Json>,
) -> Json {
    let mut reader = SchemaReader::new(root);
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for Declaration { parameter, schema, description } in declared {
        let mut schema = schema.map_or_else(|| json!({}), |schema| reader.read(schema));
        if let (Some(members), Some(description)) = (schema.as_object_mut(), description) {
            members.insert("description".to_owned(), description.clone().into());
        }
        properties.insert(parameter.argument.clone(), schema);
        if parameter.is_required {
            required.push(parameter.argument.as_str());
        }
    }
    if let Some(body) = body {
        let schema = body_schema.map_or_else(|| json!({}), |schema| reader.read(schema));
        properties.insert(body.argument.to_owned(), schema);
        if body.is_required {
            required.push(body.argument);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// What the tool does, in the words of the document.
fn description(located: &Located<'_>) -> String {
    let text = |name: &str| located.operation.get(name).and_then(Json::as_str).map(str::trim).unwrap_or_default();
    let texts: Vec<&str> = [text("summary"), text("description")].into_iter().filter(|text| !text.is_empty()).collect();
    match texts.is_empty() {
        true => visible_text(&format!("{} {}", located.method, located.path), DESCRIPTION_BYTES_MAX),
        false => visible_text(&texts.join("\n\n"), DESCRIPTION_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests;
