//! What load balancers, operators and Prometheus read: whether the process lives, whether it takes requests, and its
//! counters. None of these routes needs a credential, and none reaches a pod.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use super::incoming::Incoming;
use super::problem::Problem;
use super::respond;
use super::state::Health;

/// The text format of Prometheus.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The health of a RunPod worker: 204 while it starts, 200 while it takes requests; any other status removes it from the
/// rotation.
pub(super) async fn ping(incoming: Incoming) -> Response {
    let status = match (incoming.head.bridge.host.health)() {
        Health::Starting => StatusCode::NO_CONTENT,
        Health::Ready => StatusCode::OK,
        Health::Unready(_) | Health::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    status.into_response()
}

/// Whether the process lives: it does if it replies.
pub(super) async fn health(incoming: Incoming) -> Result<Response, Problem> {
    let state = match (incoming.head.bridge.host.health)() {
        Health::Starting => "starting",
        Health::Ready => "ready",
        Health::Unready(_) => "unready",
        Health::Draining => "draining",
    };
    respond::json(StatusCode::OK, &json!({ "status": "ok", "state": state, "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether the process takes requests.
pub(super) async fn ready(incoming: Incoming) -> Result<Response, Problem> {
    match (incoming.head.bridge.host.health)() {
        Health::Ready => respond::json(StatusCode::OK, &json!({ "status": "ready" })),
        Health::Starting => Err(unready(Cause::new(ErrorCode::ShuttingDown, "the process starts"))),
        Health::Draining => Err(unready(Cause::new(ErrorCode::ShuttingDown, "the process drains"))),
        Health::Unready(cause) => Err(unready(cause)),
    }
}

/// The counters of the bridge, and the metrics of the process if they are for everyone who can connect.
pub(super) async fn metrics(incoming: Incoming) -> Response {
    let bridge = &incoming.head.bridge;
    let mut text = bridge.counters.render();
    if let Some(render) = &bridge.host.metrics {
        text.push_str(&render());
    }
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, TEXT_FORMAT);
    response
}

fn unready(cause: Cause) -> Problem {
    Problem::new(cause).with_status(StatusCode::SERVICE_UNAVAILABLE)
}
