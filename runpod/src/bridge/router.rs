//! The router: every route of the table with its handler, problems for what no route matches, and around all of it the
//! checks and, if configured, CORS.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use greenroom_protocol::{Cause, ErrorCode};
use tower_http::cors::CorsLayer;

use super::middleware;
use super::problem::Problem;
use super::state::Bridge;
use super::table::ROUTES;

/// How long a browser may store the permissions of an origin.
const CORS_TIME_MAX: Duration = Duration::from_secs(600);

/// The router of a bridge.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] if an origin cannot be a header.
pub(super) fn router(bridge: &Arc<Bridge>) -> Result<Router, Cause> {
    let mut router: Router<Arc<Bridge>> = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    let router = router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(bridge), middleware::serve))
        .with_state(Arc::clone(bridge));
    Ok(match cors(&bridge.origins)? {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

async fn no_route() -> Problem {
    Problem::new(Cause::new(ErrorCode::UnknownRecord, "no route has this path; `/openapi.json` has all of them"))
}

async fn no_method() -> Problem {
    Problem::invalid_as(StatusCode::METHOD_NOT_ALLOWED, "the route has another method; the header `Allow` names it")
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, Cause> {
    if origins.is_empty() {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(origins.len());
    for origin in origins {
        let value = HeaderValue::from_str(origin).map_err(|_| {
            Cause::new(ErrorCode::InvalidConfiguration, format!("http.cors_origins: {origin:?} is no origin"))
        })?;
        values.push(value);
    }
    let own = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let mut allowed = own(&[
        "idempotency-key",
        "traceparent",
        "prefer",
        "last-event-id",
        "greenroom-deadline",
        "greenroom-timeout",
        "greenroom-request-id",
        "greenroom-version",
    ]);
    allowed.extend([header::AUTHORIZATION, header::CONTENT_TYPE, header::RANGE, header::IF_NONE_MATCH]);
    let mut exposed = own(&["greenroom-code", "greenroom-version", "preference-applied"]);
    exposed.extend([header::LOCATION, header::RETRY_AFTER, header::CONTENT_RANGE, header::ETAG]);
    let layer = CorsLayer::new()
        .allow_origin(values)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers(allowed)
        .expose_headers(exposed)
        .max_age(CORS_TIME_MAX);
    Ok(Some(layer))
}
