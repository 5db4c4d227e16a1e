//! Version 2 of the API for deployments: templates and endpoints in memory. As the real one, it refuses members that it does not
//! know.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{KEY, Reaction, RecordedCall, State};

/// The members of an endpoint.
const ENDPOINT_MEMBERS: [&str; 17] = [
    "name",
    "type",
    "image",
    "templateId",
    "registry",
    "args",
    "cpu",
    "gpu",
    "disk",
    "env",
    "ports",
    "workers",
    "scaling",
    "flashboot",
    "timeout",
    "dataCenterIds",
    "networkVolumes",
];
/// The members of a template.
const TEMPLATE_MEMBERS: [&str; 12] = [
    "name",
    "image",
    "serverless",
    "category",
    "disk",
    "args",
    "ports",
    "registry",
    "public",
    "env",
    "startSsh",
    "startJupyter",
];

/// What was created, by its id.
#[derive(Default)]
pub(super) struct Rest {
    endpoints: BTreeMap<String, Value>,
    templates: BTreeMap<String, Value>,
}

pub(super) fn react(state: &State, call: &RecordedCall) -> Reaction {
    if call.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) != Some(KEY) {
        return problem(401, "Unauthorized", &[]);
    }
    let path = call.target.split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.split('/').skip(3).collect();
    let mut rest = state.rest();
    match (call.method.as_str(), words.as_slice()) {
        ("GET", ["serverless"]) => Reaction::Json(200, json!({ "endpoints": list(&rest.endpoints) })),
        ("GET", ["templates"]) => Reaction::Json(200, json!({ "templates": list(&rest.templates) })),
        ("POST", ["serverless"]) => create(&mut rest.endpoints, "ep", call, &ENDPOINT_MEMBERS),
        ("POST", ["templates"]) => create(&mut rest.templates, "tpl", call, &TEMPLATE_MEMBERS),
        ("PATCH", ["serverless", id]) => change(&mut rest.endpoints, id, call, &ENDPOINT_MEMBERS),
        ("PATCH", ["templates", id]) => change(&mut rest.templates, id, call, &TEMPLATE_MEMBERS),
        ("GET", ["serverless", id, "workers"]) if rest.endpoints.contains_key(*id) => Reaction::Json(
            200,
            json!({ "workers": [{ "id": "w1", "status": "RUNNING" }, { "id": "w2", "status": "IDLE" }], "summary": {} }),
        ),
        ("GET", ["catalog", "cpus"]) => Reaction::Json(200, catalogue()),
        ("GET", ["billing", "serverless"]) => {
            Reaction::Json(200, json!({ "records": [{ "totalAmount": 0.25 }, { "totalAmount": 0.5 }] }))
        }
        _ => problem(404, "Not Found", &[]),
    }
}

/// The processors of serverless workers, with what is known of them.
fn catalogue() -> Value {
    let cpu = |id: &str, secure: f64, serverless: f64| {
        json!({
            "id": id, "ramGbPerVcpu": 2, "vcpu": { "min": 2, "max": 32 },
            "price": { "securePerVcpu": secure, "serverlessPerVcpu": serverless },
        })
    };
    json!({ "cpus": [cpu("cpu3c", 0.03, 0.04), cpu("cpu5c", 0.035, 0.05)] })
}

fn list(items: &BTreeMap<String, Value>) -> Vec<Value> {
    items.values().cloned().collect()
}

fn create(items: &mut BTreeMap<String, Value>, prefix: &str, call: &RecordedCall, members: &[&str]) -> Reaction {
    let mut body = call.json();
    if let Some(reaction) = refuse_unknown(&body, members) {
        return reaction;
    }
    let id = format!("{prefix}{}", items.len() + 1);
    if let Some(body) = body.as_object_mut() {
        body.insert("id".to_owned(), json!(id));
        body.insert("createdAt".to_owned(), json!("2026-11-30T00:00:00Z"));
    }
    items.insert(id, body.clone());
    Reaction::Json(201, body)
}

fn change(items: &mut BTreeMap<String, Value>, id: &str, call: &RecordedCall, members: &[&str]) -> Reaction {
    let patch = call.json();
    if let Some(reaction) = refuse_unknown(&patch, members) {
        return reaction;
    }
    let Some(item) = items.get_mut(id).and_then(Value::as_object_mut) else { return problem(404, "Not Found", &[]) };
    item.extend(patch.as_object().cloned().unwrap_or_default());
    Reaction::Json(200, json!(item))
}

fn refuse_unknown(body: &Value, members: &[&str]) -> Option<Reaction> {
    let Some(body) = body.as_object() else { return Some(problem(422, "the body is no object", &[])) };
    let unknown: Vec<&str> = body.keys().map(String::as_str).filter(|name| !members.contains(name)).collect();
    (!unknown.is_empty()).then(|| problem(422, "unevaluated properties", &unknown))
}

fn problem(status: u16, detail: &str, errors: &[&str]) -> Reaction {
    let body = json!({ "title": "Problem", "status": status, "detail": detail, "errors": errors });
    Reaction::Text(status, "application/problem+json", body.to_string(), "")
}
