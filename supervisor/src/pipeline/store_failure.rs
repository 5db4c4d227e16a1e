//! A failure of the store, for the user and for the log: which store it is, and why it failed. S3 is another store, whose
//! failures have its name.

use greenroom_protocol::{Cause, ErrorCode, Json, RequestId};
use greenroom_registry::S3Fault;

use crate::config::StoreConfig;

/// The member of the details that names the database.
const DATABASE: &str = "database";

/// Adds the path of the database to a cause of its store, and logs it; any other cause, and that of a nested request,
/// is returned as it is.
pub(crate) fn name_store(cause: Cause, store: &StoreConfig, request: Option<&RequestId>) -> Cause {
    let StoreConfig::Sqlite { path, .. } = store else { return cause };
    if !matches!(cause.code, ErrorCode::StoreUnavailable | ErrorCode::AuditUnavailable | ErrorCode::OutcomeUnknown) {
        return cause;
    }
    let mut cause = cause;
    let is_database = |detail: &Json| S3Fault::ALL.iter().all(|fault| detail != fault.as_str());
    let details = cause.details.as_object_mut();
    let Some(details) = details.filter(|details| details.get("store").is_some_and(is_database)) else {
        return cause;
    };
    let path = path.display().to_string();
    if details.insert(DATABASE.to_owned(), Json::String(path.clone())).is_some() {
        return cause;
    }
    tracing::error!(
        request.id = request.map(tracing::field::display), error.code = %cause.code, error.message = cause.message,
        store.path = path, "store failed"
    );
    if !cause.message.contains(&path) {
        cause.message.push_str(&format!(" ({path})"));
    }
    cause
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use greenroom_registry::{StoreError, SyncMode};

    use super::*;

    #[test]
    fn a_cause_of_the_store_names_its_path_once() {
        let store = StoreConfig::Sqlite { path: PathBuf::from("/data/x.db"), sync: SyncMode::Full };
        let named = name_store(StoreError::ReadOnly.cause(), &store, None);
        assert!(named.message.ends_with(" (/data/x.db)"), "{}", named.message);
        assert_eq!(named.details, serde_json::json!({ "store": "read_only", "database": "/data/x.db" }));
        assert_eq!(name_store(named.clone(), &store, None), named, "the cause of a nested request is named already");
        let unknown = name_store(StoreError::OutcomeUnknown.cause(), &store, None);
        assert_eq!(unknown.details["database"], "/data/x.db", "{unknown}");
        let s3 = StoreError::S3 { fault: S3Fault::Slow, reason: "no reply within 60s".to_owned() }.cause();
        assert_eq!(name_store(s3.clone(), &store, None), s3, "it is not the database that is slow");
        let other = Cause::new(ErrorCode::UnknownRun, "there is no run");
        assert_eq!(name_store(other.clone(), &store, None), other);
        assert_eq!(name_store(StoreError::Full.cause(), &StoreConfig::Memory, None), StoreError::Full.cause());
    }
}
