//! `native:check_openapi`: reads an OpenAPI 3 document, lists its operations and finds what breaks its users: broken
//! references, missing ids and responses, and path parameters that are not declared.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum operations of a document.
const OPERATIONS_MAX: usize = 500;
/// Maximum problems of a result.
const PROBLEMS_MAX: usize = 200;
/// Maximum nesting of a document.
const DEPTH_MAX: usize = 64;
/// Maximum bytes of a text of a result.
const TEXT_BYTES_MAX: usize = 300;
/// The methods of an operation.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The document as JSON or YAML.
    document: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The version of OpenAPI.
    openapi: String,
    title: Option<String>,
    version: Option<String>,
    operations: Vec<Operation>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Operation {
    method: String,
    path: String,
    id: Option<String>,
    statuses: Vec<String>,
    parameters: Vec<String>,
    has_body: bool,
    is_deprecated: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    /// Where it is, such as `GET /orders/{id}`.
    location: String,
    problem: String,
}

/// The tool.
pub(crate) struct CheckOpenapi;

impl Computation for CheckOpenapi {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "check_openapi";
    const DESCRIPTION: &'static str = "Checks an OpenAPI 3 document: its operations with parameters and statuses, \
                                       broken references, duplicate ids, and undeclared path parameters.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let document = read(&arguments.document)?;
        let text = |pointer: &str| document.pointer(pointer).and_then(Json::as_str).map(cut);
        let openapi = text("/openapi").filter(|version| version.starts_with("3."));
        let openapi = openapi.ok_or_else(|| invalid("the document has no `openapi: 3.…`"))?;
        let mut findings = Findings { problems: Vec::new() };
        // The types of the crate are those of 3.0; a document of 3.1 is checked by the rules below only.
        if openapi.starts_with("3.0")
            && let Err(error) = serde_json::from_value::<openapiv3::OpenAPI>(document.clone())
        {
            findings.add("document", error.to_string());
        }
        check_references(&document, &document, "#", &mut findings);
        let operations = operations(&document, &mut findings)?;
        Ok(Output {
            openapi,
            title: text("/info/title"),
            version: text("/info/version"),
            operations,
            problems: findings.problems,
        })
    }
}

/// Parses JSON, or YAML without tags.
fn read(text: &str) -> Result<Json, Cause> {
    let document: Json = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| invalid(format!("the document is no JSON: {error}")))?
    } else if has_anchor(text) {
        return Err(invalid("YAML with anchors is not read: write each value out, or send JSON"));
    } else {
        serde_yaml_ng::from_str(text).map_err(|error| invalid(format!("the document is no YAML: {error}")))?
    };
    if depth(&document, 0) > DEPTH_MAX {
        return Err(invalid(format!("the document nests at most {DEPTH_MAX} deep")));
    }
    Ok(document)
}

/// Whether the text has an anchor. Without one there is no alias, so the document is not larger than its text.
fn has_anchor(text: &str) -> bool {
    let starts_value = |before: Option<char>| before.is_none_or(|c| c.is_whitespace() || matches!(c, '[' | ',' | '{'));
    text.match_indices('&').any(|(at, _)| {
        let (before, after) = text.split_at(at);
        let is_name = after.chars().nth(1).is_some_and(|c| !c.is_whitespace());
        is_name && starts_value(before.chars().next_back())
    })
}

/// The nesting of a value, counted to just above the bound.
fn depth(value: &Json, above: usize) -> usize {
    if above > DEPTH_MAX {
        return above;
    }
    match value {
        Json::Object(members) => members.values().map(|member| depth(member, above + 1)).max().unwrap_or(above),
        Json::Array(items) => items.iter().map(|item| depth(item, above + 1)).max().unwrap_or(above),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => above,
    }
}

struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, location: &str, problem: impl AsRef<str>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { location: cut(location), problem: cut(problem.as_ref()) });
        }
    }
}

fn cut(text: &str) -> String {
    truncate_utf8(text, TEXT_BYTES_MAX).to_owned()
}

/// Every `$ref` within the document has a target.
fn check_references(document: &Json, value: &Json, location: &str, findings: &mut Findings) {
    match value {
        Json::Object(members) => {
            for (name, member) in members {
                if let ("$ref", Json::String(reference)) = (name.as_str(), member)
                    && let Some(pointer) = reference.strip_prefix('#')
                    && document.pointer(pointer).is_none()
                {
                    findings.add(location, format!("`{reference}` does not exist"));
                }
                check_references(document, member, &format!("{location}/{}", truncate_utf8(name, 60)), findings);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| check_references(document, item, location, findings)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn operations(document: &Json, findings: &mut Findings) -> Result<Vec<Operation>, Cause> {
    let mut operations = Vec::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    let paths = document.get("paths").and_then(Json::as_object);
    for (path, item) in paths.into_iter().flatten() {
        if !path.starts_with('/') {
            findings.add(path, "a path begins with `/`");
        }
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let location = format!("{} {path}", method.to_uppercase());
            let read = read_operation(document, item, operation, method, path);
            if read.statuses.is_empty() {
                findings.add(&location, "the operation has no response");
            } else if !read.statuses.iter().any(|status| status.starts_with(['2', '3']) || status == "default") {
                findings.add(&location, "the operation has no successful response");
            }
            match &read.id {
                None => findings.add(&location, "the operation has no `operationId`"),
                Some(id) => {
                    if let Some(other) = ids.insert(id.clone(), location.clone()) {
                        findings.add(&location, format!("`{id}` is the `operationId` of {other} too"));
                    }
                }
            }
            check_parameters(&location, path, &read.parameters, findings);
            if read.has_body && matches!(method, "get" | "head" | "delete") {
                findings.add(&location, "a request of this method has no body that servers must read");
            }
            operations.push(read);
        }
        require_at_most("operations", operations.len(), OPERATIONS_MAX)?;
    }
    if operations.is_empty() {
        findings.add("paths", "the document has no operation");
    }
    Ok(operations)
}

fn read_operation(document: &Json, item: &Json, operation: &Json, method: &str, path: &str) -> Operation {
    let resolve = |value: &Json| -> Option<Json> {
        match value.get("$ref").and_then(Json::as_str) {
            Some(reference) => document.pointer(reference.strip_prefix('#')?).cloned(),
            None => Some(value.clone()),
        }
    };
    let lists = [item.get("parameters"), operation.get("parameters")];
    let parameters = lists.into_iter().flatten().filter_map(Json::as_array).flatten().filter_map(|parameter| {
        let parameter = resolve(parameter)?;
        let member = |name: &str| parameter.get(name).and_then(Json::as_str).map(cut);
        Some(format!("{}:{}", member("in")?, member("name")?))
    });
    let parameters: BTreeSet<String> = parameters.collect();
    let statuses = operation.get("responses").and_then(Json::as_object);
    Operation {
        method: method.to_uppercase(),
        path: cut(path),
        id: operation.get("operationId").and_then(Json::as_str).map(cut),
        statuses: statuses.map(|responses| responses.keys().map(|status| cut(status)).collect()).unwrap_or_default(),
        parameters: parameters.into_iter().collect(),
        has_body: operation.get("requestBody").is_some(),
        is_deprecated: operation.get("deprecated") == Some(&Json::Bool(true)),
    }
}

/// The names in the braces of a path are its declared path parameters.
fn check_parameters(location: &str, path: &str, parameters: &[String], findings: &mut Findings) {
    let in_path: BTreeSet<&str> =
        path.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name).collect();
    let declared: BTreeSet<&str> = parameters.iter().filter_map(|name| name.strip_prefix("path:")).collect();
    for name in in_path.difference(&declared) {
        findings.add(location, format!("the path has `{{{name}}}`, which is no declared path parameter"));
    }
    for name in declared.difference(&in_path) {
        findings.add(location, format!("the path parameter `{name}` is not in the path"));
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::CheckOpenapi;

    fn problems(document: &Value) -> String {
        let output = compute_json::<CheckOpenapi>(json!({ "document": document.to_string() })).unwrap();
        output["problems"].to_string()
    }

    #[test]
    fn a_sound_document_has_no_problem() {
        let yaml = "openapi: 3.0.3\ninfo: { title: Orders, version: '1' }\npaths:\n  /orders/{id}:\n    get:\n      \
                    operationId: readOrder\n      parameters:\n        - { name: id, in: path, required: true, \
                    schema: { type: string } }\n      responses:\n        '200': { description: ok }\n";
        let output = compute_json::<CheckOpenapi>(json!({ "document": yaml })).unwrap();
        assert_eq!((&output["problems"], &output["title"]), (&json!([]), &json!("Orders")), "{output}");
        let operation = &output["operations"][0];
        assert_eq!((&operation["parameters"], &operation["statuses"]), (&json!(["path:id"]), &json!(["200"])));
    }

    #[test]
    fn each_problem_is_found() {
        let found = problems(&json!({
            "openapi": "3.1.0", "info": { "title": "x", "version": "1" },
            "paths": { "/a/{x}": {
                "get": {
                    "operationId": "same", "requestBody": {}, "responses": { "404": { "$ref": "#/components/none" } }
                },
                "post": { "operationId": "same", "parameters": [{ "in": "path", "name": "y" }], "responses": {} }
            } }
        }));
        for word in
            ["does not exist", "too", "{x}", "`y` is not in the path", "no response", "no successful", "no body"]
        {
            assert!(found.contains(word), "{word}: {found}");
        }
        assert!(problems(&json!({ "openapi": "3.0.0", "paths": {} })).contains("info"));
    }

    #[test]
    fn what_is_no_document_is_rejected() {
        let deep = format!("{{\"openapi\":\"3.1.0\",\"x\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        for document in ["", "{", "openapi: 2.0", "a: &x 1", "a: [", deep.as_str()] {
            let cause = compute_json::<CheckOpenapi>(json!({ "document": document })).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{document}");
        }
    }
}
