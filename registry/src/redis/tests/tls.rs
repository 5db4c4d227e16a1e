//! TLS: a server is used if a trusted authority has signed its certificate, and refused with the remedy if not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Failures, RECONNECT_WAIT_MAX, Redis, RedisError, RedisParts, prefix, until_available};
use crate::error::StoreError;

/// A variable that the test command sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `scripts/test` starts the servers and sets it"))
}

async fn connect_trusting(ca_file: Option<&Path>) -> Result<Redis, RedisError> {
    let url = variable("GREENROOM_TEST_REDIS_TLS_URL");
    Redis::connect(RedisParts { url: &url, ca_file, prefix: prefix(), observer: Arc::<Failures>::default() }).await
}

/// The error of a connection. A busy machine may not make one in time, which is no refusal.
async fn refusal(ca_file: Option<&Path>) -> RedisError {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        loop {
            if let Err(error) = connect_trusting(ca_file).await {
                return error;
            }
            interval.tick().await;
        }
    };
    tokio::time::timeout(RECONNECT_WAIT_MAX, waiting).await.unwrap()
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_the_configured_authority_is_used() {
    let redis = connect_trusting(Some(Path::new(&variable("GREENROOM_TEST_CA_FILE")))).await.unwrap();
    until_available(&redis).await;
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_no_trusted_authority_is_refused() {
    let other = PathBuf::from(variable("GREENROOM_TEST_OTHER_CA_FILE"));
    for ca_file in [Some(other.as_path()), None] {
        let error = refusal(ca_file).await;
        assert!(matches!(error, RedisError::Untrusted(_)), "{ca_file:?}: {error}");
        let cause = StoreError::from(error).cause();
        assert_eq!(cause.details["store"], "redis_untrusted");
        assert!(cause.message.contains("`redis.ca_file`"), "{cause}");
    }
}

#[tokio::test]
async fn a_file_that_has_no_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(Some(&dir.path().join("missing.pem"))).await;
    assert!(matches!(&error, RedisError::Untrusted(text) if text.contains("missing.pem")), "{error}");
}
