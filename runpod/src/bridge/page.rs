//! The page at `/` with its assets, and the document of the API that it shows. All of it is in the program: the page loads
//! nothing from elsewhere, and its policy forbids a browser to.

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use super::incoming::Incoming;

const HTML: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
/// What the page may load: its own assets.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The page.
pub(super) async fn page(_: Incoming) -> Response {
    let mut response = asset("text/html; charset=utf-8", HTML);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// Its style.
pub(super) async fn style(_: Incoming) -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

/// Its script.
pub(super) async fn script(_: Incoming) -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

/// The document of the API.
pub(super) async fn openapi(incoming: Incoming) -> Response {
    with_type("application/json", incoming.head.bridge.openapi.clone())
}

fn asset(media_type: &'static str, text: &'static str) -> Response {
    with_type(media_type, Bytes::from_static(text.as_bytes()))
}

fn with_type(media_type: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers: [(HeaderName, HeaderValue); 2] = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        // The next release of the process has another page at the same address.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    response.headers_mut().extend(headers);
    response
}
