//! The description of a route: what the router, the document of the API, the counters and the tests need to know of it.

use std::sync::Arc;

use axum::routing::MethodRouter;

use super::state::Bridge;

/// The method of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `GET`, and `HEAD`, which has the headers of `GET` without the content.
    Get,
    /// `POST`.
    Post,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever can connect.
    Public,
    /// An authenticated caller, whom the pods and their policy permit it.
    Caller,
    /// As [`Access::Caller`], or whoever has a token for exactly this.
    CallerOrToken,
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// None: whatever is sent is not read.
    None,
    /// JSON with this schema, or nothing.
    Optional(&'static str),
    /// JSON with this schema.
    Required(&'static str),
    /// Content of any media type.
    Content,
}

/// The content of a successful response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseKind {
    /// None.
    Empty,
    /// JSON with this schema.
    Json(&'static str),
    /// JSON with this schema, or a problem: a status that both have.
    JsonOrProblem(&'static str),
    /// JSON with this schema, or a stream of events if the caller accepts one.
    JsonOrEvents(&'static str),
    /// A stream of events.
    Events,
    /// Bytes.
    Octets,
    /// Text of this media type.
    Text(&'static str),
}

/// One route.
pub struct Route {
    /// Its method.
    pub method: Verb,
    /// Its path, with its variable parts in braces.
    pub path: &'static str,
    /// Its name in the document of the API.
    pub id: &'static str,
    /// The group in which the document and the page list it.
    pub tag: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Who may use it.
    pub access: Access,
    /// The names of its query, each with its meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// Its body.
    pub body: BodyKind,
    /// The successful responses: status, content and meaning.
    pub responses: &'static [(u16, ResponseKind, &'static str)],
    /// Statuses of problems beside those that every route with its access has.
    pub problems: &'static [u16],
    /// Its handler.
    pub(super) handler: fn() -> MethodRouter<Arc<Bridge>>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.method, self.path)
    }
}
