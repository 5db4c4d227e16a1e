//! The document of the API, OpenAPI 3.1, made from the table of routes and from the JSON Schemas of the protocol's own
//! types, which are those that the pods read requests by.

use greenroom_protocol::event::RunEvent;
use greenroom_protocol::header::{IDEMPOTENCY_KEY, TIMEOUT, TRACEPARENT};
use greenroom_protocol::peek::Document;
use greenroom_protocol::subject::body::request_schema;
use greenroom_protocol::{ArtifactRef, Json, Reply};
use serde_json::{Map, json};
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Content, Info, OpenApiBuilder, Paths, Required};

use super::route::{Access, BodyKind, ResponseKind, Route, Verb};

/// Where a document has its schemas.
const SCHEMAS: &str = "#/components/schemas/";
/// Where a JSON Schema has the schemas that it uses.
const DEFINITIONS: &str = "#/$defs/";
/// The media type of a problem.
const PROBLEM_JSON: &str = "application/problem+json";
/// Problems of every route.
const COMMON_PROBLEMS: [u16; 2] = [400, 401];
/// Problems of every route that sends a request to the pods.
const CALLER_PROBLEMS: [u16; 5] = [403, 429, 500, 503, 504];

/// The document of these routes, as JSON.
pub(super) fn document(routes: &[Route]) -> Json {
    let mut paths = Paths::new();
    for route in routes {
        let method = match route.method {
            Verb::Get => HttpMethod::Get,
            Verb::Post => HttpMethod::Post,
        };
        paths.add_path_operation(route.path, vec![method], operation(route));
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let key = ApiKeyValue::with_description("Authorization", "`ApiKey` and the key, with a space between them.");
    let components = ComponentsBuilder::new()
        .security_scheme("bearer", bearer)
        .security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    let document = OpenApiBuilder::new()
        .info(Info::new("Greenroom", env!("CARGO_PKG_VERSION")))
        .paths(paths)
        .components(Some(components.build()))
        .build();
    let mut document = serde_json::to_value(&document).unwrap_or_default();
    if let Some(components) = document.get_mut("components").and_then(Json::as_object_mut) {
        components.insert("schemas".to_owned(), Json::Object(schemas()));
    }
    document
}

fn operation(route: &Route) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id))
        .tag(route.tag)
        .summary(Some(route.summary))
        .request_body(request_body(route.body));
    for parameter in parameters(route) {
        operation = operation.parameter(parameter);
    }
    for (status, kind, meaning) in route.responses {
        operation = operation.response(status.to_string(), response(*kind, meaning));
    }
    for status in problems(route) {
        operation = operation.response(status.to_string(), problem(status));
    }
    if route.access == Access::Public {
        return operation.build();
    }
    let schemes = ["bearer", "api_key"].map(|scheme| SecurityRequirement::new(scheme, [""; 0]));
    operation.securities(Some(schemes)).build()
}

/// The statuses of the problems of a route, each once, without those that its responses have.
fn problems(route: &Route) -> Vec<u16> {
    let of_callers: &[u16] = if route.access == Access::Public { &[] } else { &CALLER_PROBLEMS };
    let mut statuses: Vec<u16> = COMMON_PROBLEMS.iter().chain(of_callers).chain(route.problems).copied().collect();
    statuses.retain(|status| route.responses.iter().all(|(known, _, _)| known != status));
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn parameters(route: &Route) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        parameters.push(parameter(name, ParameterIn::Path, Required::True, "The id."));
    }
    for (name, meaning) in route.query {
        let required = if meaning.contains("required") { Required::True } else { Required::False };
        parameters.push(parameter(name, ParameterIn::Query, required, meaning));
    }
    let headers: &[(&str, &str)] = match (route.access, route.method) {
        (Access::Public, _) => &[],
        (Access::CallerOrToken, _) => &[("Last-Event-ID", "The number of the last event that the reader has.")],
        (Access::Caller, Verb::Get) => &[(TRACEPARENT, "The trace, as W3C Trace Context writes it.")],
        (Access::Caller, Verb::Post) => &[
            (IDEMPOTENCY_KEY, "A repetition with the same key gets the first reply."),
            (TIMEOUT, "Milliseconds for which the caller waits."),
            ("Prefer", "`respond-async` for the acceptance of a run, `wait=SECONDS` for a timeout."),
            (TRACEPARENT, "The trace, as W3C Trace Context writes it."),
        ],
    };
    for (name, meaning) in headers {
        parameters.push(parameter(name, ParameterIn::Header, Required::False, meaning));
    }
    parameters
}

fn parameter(name: &str, location: ParameterIn, required: Required, meaning: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(location)
        .required(required)
        .description(Some(meaning))
        .schema(Some(text))
        .build()
}

fn request_body(kind: BodyKind) -> Option<RequestBody> {
    let (media_type, schema, required) = match kind {
        BodyKind::None => return None,
        BodyKind::Optional(schema) => ("application/json", schema, Required::False),
        BodyKind::Required(schema) => ("application/json", schema, Required::True),
        BodyKind::Content => ("application/octet-stream", "Octets", Required::True),
    };
    Some(RequestBodyBuilder::new().required(Some(required)).content(media_type, content(schema)).build())
}

fn response(kind: ResponseKind, meaning: &str) -> Response {
    let response = ResponseBuilder::new().description(meaning);
    let response = match kind {
        ResponseKind::Empty => response,
        ResponseKind::Json(schema) => response.content("application/json", content(schema)),
        ResponseKind::JsonOrProblem(schema) => {
            response.content("application/json", content(schema)).content(PROBLEM_JSON, content("Problem"))
        }
        ResponseKind::JsonOrEvents(schema) => {
            response.content("application/json", content(schema)).content("text/event-stream", content("EventStream"))
        }
        ResponseKind::Events => response.content("text/event-stream", content("EventStream")),
        ResponseKind::Octets => response.content("application/octet-stream", content("Octets")),
        ResponseKind::Text(media_type) => response.content(media_type, content("Text")),
    };
    response.build()
}

fn problem(status: u16) -> Response {
    let meaning = match status {
        400 => "The request cannot be read.",
        401 => "The caller could not be authenticated.",
        402 => "The call would exceed a budget.",
        403 => "Policy denied the request.",
        404 => "The tenant of the caller has no such resource.",
        408 => "The body did not arrive in time.",
        409 => "The request conflicts with the state of its resource, or with another one of the same key.",
        413 => "The body is too large.",
        415 => "The body is of another media type.",
        416 => "The content has no byte in the range.",
        422 => "The inputs do not match the definition, or the definition is invalid.",
        429 => "A limit is reached; `Retry-After` has the delay.",
        501 => "The pods do not have the runtime of the definition.",
        502 => "A model has failed.",
        503 => "The pods take no requests at this moment; `Retry-After` has the delay.",
        504 => "The deadline passed before the work was finished.",
        _ => "The work has failed.",
    };
    ResponseBuilder::new().description(meaning).content(PROBLEM_JSON, content("Problem")).build()
}

fn content(schema: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(schema)))
}

/// The schemas that the document refers to.
fn schemas() -> Map<String, Json> {
    let mut schemas = Map::new();
    for (name, endpoint) in [
        ("InvokeBody", "agents_execute"),
        ("StartRunBody", "workflows_run"),
        ("StartTeamBody", "teams_execute"),
        ("Signal", "runs_signal"),
        ("EmptyBody", "runs_get"),
        ("Envelope", "requests"),
    ] {
        add(&mut schemas, name, request_schema(endpoint).cloned().unwrap_or_default());
    }
    add(&mut schemas, "Reply", Reply::schema().clone());
    add(&mut schemas, "ArtifactRef", schemars::schema_for!(ArtifactRef).to_value());
    add(&mut schemas, "RunEvent", schemars::schema_for!(RunEvent).to_value());
    let text = json!({ "type": "string" });
    let own = [
        ("ApprovalBody", object(&[("step", &text), ("call", &text)], &["step"])),
        ("RejectionBody", object(&[("step", &text), ("call", &text), ("reason", &text)], &["step"])),
        (
            "EventsToken",
            object(
                &[("token", &text), ("url", &text), ("expires_in_s", &json!({ "type": "integer" }))],
                &["token", "url", "expires_in_s"],
            ),
        ),
        ("Health", object(&[("status", &text), ("state", &text), ("version", &text)], &["status", "state"])),
        ("Ready", object(&[("status", &text)], &["status"])),
        ("Problem", problem_schema(&text)),
        (
            "EventStream",
            json!({
                "type": "string",
                "description": "Server-sent events. The events of a run have their number as `id`, their kind as type and a \
                                `RunEvent` as data. The progress of a call has the types `accepted`, `delta`, `restarted` \
                                and `reply`. A stream that fails ends with the type `error` and a `Problem`."
            }),
        ),
        (
            "McpMessage",
            json!({
                "type": "object",
                "description": "A message of the Model Context Protocol, which is one of JSON-RPC 2.0.",
                "properties": { "jsonrpc": { "const": "2.0" } },
                "required": ["jsonrpc"]
            }),
        ),
        ("Octets", json!({ "type": "string", "format": "binary" })),
        ("Text", text.clone()),
        ("OpenApi", json!({ "type": "object" })),
    ];
    for (name, schema) in own {
        add(&mut schemas, name, schema);
    }
    schemas
}

fn problem_schema(text: &Json) -> Json {
    let number = json!({ "type": "integer" });
    let reply = json!({ "$ref": format!("{SCHEMAS}Reply") });
    let details = json!({ "type": "object" });
    let members = [
        ("type", text),
        ("title", text),
        ("status", &number),
        ("detail", text),
        ("instance", text),
        ("code", text),
        ("details", &details),
        ("retry_after_ms", &number),
        ("reply", &reply),
    ];
    object(&members, &["type", "title", "status", "detail", "code"])
}

fn object(members: &[(&str, &Json)], required: &[&str]) -> Json {
    let members: Map<String, Json> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), (*schema).clone())).collect();
    json!({ "type": "object", "properties": members, "required": required })
}

/// Adds a schema, and beside it the schemas that it uses.
fn add(schemas: &mut Map<String, Json>, name: &str, mut schema: Json) {
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
        if let Some(Json::Object(definitions)) = members.remove("$defs") {
            for (name, definition) in definitions {
                if !schemas.contains_key(&name) {
                    add(schemas, &name, definition);
                }
            }
        }
    }
    move_references(&mut schema);
    schemas.insert(name.to_owned(), schema);
}

/// Lets the references of a schema name the schemas of the document.
fn move_references(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            if let Some(Json::String(reference)) = members.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(DEFINITIONS)
            {
                *reference = format!("{SCHEMAS}{name}");
            }
            members.values_mut().for_each(move_references);
        }
        Json::Array(items) => items.iter_mut().for_each(move_references),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
