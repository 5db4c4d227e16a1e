//! The cause of each error of a store.

use super::*;

#[test]
fn a_full_disk_has_a_detail_of_its_own() {
    let full = StoreError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
    assert!(matches!(full, StoreError::Full));
    let cause = full.cause();
    assert_eq!(cause.code, ErrorCode::StoreUnavailable);
    assert_eq!(cause.details, serde_json::json!({"store": "disk_full"}));
    assert_eq!(full.audit_cause().code, ErrorCode::AuditUnavailable);
}

#[test]
fn the_list_of_details_has_that_of_each_error_of_a_database() {
    let text = || "for the test".to_owned();
    let errors = [
        StoreError::Full,
        StoreError::Disk(text()),
        StoreError::ReadOnly,
        StoreError::Locked,
        StoreError::Corrupt(text()),
        StoreError::Version(text()),
        StoreError::Unmigrated(text()),
        StoreError::Closed,
        StoreError::Timeout,
        StoreError::OutcomeUnknown,
        StoreError::Overrun,
        StoreError::Codec(text()),
        StoreError::Chain(text()),
        StoreError::HeadPruned { signed: 1, first: 2 },
        StoreError::OtherDatabase(text()),
        StoreError::OtherDirectory(text()),
        StoreError::Unreachable(text()),
        StoreError::Failed(text()),
    ];
    let details = errors.map(|error| error.cause().details["store"].as_str().unwrap().to_owned());
    assert_eq!(details, STORE_ERROR_DETAILS);
}

#[test]
fn a_pod_whose_lease_has_lapsed_may_serve_the_request_later() {
    let cause = StoreError::Lapsed.cause();
    assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::LeaseLost, true));
    assert_eq!((cause.details, cause.retry_after_ms), (serde_json::json!({"store": "lapsed"}), Some(1_000)));
}

#[test]
fn a_pod_that_was_declared_dead_has_lost_its_lease() {
    let cause = StoreError::PodDead.cause();
    assert_eq!((cause.code, cause.details), (ErrorCode::LeaseLost, serde_json::json!({"store": "pod_dead"})));
}

#[test]
fn each_fault_of_s3_has_a_detail_of_its_own() {
    let details: std::collections::BTreeSet<_> = S3Fault::ALL.map(S3Fault::as_str).into();
    assert_eq!(details.len(), S3Fault::ALL.len());
    let cause = StoreError::S3 { fault: S3Fault::ClockSkewed, reason: "403 RequestTimeTooSkewed".into() }.cause();
    assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::StoreUnavailable, true));
    assert_eq!(cause.details, serde_json::json!({"store": "s3_clock_skewed"}));
    assert!(cause.message.contains("RequestTimeTooSkewed; set the clock"), "{cause}");
}

#[test]
fn each_refusal_of_a_server_has_a_detail_and_a_remedy_of_its_own() {
    let causes = ServerFault::ALL.map(|fault| StoreError::Refused { fault, reason: "for the test".into() }.cause());
    let details: std::collections::BTreeSet<_> = causes.iter().map(|cause| cause.details.to_string()).collect();
    assert_eq!(details.len(), ServerFault::ALL.len());
    assert!(causes.iter().all(|cause| cause.code == ErrorCode::StoreUnavailable));
    assert!(causes[0].message.contains("for the test; raise `max_connections`"), "{}", causes[0]);
    assert_eq!(causes[1].details, serde_json::json!({"store": "denied"}));
}

#[test]
fn an_unknown_outcome_is_retried_with_the_same_key() {
    let cause = StoreError::OutcomeUnknown.cause();
    assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::OutcomeUnknown, true));
    assert!(cause.message.contains("same idempotency key"), "{cause}");
    assert_eq!(StoreError::OutcomeUnknown.audit_cause().code, ErrorCode::AuditUnavailable);
}
