//! The statements of a plain batch look up by key what the batch names, whatever else the same pod has reserved or the same
//! tree contains. They use the plans of an empty database, which they are planned on.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::suite::postgres::TestDatabase;
use crate::suite::{TestStores, run_id};

/// Rows beside those that a batch names.
const OTHERS: i64 = 1_000;
/// Rows that a batch with one part of a kind may read of a table.
const READ_MAX: i64 = 10;

/// Commits a plain batch that has only these parameters, the first of which has this position, and returns the rows of a
/// table that it has read.
async fn rows_read(database: &TestDatabase, table: &str, position: usize, parameters: &[&str]) -> i64 {
    let mut connection = database.connect().await;
    let before = "NULL, ".repeat(position);
    let after = ", NULL".repeat(54 - position - parameters.len());
    let call = format!(
        "SELECT greenroom_commit_plain_v1(c.pod, 1000, c.chain, c.number, {before}{}{after}) FROM audit_chains c",
        parameters.join(", ")
    );
    let mut transaction = connection.begin().await.unwrap();
    let result: String = sqlx::query_scalar(AssertSqlSafe(call)).fetch_one(&mut *transaction).await.unwrap();
    assert!(result.contains("committed"), "{result}");
    let read = read_so_far(&mut transaction, table).await;
    transaction.rollback().await.unwrap();
    read
}

async fn read_so_far(connection: &mut PgConnection, table: &str) -> i64 {
    let read = "SELECT COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables \
                WHERE relname = $1";
    sqlx::query_scalar(read).bind(table).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_reply_reads_its_own_key_and_none_of_the_others_that_the_pod_has_reserved() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    let reserve = format!(
        "INSERT INTO idempotency_keys (key, tenant, request_hash, at, holder) \
         SELECT 'key_' || n, 'acme', '', n, c.pod FROM audit_chains c, generate_series(1, {OTHERS}) n"
    );
    sqlx::query(AssertSqlSafe(reserve)).execute(&mut database.connect().await).await.unwrap();
    let reply = ["ARRAY['key_7']", "ARRAY['acme']", "ARRAY[1::bigint]", "ARRAY['{}']"];
    let read = rows_read(database, "idempotency_keys", 49, &reply).await;
    assert!((1..=READ_MAX).contains(&read), "{read}");
}

#[tokio::test]
async fn an_append_reads_its_own_run_and_no_other_one_of_its_tree() {
    let stores = TestStores::postgres().await;
    let database = stores.test_database();
    stores.create_run(1).await;
    let add = format!(
        "INSERT INTO runs (run, tenant, principal, workflow, version, root, request_hash, personal_data, status, ended, \
                           pending_approvals, seq, created, updated) \
         SELECT run || '_' || n, tenant, principal, workflow, version, root, request_hash, personal_data, status, ended, \
                pending_approvals, seq, created, updated FROM runs, generate_series(1, {OTHERS}) n"
    );
    sqlx::query(AssertSqlSafe(add)).execute(&mut database.connect().await).await.unwrap();
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
    let append = append.each_ref().map(String::as_str);
    let read = rows_read(database, "runs", 0, &append).await;
    assert!((1..=READ_MAX).contains(&read), "{read}");
}
