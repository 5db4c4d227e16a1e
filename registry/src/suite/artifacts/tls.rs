//! S3 over HTTPS: a server is used if a trusted authority has signed its certificate, and refused with the remedy if not.

use std::path::PathBuf;

use super::*;
use crate::S3Fault;

fn settings(unique: &TempDir, ca_file: Option<PathBuf>) -> S3Settings {
    S3Settings { endpoint: Some(variable("GREENROOM_TEST_S3_TLS_URL")), ca_file, ..s3_settings(unique) }
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_the_configured_authority_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = PathBuf::from(variable("GREENROOM_TEST_CA_FILE"));
    let store = open_s3_artifacts(settings(&dir, Some(ca_file)), test_ids()).await.unwrap();
    // Two parts, and a reply that is longer than the buffers of TLS.
    let content = content_of(6 * 1024 * 1024);
    let hash = store.put(&owner("acme"), content.clone(), "text/plain", "x").await.unwrap().hash;
    assert!(store.get(&tenant("acme"), &hash, u64::MAX).await.unwrap() == Some(content));
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_no_trusted_authority_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = PathBuf::from(variable("GREENROOM_TEST_OTHER_CA_FILE"));
    for ca_file in [Some(other), Some(dir.path().join("missing.pem")), None] {
        let error = open_s3_artifacts(settings(&dir, ca_file.clone()), test_ids()).await.err().unwrap();
        assert!(matches!(error, StoreError::S3 { fault: S3Fault::Untrusted, .. }), "{ca_file:?}: {error}");
        let cause = error.cause();
        assert_eq!(cause.details["store"], "s3_untrusted");
        assert!(cause.message.contains("`s3.ca_file` (S3_CA_FILE)"), "{cause}");
    }
}
