//! The functions look up what they are given by key, whatever else the same pod has reserved, the same tree contains or the
//! cluster has in flight. They use the plans of an empty database, which they are planned on.

use sqlx::{AssertSqlSafe, Connection as _};

use crate::suite::postgres::TestDatabase;
use crate::suite::{TestStores, run_id};

/// Rows that a call of a function may read of a table for one thing that it names; there are a thousand others.
const READ_MAX: i64 = 10;

/// A plain batch that has only these parameters, the first of which has this position.
fn plain_batch(position: usize, parameters: &[String]) -> String {
    let (before, after) = ("NULL, ".repeat(position), ", NULL".repeat(54 - position - parameters.len()));
    format!(
        "SELECT greenroom_commit_plain_v1(c.pod, 1000, c.chain, c.number, {before}{}{after}) FROM audit_chains c",
        parameters.join(", ")
    )
}

/// Executes a statement, and returns what it has changed or returned as a text, and the rows of a table that it has read.
async fn rows_read(database: &TestDatabase, table: &str, statement: String) -> (String, i64) {
    let mut connection = database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    let result: Option<String> =
        sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *transaction).await.unwrap();
    let read = "SELECT COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables \
                WHERE relname = $1";
    let read: i64 = sqlx::query_scalar(read).bind(table).fetch_one(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    (result.unwrap_or_default(), read)
}

/// Adds the reservations of a thousand calls in flight, numbered from 1, each of a run of its own.
async fn add_reservations(database: &TestDatabase) {
    let reserve = "INSERT INTO reservations (pod, n, key, issuer, tenant, user_id, agent, workflow, model, assumed, budgets, \
                                             tokens_input, tokens_output, cost, at) \
                   SELECT c.pod, n, 'run_' || n || '/a', 'config', 'acme', 'ada', 'a', 'w', 'scripted.m', false, \
                          ARRAY['{\"Run\":\"run_' || n || '\"}', '{\"Tenant\":\"acme\"}'], 1, 1, 1, 1 \
                   FROM audit_chains c, generate_series(1, 1000) n";
    database.execute(reserve).await;
    database.execute("INSERT INTO accounts (account, day) VALUES ('{\"Run\":\"run_7\"}', 1)").await;
}

#[tokio::test]
async fn a_reply_reads_its_own_key_and_none_of_the_others_that_the_pod_has_reserved() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    let reserve = "INSERT INTO idempotency_keys (key, tenant, request_hash, at, holder) \
                   SELECT 'key_' || n, 'acme', '', n, c.pod FROM audit_chains c, generate_series(1, 1000) n";
    database.execute(reserve).await;
    let reply = ["ARRAY['key_7']", "ARRAY['acme']", "ARRAY[1::bigint]", "ARRAY['{}']"].map(str::to_owned);
    let (result, read) = rows_read(database, "idempotency_keys", plain_batch(49, &reply)).await;
    assert!(result.contains("committed") && (1..=READ_MAX).contains(&read), "{result} {read}");
}

#[tokio::test]
async fn an_append_reads_its_own_run_and_no_other_one_of_its_tree() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    stores.create_run(1).await;
    let add = "INSERT INTO runs (run, tenant, principal, workflow, version, root, request_hash, personal_data, status, \
                                 ended, pending_approvals, seq, created, updated) \
               SELECT run || '_' || n, tenant, principal, workflow, version, root, request_hash, personal_data, status, \
                      ended, pending_approvals, seq, created, updated FROM runs, generate_series(1, 1000) n";
    database.execute(add).await;
    let number = database.count("SELECT number FROM trees").await;
    let seq = database.count("SELECT seq FROM runs WHERE run = root").await;
    let append = [
        format!("ARRAY[{number}::bigint]"),
        format!("ARRAY['{}']", run_id(1)),
        "ARRAY[1::bigint]".to_owned(),
        format!("ARRAY[{seq}::bigint]"),
        format!("ARRAY[{}::bigint]", seq + 1),
        "ARRAY['running']".to_owned(),
        "ARRAY[false]".to_owned(),
        "ARRAY[0]".to_owned(),
        "ARRAY[1::bigint]".to_owned(),
        "ARRAY[true]".to_owned(),
    ];
    let (result, read) = rows_read(database, "runs", plain_batch(0, &append)).await;
    assert!(result.contains("committed") && (1..=READ_MAX).contains(&read), "{result} {read}");
}

#[tokio::test]
async fn what_a_run_has_cost_is_read_without_the_other_calls_in_flight() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    add_reservations(database).await;
    for settling in ["[]", r#"[{"n":7,"kind":1,"input":1,"output":1,"cost":1}]"#] {
        let call = format!(
            "SELECT greenroom_charged_v3(c.pod, ARRAY['{{\"Run\":\"run_7\"}}'], '{settling}') FROM audit_chains c"
        );
        let (result, read) = rows_read(database, "reservations", call).await;
        assert!(result.contains("scripted.m") && (1..=READ_MAX).contains(&read), "{result} {read}");
    }
}

#[tokio::test]
async fn a_settlement_reads_its_own_reservation_and_no_other_one_of_the_pod() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    add_reservations(database).await;
    let settled = r#"[{"n":7,"kind":1,"input":1,"output":1,"cost":1,"day":1,"minute":1}]"#;
    let call = format!("SELECT greenroom_settle_v1(c.pod, '{settled}')::text FROM audit_chains c");
    let (_, read) = rows_read(database, "reservations", call).await;
    assert!((1..=READ_MAX).contains(&read), "{read}");
}
