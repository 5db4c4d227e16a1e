//! Servers that refuse: each refusal is a coded error with its remedy, at the start and later, and nothing of a refused
//! request is stored.

use greenroom_protocol::ErrorCode;

use super::{open_error, wait_until};
use crate::core::Unit;
use crate::error::{ServerFault, StoreError};
use crate::journal::{JournalError, Seq};
use crate::postgres::connection::{check_functions, connect, parse_url};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{NOW, TestStores, opening, run_id, started};
use crate::{examine_postgres, migrate_postgres};

/// Requires a password of this role (`scripts/servers.sh`).
const PASSWORD_ROLE: &str = "greenroom_password";

/// Fails unless the cause of an error has this detail and this remedy.
#[track_caller]
fn expect_cause(error: &StoreError, detail: &str, remedy: &str) {
    let cause = error.cause();
    assert_eq!((cause.code, &cause.details["store"]), (ErrorCode::StoreUnavailable, &detail.into()), "{cause}");
    assert!(cause.message.contains(remedy), "{cause}");
}

/// The error of the start of a run.
async fn create_error(stores: &TestStores, number: u128) -> StoreError {
    match stores.create(&crate::suite::new_run(number), None).await {
        Err(JournalError::Store(error)) => error,
        other => panic!("an error of the store is expected: {other:?}"),
    }
}

/// A role with the rights of a pod and this many connections, and the URL of the database for it.
async fn create_role(database: &TestDatabase, connections: i32) -> String {
    let create = format!("CREATE ROLE {{name}} LOGIN CONNECTION LIMIT {connections}");
    let grants = [
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {name}",
    ];
    database.execute_named(&["DROP ROLE IF EXISTS {name}", &create]).await;
    database.execute_named(&grants).await;
    let name = database.name().to_owned();
    database.url_with(|options| options.username(&name))
}

#[tokio::test]
async fn a_user_a_password_and_a_database_that_the_server_does_not_know_are_refused() {
    let database = TestDatabase::migrated().await;
    let unknown = database.url_with(|options| options.database("greenroom_test_none"));
    for error in [
        open_error(&unknown).await,
        migrate_postgres(&unknown).await.unwrap_err(),
        examine_postgres(&unknown, None).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Refused { fault: ServerFault::NoDatabase, .. }), "{error}");
        expect_cause(&error, "no_database", "create the database");
    }
    let stranger = database.url_with(|options| options.username("greenroom_test_stranger"));
    expect_cause(&open_error(&stranger).await, "denied", "check the user");
    // Another test run may have created the role.
    let create = format!(
        "DO $$ BEGIN CREATE ROLE {PASSWORD_ROLE} LOGIN PASSWORD 'right'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    );
    database.execute_named(&[&create]).await;
    let with_password =
        |password: &'static str| database.url_with(move |options| options.username(PASSWORD_ROLE).password(password));
    let error = open_error(&with_password("wrong-secret")).await;
    expect_cause(&error, "denied", "pg_hba.conf");
    let text = format!("{error:?}");
    assert!(text.contains("password authentication failed") && !text.contains("wrong-secret"), "{text}");
    // The password is right, and the user has no right.
    let error = open_error(&with_password("right")).await;
    assert!(error.to_string().contains("permission denied"), "{error}");
    expect_cause(&error, "denied", "the rights of the URL");
}

#[tokio::test]
async fn a_server_without_a_free_connection_refuses_a_start_a_read_and_a_lane_and_is_used_again_later() {
    let database = TestDatabase::migrated().await;
    let url = create_role(&database, -1).await;
    let stores = open_pod(&url, "pod_a", 1).await.unwrap();
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'";
    database.execute_named(&["ALTER ROLE {name} CONNECTION LIMIT 0", terminate]).await;
    let no_connections =
        |error: &StoreError| matches!(error, StoreError::Refused { fault: ServerFault::NoConnections, .. });
    let error = open_error(&url).await;
    assert!(no_connections(&error), "{error}");
    expect_cause(&error, "no_connections", "raise `max_connections`");
    let error = stores.stores.runs.get(&run_id(1)).await.unwrap_err();
    assert!(no_connections(&error), "{error}");
    // The lane has sent nothing yet, and waits for a connection within the time of its callers.
    let error = create_error(&stores, 1).await;
    assert!(no_connections(&error), "{error}");
    database.execute_named(&["ALTER ROLE {name} CONNECTION LIMIT -1"]).await;
    stores.create_run(1).await;
    assert_eq!(database.count("SELECT count(*) FROM runs").await, 1);
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

#[tokio::test]
async fn a_database_that_becomes_read_only_refuses_units_and_transactions_until_it_can_be_written() {
    let database = TestDatabase::migrated().await;
    let stores = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    database.execute_named(&["ALTER DATABASE {name} SET default_transaction_read_only = on"]).await;
    for number in 1..=2 {
        let error = create_error(&stores, number).await;
        assert!(matches!(error, StoreError::ReadOnly), "{error}");
        expect_cause(&error, "read_only", "default_transaction_read_only");
    }
    assert!(stores.stores.core.open_entry(opening(1), NOW).await.is_err());
    let hash = greenroom_protocol::ContentHash::from_content(b"x");
    let error = stores.stores.definitions.put(&hash, "x").await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    assert_eq!(stores.stores.runs.get(&run_id(1)).await.unwrap(), None, "it can be read");
    database
        .execute_named(&[
            "SET default_transaction_read_only = off",
            "ALTER DATABASE {name} RESET default_transaction_read_only",
        ])
        .await;
    stores.create_run(1).await;
    // A session that has begun before is read-only to its end, and is used once more at most.
    wait_until(async || stores.stores.definitions.put(&hash, "x").await.is_ok()).await;
    assert!(stores.stores.audit.verify().await.unwrap().is_valid());
}

/// The error with which a server fails a statement whose table cannot grow on a full disk. A trigger raises it, because
/// the tests cannot fill the disk of the server.
const FULL_DISK: [&str; 4] = [
    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
    "CREATE TRIGGER full_disk BEFORE INSERT ON journal FOR EACH STATEMENT EXECUTE FUNCTION full_disk()",
    "CREATE TRIGGER full_disk BEFORE INSERT ON audit FOR EACH STATEMENT EXECUTE FUNCTION full_disk()",
    "CREATE TRIGGER full_disk BEFORE INSERT ON definition_versions FOR EACH STATEMENT EXECUTE FUNCTION full_disk()",
];

#[tokio::test]
async fn a_full_disk_refuses_new_work_and_accepted_work_is_written_when_there_is_space() {
    let database = TestDatabase::migrated().await;
    let stores = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let fence = stores.create_run(1).await;
    let entry = stores.stores.core.open_entry(opening(1), NOW).await.unwrap();
    database.execute_named(&FULL_DISK).await;
    let appended = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await;
    assert!(matches!(appended, Err(JournalError::Store(StoreError::Full))), "{appended:?}");
    expect_cause(&StoreError::Full, "disk_full", "free some space");
    let hash = greenroom_protocol::ContentHash::from_content(b"x");
    assert!(matches!(stores.stores.definitions.put(&hash, "x").await, Err(StoreError::Full)));
    // What has happened is written later.
    let closed = stores.stores.core.commit(Unit::new(NOW).close(entry, crate::suite::closing())).await;
    assert!(closed.is_err());
    let tables = ["journal", "audit", "definition_versions"].map(|table| format!("DROP TRIGGER full_disk ON {table}"));
    database.execute_named(&tables.each_ref().map(String::as_str)).await;
    let receipt = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
    assert_eq!(receipt.through(), Seq(1));
    let report = stores.stores.audit.verify().await.unwrap();
    assert!(report.is_valid() && report.records == 2, "{report:?}");
    assert_eq!(database.count("SELECT count(*) FROM audit_open").await, 0, "the entry is closed");
    assert_eq!(database.count("SELECT count(*) FROM journal").await, 1);
}

#[tokio::test]
async fn a_database_without_a_function_is_refused_and_reported_by_the_check() {
    let database = TestDatabase::migrated().await;
    let stores = open_pod(&database.url(), "pod_a", 1).await.unwrap();
    let drop_function = "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid::regprocedure FROM pg_proc \
                         WHERE proname IN ('greenroom_commit_v2', 'greenroom_commit_plain_v1') \
                         LOOP EXECUTE 'DROP FUNCTION ' || f; END LOOP; END $$";
    let mut connection = connect(&parse_url(&database.url()).unwrap()).await.unwrap();
    check_functions(&mut connection).await.unwrap();
    database.execute(drop_function).await;
    let error = open_error(&database.url()).await;
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("greenroom_commit_v2")), "{error}");
    expect_cause(&error, "corrupt", "restore a backup");
    let report = examine_postgres(&database.url(), None).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("greenroom_commit_v2")), "{report:?}");
    // A pod that has started before fails each request, and nothing of it is stored.
    let error = create_error(&stores, 1).await;
    assert!(matches!(error, StoreError::Version(_)), "{error}");
    assert_eq!(database.count("SELECT count(*) FROM runs").await, 0);
}
