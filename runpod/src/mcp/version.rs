//! The versions of the protocol. Up to 2025-11-25, a client begins with a handshake (`initialize`); from 2026-07-28 on, each
//! request states its version, and nothing precedes it (`server/discover` is optional). Both are served at the same time.

use greenroom_protocol::Json;
use serde_json::{Map, json};

use super::message::RpcError;

/// The versions without a handshake, the newest first.
const STATELESS: [&str; 1] = ["2026-07-28"];
/// The newest version with a handshake.
const NEWEST_HANDSHAKE: &str = "2025-11-25";
/// The versions with a handshake, the newest first.
const HANDSHAKE: [&str; 4] = [NEWEST_HANDSHAKE, "2025-06-18", "2025-03-26", "2024-11-05"];
/// The member of `_meta` with the version of a request.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
/// The member of `_meta` with the server of a result.
const SERVER_KEY: &str = "io.modelcontextprotocol/serverInfo";
/// How long a client may store a list, in milliseconds.
const LIST_AGE_MAX_MS: u64 = 30_000;

/// How a request and its result are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As in the versions with a handshake.
    Handshake,
    /// As in the versions without one.
    Stateless,
}

/// Whether a client may store a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultKind {
    /// It may not.
    Plain,
    /// It may, for itself.
    Cacheable,
}

/// The version that the parameters of a request state.
pub(super) fn stated(params: &Map<String, Json>) -> Option<&str> {
    params.get("_meta")?.get(VERSION_KEY)?.as_str()
}

/// True for a version with a handshake.
pub(crate) fn is_handshake(version: &str) -> bool {
    HANDSHAKE.contains(&version)
}

impl Dialect {
    /// The dialect of a request.
    ///
    /// # Errors
    /// The refusal of a version that is not supported.
    pub(super) fn of(params: &Map<String, Json>) -> Result<Self, RpcError> {
        match stated(params) {
            None => Ok(Self::Handshake),
            Some(version) if STATELESS.contains(&version) => Ok(Self::Stateless),
            Some(version) => Err(RpcError::unsupported_version(version, &STATELESS)),
        }
    }

    /// True if errors have statuses of HTTP.
    pub(super) const fn has_statuses(self) -> bool {
        match self {
            Self::Handshake => false,
            Self::Stateless => true,
        }
    }

    /// The result with the members that every result of this dialect has.
    pub(super) fn complete(self, mut result: Json, kind: ResultKind) -> Json {
        if let (Self::Stateless, Some(members)) = (self, result.as_object_mut()) {
            members.insert("resultType".to_owned(), json!("complete"));
            if kind == ResultKind::Cacheable {
                members.insert("ttlMs".to_owned(), json!(LIST_AGE_MAX_MS));
                members.insert("cacheScope".to_owned(), json!("private"));
            }
            let meta = members.entry("_meta").or_insert_with(|| json!({}));
            if let Some(meta) = meta.as_object_mut() {
                meta.insert(SERVER_KEY.to_owned(), server_info());
            }
        }
        result
    }
}

/// The result of the handshake: the version that the client requests, or the newest one with a handshake.
pub(super) fn initialize_result(params: &Map<String, Json>, instructions: &str) -> (Json, ResultKind) {
    let requested = params.get("protocolVersion").and_then(Json::as_str);
    let version = requested.filter(|version| HANDSHAKE.contains(version)).unwrap_or(NEWEST_HANDSHAKE);
    let result = json!({
        "protocolVersion": version, "capabilities": capabilities(), "serverInfo": server_info(),
        "instructions": instructions,
    });
    (result, ResultKind::Plain)
}

/// The result of a discovery.
pub(super) fn discover_result(instructions: &str) -> (Json, ResultKind) {
    let versions: Vec<&str> = STATELESS.into_iter().chain(HANDSHAKE).collect();
    let result = json!({ "supportedVersions": versions, "capabilities": capabilities(), "instructions": instructions });
    (result, ResultKind::Cacheable)
}

/// A list changes with the catalogue; a client that stores it requests it again.
fn capabilities() -> Json {
    json!({ "tools": { "listChanged": false } })
}

fn server_info() -> Json {
    json!({ "name": "greenroom", "title": "Greenroom", "version": env!("CARGO_PKG_VERSION") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: Json) -> Map<String, Json> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn the_handshake_has_the_version_of_the_client_or_the_newest_one() {
        for (requested, version) in [("2024-11-05", "2024-11-05"), ("2026-07-28", "2025-11-25"), ("x", "2025-11-25")] {
            let (result, _) = initialize_result(&params(json!({ "protocolVersion": requested })), "");
            assert_eq!(result["protocolVersion"], version, "{requested}");
        }
        assert_eq!(initialize_result(&Map::new(), "").0["protocolVersion"], "2025-11-25");
    }

    #[test]
    fn a_request_without_a_version_is_one_of_a_handshake() {
        assert_eq!(Dialect::of(&Map::new()), Ok(Dialect::Handshake));
        let stating = |version: &str| params(json!({ "_meta": { VERSION_KEY: version } }));
        assert_eq!(Dialect::of(&stating("2026-07-28")), Ok(Dialect::Stateless));
        assert!(Dialect::of(&stating("2099-01-01")).is_err());
        let plain = Dialect::Handshake.complete(json!({}), ResultKind::Cacheable);
        assert_eq!(plain, json!({}));
        let page = Dialect::Stateless.complete(json!({"_meta": {"a": 1}}), ResultKind::Cacheable);
        assert_eq!((&page["resultType"], &page["cacheScope"]), (&json!("complete"), &json!("private")));
        assert_eq!((&page["_meta"]["a"], &page["_meta"][SERVER_KEY]["name"]), (&json!(1), &json!("greenroom")));
    }
}
