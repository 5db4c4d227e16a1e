//! The events of a run as a stream, and the tokens by which a browser reads them.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use greenroom_protocol::event::{EventNumber, InvalidEventNumber};
use greenroom_protocol::request::Query;
use greenroom_protocol::subject::RunVerb;
use greenroom_protocol::{Credential, IngressSubject, Request, RunId};
use serde_json::json;
use tokio::time::timeout;

use super::body::read_json;
use super::call::envelope_of;
use super::incoming::{Head, Incoming};
use super::problem::Problem;
use super::respond;
use super::run_events::RunEvents;
use super::sse::{self, AtDrain, SseEvent};

/// The names of the query of a stream.
pub(super) const WATCH_QUERY: [&str; 2] = ["token", "after"];
/// Lifetime of a token.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// How long the first event is awaited: a refusal that arrives by then has a status of its own.
const FIRST_EVENT_WAIT: Duration = Duration::from_secs(1);
/// A number after every event, by which nothing is read. It is a number of the stores.
const AFTER_EVERYTHING: EventNumber = EventNumber::after_entry(u32::MAX as u64);

/// Streams the events of a run.
pub(super) async fn watch(incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, .. } = incoming;
    let run = head.id::<RunId>(0)?;
    let query = head.query(&WATCH_QUERY)?;
    let credential = credential(&head, &run, query.get("token").map(String::as_str))?;
    let after = head.text("Last-Event-ID").or_else(|| query.get("after").map(String::as_str)).unwrap_or("0");
    let after: EventNumber =
        after.trim().parse().map_err(|error: InvalidEventNumber| Problem::invalid(error.to_string()))?;
    let mut events = RunEvents::new(head.bridge.client(credential), run, after);
    let first = match timeout(FIRST_EVENT_WAIT, events.next()).await {
        Ok(Ok(Some(event))) => Some(event),
        // The reader has the last event: an `EventSource` does not connect again after this status.
        Ok(Ok(None)) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Err(cause)) => return Err(cause.into()),
        Err(_elapsed) => None,
    };
    let rest = stream::unfold(Some(events), |events| async move {
        let mut events = events?;
        match events.next().await {
            Ok(Some(event)) => Some((event, Some(events))),
            Ok(None) => None,
            Err(cause) => Some((SseEvent::unnumbered("error", Problem::new(cause).document()), None)),
        }
    });
    Ok(sse::respond(&head.bridge, stream::iter(first).chain(rest).boxed(), AtDrain::Ends))
}

/// The credential of a reader: that of the header, or that of the token.
fn credential(head: &Head, run: &RunId, token: Option<&str>) -> Result<Option<Credential>, Problem> {
    let credential = head.request_headers()?.credential;
    match token {
        None => Ok(credential),
        Some(_) if credential.is_some() => {
            Err(Problem::invalid("send the header `Authorization` or a token, not both"))
        }
        Some(token) => Ok(head.bridge.tokens.open(token, run, head.bridge.host.clock.now())?),
    }
}

/// Issues a token for the events of a run that the caller may watch.
pub(super) async fn issue_token(incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    let (run, headers) = (head.id::<RunId>(0)?, head.request_headers()?);
    head.query(&[])?;
    let received = read_json(&head.bridge, &head.headers, body).await?;
    // The body is empty, or an object without members: as that of a request for the run itself.
    let subject = IngressSubject::Run { run: run.clone(), verb: RunVerb::Get };
    envelope_of(subject, &received.bytes, headers.version)?;
    let client = head.bridge.client(headers.credential.clone());
    let query = Query::Events { run: run.clone(), after: AFTER_EVERYTHING };
    let mut reply = client.request(Request::Query(query)).send().await?;
    if let Some(cause) = respond::failure(&mut reply) {
        return Err(Problem::of_reply(cause, reply));
    }
    let expires_at = head.bridge.host.clock.now().saturating_add(TOKEN_LIFETIME);
    let token = head.bridge.tokens.seal(&run, headers.credential, expires_at)?;
    let document = json!({
        "token": token, "expires_in_s": TOKEN_LIFETIME.as_secs(), "url": format!("/v1/runs/{run}/events?token={token}"),
    });
    respond::json(StatusCode::CREATED, &document)
}
