//! A failure of the store, for the user and for the log: which store it is, and why it failed.

use greenroom_protocol::{Cause, ErrorCode, Json, RequestId};

use crate::config::StoreConfig;

/// The member of the details that names the database.
const DATABASE: &str = "database";

/// Adds the database to a cause of its store, and logs it; any other cause, and that of a nested request,
/// is returned as it is.
pub(crate) fn name_store(cause: Cause, store: &StoreConfig, request: Option<&RequestId>) -> Cause {
    let Some(database) = store.database() else { return cause };
    if !matches!(cause.code, ErrorCode::StoreUnavailable | ErrorCode::AuditUnavailable | ErrorCode::OutcomeUnknown) {
        return cause;
    }
    let mut cause = cause;
    let Some(details) = cause.details.as_object_mut().filter(|details| details.contains_key("store")) else {
        return cause;
    };
    if details.insert(DATABASE.to_owned(), Json::String(database.clone())).is_some() {
        return cause;
    }
    tracing::error!(
        request.id = request.map(tracing::field::display), error.code = %cause.code, error.message = cause.message,
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

    use greenroom_registry::{StoreError, SyncMode};

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
        let other = Cause::new(ErrorCode::UnknownRun, "there is no run");
        assert_eq!(name_store(other.clone(), &store, None), other);
        assert_eq!(name_store(StoreError::Full.cause(), &StoreConfig::Memory, None), StoreError::Full.cause());
        let server = StoreConfig::Postgres { url: Secret::new("postgres://u:pw@h/app?password=pw") };
        let named = name_store(StoreError::Full.cause(), &server, None);
        assert_eq!(named.details["database"], "postgres://***@h/app", "{named}");
        assert!(!named.to_string().contains("pw"), "{named}");
    }
}
