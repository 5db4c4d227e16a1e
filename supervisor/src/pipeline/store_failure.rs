//! A failure of the store, for the user and for the log: which store it is, and why it failed. S3 is another store, whose
//! failures have its name.

use greenroom_protocol::{Cause, ErrorCode, Json, RequestId};
use greenroom_registry::S3Fault;

use crate::config::StoreConfig;
use crate::telemetry::Metrics;

/// What the kinds of the failures of Redis and of Qdrant begin with. They are none of the database.
const OTHER_SERVERS: [&str; 2] = ["redis_", "qdrant_"];
/// The member of the details that names the database.
const DATABASE: &str = "database";
/// The codes of requests that failed because of the database.
const FAILURES: [ErrorCode; 4] =
    [ErrorCode::StoreUnavailable, ErrorCode::AuditUnavailable, ErrorCode::OutcomeUnknown, ErrorCode::TimedOut];

/// Adds the database to a cause of its store, logs it, and counts it if it is that of a request. Any other cause, and that
/// of a nested request, is returned as it is.
pub(crate) fn name_store(cause: Cause, store: &StoreConfig, request: Option<(&RequestId, &Metrics)>) -> Cause {
    let Some(database) = store.database() else { return cause };
    if !FAILURES.contains(&cause.code) {
        return cause;
    }
    let mut cause = cause;
    let is_of_database = |kind: &Json| {
        let is_of = |kind: &str| {
            OTHER_SERVERS.iter().all(|server| !kind.starts_with(server))
                && S3Fault::ALL.iter().all(|fault| kind != fault.as_str())
        };
        kind.as_str().is_none_or(is_of)
    };
    let details = cause.details.as_object_mut();
    let Some(details) = details.filter(|details| details.get("store").is_some_and(is_of_database)) else {
        return cause;
    };
    if details.insert(DATABASE.to_owned(), Json::String(database.clone())).is_some() {
        return cause;
    }
    if let (Some((_, metrics)), Some(kind)) = (request, details.get("store").and_then(Json::as_str)) {
        metrics.store_failures().count(kind);
    }
    tracing::error!(
        request.id = request.map(|(id, _)| tracing::field::display(id)), error.code = %cause.code, error.message = cause.message,
        store.database = database, "store failed"
    );
    if !cause.message.contains(&database) {
        cause.message.push_str(&format!(" ({database})"));
    }
    cause
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use greenroom_registry::qdrant::error::QdrantError;
    use greenroom_registry::redis::error::RedisError;
    use greenroom_registry::{ServerFault, StoreError, SyncMode};

    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_cause_of_the_store_names_its_path_once() {
        let store = StoreConfig::Sqlite { path: PathBuf::from("/data/x.db"), sync: SyncMode::Full };
        let named = name_store(StoreError::ReadOnly.cause(), &store, None);
        assert!(named.message.ends_with(" (/data/x.db)"), "{}", named.message);
        assert_eq!(named.details, serde_json::json!({ "store": "read_only", "database": "/data/x.db" }));
        assert_eq!(name_store(named.clone(), &store, None), named, "the cause of a nested request is named already");
        let unknown = name_store(StoreError::OutcomeUnknown.cause(), &store, None);
        assert_eq!(unknown.details["database"], "/data/x.db", "{unknown}");
        let waited = Cause::new(ErrorCode::TimedOut, "the deadline passed");
        assert_eq!(name_store(waited.clone(), &store, None), waited, "not because of the store");
        let s3 = StoreError::S3 { fault: S3Fault::Slow, reason: "no reply within 60s".to_owned() }.cause();
        assert_eq!(name_store(s3.clone(), &store, None), s3, "it is not the database that is slow");
        let other = Cause::new(ErrorCode::UnknownRun, "there is no run");
        assert_eq!(name_store(other.clone(), &store, None), other);
        assert_eq!(name_store(StoreError::Full.cause(), &StoreConfig::Memory, None), StoreError::Full.cause());
        let server = StoreConfig::Postgres { url: Secret::new("postgres://u:pw@h/app?password=pw") };
        let named = name_store(StoreError::Full.cause(), &server, None);
        assert_eq!(named.details["database"], "postgres://***@h/app", "{named}");
        assert!(!named.to_string().contains("pw"), "{named}");
        let redis = StoreError::Redis(RedisError::Full).cause();
        assert_eq!(name_store(redis.clone(), &store, None), redis, "it is no failure of the database");
        let qdrant = StoreError::Qdrant(QdrantError::Timeout).cause();
        assert_eq!(name_store(qdrant.clone(), &store, None), qdrant, "nor is it one of the database");
    }

    #[test]
    fn the_failure_of_a_request_is_counted_once() {
        let server = StoreConfig::Postgres { url: Secret::new("postgres://u:pw@h/app") };
        let (metrics, request) = (Metrics::new().unwrap(), RequestId::from_u128(1));
        let fault = ServerFault::NoConnections;
        let cause = StoreError::Refused { fault, reason: "for the test".to_owned() }.audit_cause();
        let named = name_store(cause, &server, Some((&request, &metrics)));
        assert_eq!(name_store(named.clone(), &server, Some((&request, &metrics))), named);
        let page = metrics.render();
        assert!(page.contains("store_failures{error=\"no_connections\"} 1"), "{page}");
    }
}
