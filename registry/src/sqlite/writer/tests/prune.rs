//! Pruning in pieces, each a commit of its own: other commits go on between them, and a pruning that is interrupted leaves
//! a valid database and is resumed.

use greenroom_protocol::Timestamp;

use super::*;

/// A time after that of everything that is pruned.
const LATER: Timestamp = Timestamp::from_micros(NOW.as_micros() + 60_000_000);

/// Prunes while the writer commits each piece as it comes, and at most this many of them. Returns the result, unless the
/// pruning was interrupted, and the number of commits.
async fn prune<T>(
    stepped: &mut SteppedWriter,
    commits_max: usize,
    pruning: impl AsyncFnOnce(&SqliteMaintenance) -> Result<T, StoreError>,
) -> (Option<T>, usize) {
    let SteppedWriter { writer, commands, maintenance, .. } = stepped;
    let mut pruning = pin!(pruning(&*maintenance));
    let mut commits = 0;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            pruned = &mut pruning => return (Some(pruned.unwrap()), commits),
            _ = commands.next_batch(&mut batch, Instant::now() + std::time::Duration::from_secs(10)) => {}
        }
        if commits == commits_max {
            // The caller of the next piece goes before it is written.
            return (None, commits);
        }
        writer.commit(batch);
        commits += 1;
    }
}

async fn prune_runs(stepped: &mut SteppedWriter, commits_max: usize) -> (Option<u64>, usize) {
    prune(stepped, commits_max, async |maintenance| maintenance.prune_runs(None, LATER).await).await
}

fn count(stepped: &SteppedWriter, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    stepped.writer.conn.query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn many_runs_and_a_long_journal_are_pruned_in_pieces() {
    let mut stepped = SteppedWriter::open().await;
    for number in 1..=300 {
        create(&mut stepped, number, &[started("a"), ended()]).await;
    }
    assert_eq!(prune_runs(&mut stepped, 1).await, (None, 1));
    assert_eq!(count(&stepped, "runs"), 300 - 256, "other commits go on between the pieces");
    assert_eq!(prune_runs(&mut stepped, 9).await, (Some(300 - 256), 1));
    let fence = create(&mut stepped, 301, &[]).await;
    let (run, mut entries) = (run_id(301), vec![started("a"); 9_000]);
    entries.push(ended());
    let appended = drive(&mut stepped, async |core| core.append(at(&run, fence, 0), &entries, NOW).await).await;
    assert_eq!(appended.unwrap().through(), Seq(9_001));
    assert_eq!(prune_runs(&mut stepped, 9).await, (Some(1), 3));
    assert_eq!(count(&stepped, "journal"), 0);
}

#[tokio::test]
async fn the_audit_is_pruned_in_pieces_and_valid_after_each() {
    const RECORDS: u64 = 5_000;
    let mut stepped = SteppedWriter::open().await;
    drive(&mut stepped, async |core| {
        let records = (0..RECORDS).map(|number| async move {
            core.record_system_event("test", &number.to_string(), NOW).await.unwrap();
        });
        futures::future::join_all(records).await;
    })
    .await;
    let prune_audit = async |stepped: &mut SteppedWriter, commits_max| {
        prune(stepped, commits_max, async |maintenance| maintenance.prune_audit(LATER, LATER).await).await
    };
    // The first commit is that of the records before.
    let (interrupted, commits) = prune_audit(&mut stepped, 2).await;
    assert_eq!((interrupted, commits), (None, 2));
    assert_eq!(verify(&mut stepped).await, (4_096, RECORDS - 4_096 + 1));
    let (pruned, commits) = prune_audit(&mut stepped, 9).await;
    assert_eq!((pruned.unwrap().records, commits), (RECORDS - 4_096, 2));
    assert_eq!(verify(&mut stepped).await, (RECORDS, 2), "there is a record of each pruning");
}

/// The anchor of the chain and the number of its records, which must be valid.
async fn verify(stepped: &mut SteppedWriter) -> (u64, u64) {
    let SteppedWriter { writer, commands, audit, .. } = stepped;
    let mut verifying = pin!(audit.verify());
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            report = &mut verifying => {
                let report = report.unwrap();
                assert!(report.is_valid(), "{report:?}");
                return (report.anchor, report.records);
            }
            _ = commands.next_batch(&mut batch, Instant::now() + std::time::Duration::from_secs(10)) => {}
        }
        writer.commit(batch);
    }
}

#[tokio::test]
async fn replies_under_keys_are_pruned_in_pieces() {
    let mut stepped = SteppedWriter::open().await;
    let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500) \
               INSERT INTO idempotency_keys (key, tenant, request_hash, reply, at, pod) \
               SELECT 'k' || n, 'acme', zeroblob(32), '{}', n, 'pod_1' FROM n";
    stepped.writer.conn.execute(sql, []).unwrap();
    let prune_keys = async |stepped: &mut SteppedWriter, commits_max| {
        prune(stepped, commits_max, async |maintenance| maintenance.prune_keys(None, NOW).await).await
    };
    assert_eq!(prune_keys(&mut stepped, 2).await, (None, 2));
    assert_eq!(count(&stepped, "idempotency_keys"), 500);
    assert_eq!(prune_keys(&mut stepped, 9).await, (Some(500), 1));
    assert_eq!(count(&stepped, "idempotency_keys"), 0);
}
