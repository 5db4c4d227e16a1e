//! TLS and the API key: a server is used if a trusted authority has signed its certificate and it accepts the key, and
//! refused with the remedy if not.

use super::*;

async fn connect(ca_file: Option<&Path>, api_key: Option<&str>) -> Result<Qdrant, QdrantError> {
    let url = variable("GREENROOM_TEST_QDRANT_TLS");
    Server { url: &url, api_key, ca_file }.connect_hashed().await
}

fn authority() -> PathBuf {
    PathBuf::from(variable("GREENROOM_TEST_CA_FILE"))
}

/// The error of a connection. A busy machine may not make one in time, which is no refusal.
async fn refusal(ca_file: Option<&Path>, api_key: Option<&str>) -> QdrantError {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        loop {
            if let Err(error) = connect(ca_file, api_key).await {
                return error;
            }
            interval.tick().await;
        }
    };
    tokio::time::timeout(RECONNECT_WAIT_MAX, waiting).await.unwrap()
}

#[tokio::test]
async fn a_server_with_a_trusted_certificate_and_the_right_key_is_used() {
    let key = variable("GREENROOM_TEST_QDRANT_KEY");
    let store = connect(Some(&authority()), Some(&key)).await.unwrap().memory_store();
    remember(&store, "over TLS").await.unwrap();
    assert_eq!(recall(&store, &EmbedderId::hashed(), "over TLS").await.unwrap(), ["over TLS"]);
}

#[tokio::test]
async fn a_wrong_key_refuses_the_start_and_is_not_repeated() {
    for key in [None, Some("wrong-secret"), Some("line\nbreak-secret")] {
        let error = refusal(Some(&authority()), key).await;
        assert!(matches!(error, QdrantError::Rejected(_)), "{error}");
        let cause = StoreError::from(error).cause();
        assert!(cause.message.contains("`qdrant.api_key`") && !cause.message.contains("secret"), "{cause}");
    }
}

#[tokio::test]
async fn a_certificate_of_no_trusted_authority_refuses_the_start() {
    let key = variable("GREENROOM_TEST_QDRANT_KEY");
    let other = PathBuf::from(variable("GREENROOM_TEST_OTHER_CA_FILE"));
    for ca_file in [Some(other.as_path()), None] {
        let error = refusal(ca_file, Some(&key)).await;
        assert!(matches!(error, QdrantError::Untrusted(_)), "{ca_file:?}: {error}");
        let cause = StoreError::from(error).cause();
        assert_eq!(cause.details["store"], "qdrant_untrusted");
        assert!(cause.message.contains("`qdrant.ca_file`"), "{cause}");
    }
}

#[tokio::test]
async fn a_file_that_has_no_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(Some(&dir.path().join("missing.pem")), None).await;
    assert!(matches!(&error, QdrantError::Untrusted(text) if text.contains("missing.pem")), "{error}");
}
