//! Runs: the list, one of them, and what is sent to one.

use axum::response::Response;
use greenroom_protocol::subject::RunVerb;
use greenroom_protocol::{Envelope, IngressSubject, Json, Request, RunId, strict_json};
use serde_json::{Map, json};

use super::body::read_json;
use super::call::{envelope_of, send, serve};
use super::incoming::Incoming;
use super::problem::Problem;

/// The names of the query of a list.
pub(super) const LIST_QUERY: [&str; 4] = ["status", "workflow", "after", "limit"];

/// Lists the runs of the caller's tenant.
pub(super) async fn list(incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, .. } = incoming;
    let headers = head.request_headers()?;
    let mut values = head.query(&LIST_QUERY)?;
    let (mut filter, mut page) = (Map::new(), Map::new());
    for name in ["status", "workflow"] {
        filter.extend(values.remove_entry(name).map(|(name, value)| (name, Json::String(value))));
    }
    page.extend(values.remove_entry("after").map(|(name, value)| (name, Json::String(value))));
    if let Some(limit) = values.remove("limit") {
        let limit: u32 = limit.parse().map_err(|_| Problem::invalid("`limit` is a number of rows"))?;
        page.insert("limit".to_owned(), limit.into());
    }
    let query = json!({ "verb": "query", "query": "runs", "filter": filter, "page": page });
    send(head, headers, Envelope::new(Request::from_json(query)?)).await
}

/// Describes a run.
pub(super) async fn get(incoming: Incoming) -> Result<Response, Problem> {
    serve_verb(incoming, RunVerb::Get).await
}

/// Cancels a run.
pub(super) async fn cancel(incoming: Incoming) -> Result<Response, Problem> {
    serve_verb(incoming, RunVerb::Cancel).await
}

/// Resumes an interrupted run.
pub(super) async fn resume(incoming: Incoming) -> Result<Response, Problem> {
    serve_verb(incoming, RunVerb::Resume).await
}

/// Sends a signal to a run.
pub(super) async fn signal(incoming: Incoming) -> Result<Response, Problem> {
    serve_verb(incoming, RunVerb::Signal).await
}

/// Approves a step.
pub(super) async fn approve(incoming: Incoming) -> Result<Response, Problem> {
    resolve_approval(incoming, "approve").await
}

/// Rejects a step.
pub(super) async fn reject(incoming: Incoming) -> Result<Response, Problem> {
    resolve_approval(incoming, "reject").await
}

async fn serve_verb(incoming: Incoming, verb: RunVerb) -> Result<Response, Problem> {
    let run = incoming.head.id::<RunId>(0)?;
    serve(incoming, IngressSubject::Run { run, verb }).await
}

/// Sends a signal whose name is the path, and whose other members are the body.
async fn resolve_approval(incoming: Incoming, signal: &str) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    let (run, headers) = (head.id::<RunId>(0)?, head.request_headers()?);
    head.query(&[])?;
    let received = read_json(&head.bridge, &head.headers, body).await?;
    let mut members: Map<String, Json> = strict_json::from_slice(&received.bytes)
        .map_err(|error| Problem::invalid(format!("the body is an object with the member `step`: {error}")))?;
    if members.insert("signal".to_owned(), signal.into()).is_some() {
        return Err(Problem::invalid("the body has no member `signal`: the path names the signal"));
    }
    let body = Json::Object(members).to_string();
    let subject = IngressSubject::Run { run, verb: RunVerb::Signal };
    let envelope = envelope_of(subject, body.as_bytes(), headers.version)?;
    send(head, headers, envelope).await
}
