//! What happens around each handler: a bridge without identities refuses the pages of other sites, every response is
//! counted, and has the headers that keep a browser from guessing and storing.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::{Cause, ErrorCode};

use super::mcp;
use super::problem::Problem;
use super::state::Bridge;

/// A response is of one caller and one moment.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Serves a request.
pub(super) async fn serve(State(bridge): State<Arc<Bridge>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let is_mcp = path.as_ref().is_some_and(|path| path.as_str() == mcp::PATH);
    let refusal = match bridge.has_identity {
        false => foreign(&bridge, request.uri(), request.headers()).map(Problem::new),
        // The protocol demands it, whatever the credential is.
        true if is_mcp => foreign_origin(&bridge, request.uri(), request.headers()).map(|origin| {
            let message = format!("no page of {origin} may send messages; see the setting http.cors_origins");
            Problem::invalid_as(StatusCode::FORBIDDEN, message)
        }),
        true => None,
    };
    let mut response = match refusal {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    bridge.counters.count_response(path.as_ref().map(MatchedPath::as_str), response.status());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The URL of a stream of events has a token.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    response
}

/// Why a request of a browser is refused: without identities, whatever page a user of this machine opens could send
/// requests, directly or by a name of its own that it resolves to this machine.
fn foreign(bridge: &Bridge, uri: &Uri, headers: &HeaderMap) -> Option<Cause> {
    if let Some(host) = host(uri, headers).filter(|host| !is_local(host)) {
        let message = format!(
            "without a configured identity, requests name this machine as their host, and not `{}`",
            host.chars().take(96).collect::<String>()
        );
        return Some(Cause::new(ErrorCode::Unauthenticated, message));
    }
    foreign_origin(bridge, uri, headers)?;
    let message = "without a configured identity, pages of other sites send no requests";
    Some(Cause::new(ErrorCode::Unauthenticated, message))
}

/// The site of a page that is neither of this bridge nor allowed, cut if it is long.
fn foreign_origin(bridge: &Bridge, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let origin = text(headers, ORIGIN.as_str())?;
    let host = host(uri, headers);
    let is_same = origin.split_once("://").is_some_and(|(_, authority)| host == Some(authority));
    let is_allowed = is_same || bridge.origins.iter().any(|allowed| allowed == origin);
    (!is_allowed).then(|| origin.chars().take(96).collect())
}

fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    uri.authority().map(|authority| authority.as_str()).or_else(|| text(headers, HOST.as_str()))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// True if a host, with or without a port, is this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_recognised_by_its_names() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8000"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "?", "localhost.example", "10.0.0.1", "[::2]:8000", "127.0.0.1.example:80", "a:127.0.0.1"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
