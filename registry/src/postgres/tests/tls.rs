//! TLS: a server is used if a trusted authority has signed its certificate, and refused with the remedy if not.

use sqlx::postgres::PgSslMode;

use super::open_error;
use crate::audit::signer::Signer;
use crate::error::{ServerFault, StoreError};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::run_id;
use crate::{examine_postgres, migrate_postgres};

/// A variable that the test command sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `scripts/test` starts the servers and sets it"))
}

/// The URL of a database that demands TLS, with the certificates in this file.
fn tls_url(database: &TestDatabase, mode: PgSslMode, ca_file: Option<&str>) -> String {
    let url = database.url_with(|options| options.ssl_mode(mode));
    match ca_file {
        // The driver writes the file into a URL in a form that it does not read.
        Some(ca_file) => format!("{url}&sslrootcert={ca_file}"),
        None => url,
    }
}

/// Fails unless no connection to the database can be trusted, whatever it is for, and waiting would not help.
async fn expect_untrusted(url: &str, reason: &str) {
    for error in [
        open_error(url).await,
        migrate_postgres(url).await.unwrap_err(),
        examine_postgres(url, None).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Refused { fault: ServerFault::Untrusted, .. }), "{error}");
        assert!(!error.is_outage() && error.to_string().contains(reason), "{error}");
        let cause = error.cause();
        assert_eq!(cause.details["store"], "untrusted");
        assert!(cause.message.contains("`sslrootcert`") && cause.message.contains("DATABASE_URL"), "{cause}");
    }
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_the_named_authority_is_used_over_tls() {
    let database = TestDatabase::empty().await;
    let url = tls_url(&database, PgSslMode::VerifyFull, Some(&variable("GREENROOM_TEST_CA_FILE")));
    migrate_postgres(&url).await.unwrap();
    let stores = open_pod(&url, "pod_a", 1).await.unwrap();
    stores.create_run(1).await;
    assert!(stores.stores.runs.get(&run_id(1)).await.unwrap().is_some());
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE datname = current_database() AND ssl";
    assert!(database.count(encrypted).await >= 2, "of the lane and of the readers");
    // The connection of this test has another name.
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = current_database() AND NOT ssl AND application_name = 'greenroom'";
    assert_eq!(database.count(plain).await, 0);
    let signer = Signer::ephemeral([7; 32]);
    assert!(examine_postgres(&url, Some(signer.chain_key())).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_no_trusted_authority_is_refused() {
    let database = TestDatabase::migrated().await;
    let other = variable("GREENROOM_TEST_OTHER_CA_FILE");
    for mode in [PgSslMode::VerifyFull, PgSslMode::VerifyCa] {
        for ca_file in [Some(other.as_str()), None] {
            expect_untrusted(&tls_url(&database, mode, ca_file), "invalid peer certificate").await;
        }
    }
    // Without a check of the certificate, the same server is used.
    open_pod(&tls_url(&database, PgSslMode::Require, None), "pod_a", 1).await.unwrap();
}

#[tokio::test]
async fn a_file_that_has_no_certificate_is_refused_with_its_path() {
    let database = TestDatabase::migrated().await;
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.pem");
    let url = |mode| tls_url(&database, mode, missing.to_str());
    expect_untrusted(&url(PgSslMode::VerifyFull), "missing.pem").await;
    // A file that is not read is no reason to refuse.
    open_pod(&url(PgSslMode::Require), "pod_a", 1).await.unwrap();
}
