//! Batches that a test composes: what one command means for the others of its batch.

use std::future::Future;
use std::pin::pin;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use tempfile::TempDir;

use super::*;
use crate::audit::{AuditLog, AuditScope};
use crate::core::{CoreStore, Unit};
use crate::group_commit::{CommandReceiver, CommitTiming, queue};
use crate::journal::{AppendPosition, JournalError, Seq};
use crate::maintenance::StoreMaintenance;
use crate::runs::Fence;
use crate::sqlite::audit::SqliteAudit;
use crate::sqlite::connection::{open_readers, open_write_connection};
use crate::sqlite::core::SqliteCore;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::maintenance::SqliteMaintenance;
use crate::suite::{FixedClock, NOW, closing, done, ended, new_run, opening, pod, run_id, started};

mod prune;

/// A writer that writes when the test says so.
struct SteppedWriter {
    writer: Writer,
    commands: CommandReceiver<Command>,
    core: SqliteCore,
    audit: SqliteAudit,
    maintenance: SqliteMaintenance,
    _dir: TempDir,
}

impl SteppedWriter {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("greenroom.db");
        let lock = OwnerLock::acquire(&path).unwrap();
        let readers = open_readers(&path, SyncMode::Normal).await.unwrap();
        let shared = Arc::new(Shared::new(path.clone(), readers, Arc::new(FixedClock), pod()));
        let signer = Arc::new(Signer::ephemeral([7; 32]));
        let (sender, commands) = queue();
        let queue = WriterQueue::new(sender);
        let conn = open_write_connection(&path, SyncMode::Normal).unwrap();
        let writer = Writer::load(conn, lock, shared.clone(), signer.clone(), SyncMode::Normal, queue.clone()).unwrap();
        let store = StoreHandle::new(shared, queue);
        Self {
            writer,
            commands,
            core: SqliteCore(store.clone()),
            audit: SqliteAudit { store: store.clone(), signer: signer.clone() },
            maintenance: SqliteMaintenance { store, signer },
            _dir: dir,
        }
    }
}

/// Commits one batch once it has this many commands.
async fn commit_batch(writer: &mut Writer, commands: &mut CommandReceiver<Command>, length: usize) {
    let mut batch = Vec::new();
    while batch.len() < length {
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            commands.next_batch(&mut batch, Instant::now() + std::time::Duration::from_secs(10)).await;
        })
        .await
        .unwrap();
    }
    writer.commit(batch);
}

/// Drives `work` while the writer commits every batch as it comes.
async fn drive<T>(stepped: &mut SteppedWriter, work: impl AsyncFnOnce(&dyn CoreStore) -> T) -> T {
    let SteppedWriter { writer, commands, core, .. } = stepped;
    let mut work = pin!(work(&*core));
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            result = &mut work => return result,
            _ = commands.next_batch(&mut batch, Instant::now() + std::time::Duration::from_secs(10)) => {}
        }
        writer.commit(batch);
    }
}

async fn create(stepped: &mut SteppedWriter, number: u128, entries: &[protocol::journal::Entry]) -> Fence {
    drive(stepped, async |core| match core.create_run(new_run(number), None, entries, NOW).await.unwrap().0 {
        crate::runs::Created::New(fence) => fence,
        other => panic!("{other:?}"),
    })
    .await
}

const fn at(run: &protocol::RunId, fence: Fence, after: u64) -> AppendPosition<'_> {
    AppendPosition { run, fence, after: Seq(after) }
}

/// Polls a future until it has submitted its command.
async fn submitted<F: Future>(future: &mut std::pin::Pin<&mut F>) {
    let polled = futures::poll!(future.as_mut());
    assert!(polled.is_pending());
}

#[tokio::test]
async fn pruning_leaves_the_runs_that_are_appended_to_in_the_same_batch() {
    let mut stepped = SteppedWriter::open().await;
    let fence = create(&mut stepped, 1, &[started("a")]).await;
    create(&mut stepped, 2, &[started("a"), ended()]).await;
    let SteppedWriter { writer, commands, core, maintenance, .. } = &mut stepped;
    let core: &dyn CoreStore = core;
    let (run, entries) = (run_id(1), [done("a", "x")]);
    let later = NOW.saturating_add(std::time::Duration::from_secs(60));
    let prune = maintenance.prune_runs(None, later);
    let append = async {
        // Behind the command that prunes.
        let mut batch = Vec::new();
        commands.next_batch(&mut batch, Instant::now() + std::time::Duration::from_secs(10)).await;
        let pending = core.submit_append(at(&run, fence, 1), &entries, CommitTiming::Immediate, NOW).await.unwrap();
        commands.next_batch(&mut batch, Instant::now()).await;
        assert_eq!(batch.len(), 2);
        writer.commit(batch);
        let appended = pending.wait_receipt().await;
        commit_batch_if_any(writer, commands).await;
        appended
    };
    let (pruned, appended) = tokio::join!(prune, append);
    assert_eq!(pruned.unwrap(), 1);
    assert_eq!(appended.unwrap().through(), Seq(2));
}

async fn commit_batch_if_any(writer: &mut Writer, commands: &mut CommandReceiver<Command>) {
    let mut batch = Vec::new();
    commands.next_batch(&mut batch, Instant::now()).await;
    writer.commit(batch);
}

#[tokio::test]
async fn of_the_signed_heads_of_an_hour_the_last_is_stored() {
    let mut stepped = SteppedWriter::open().await;
    let mut entries = Vec::new();
    for number in 1..=4 {
        entries.push(drive(&mut stepped, async |core| core.open_entry(opening(number), NOW).await.unwrap()).await);
        stepped.writer.sign(HeadKind::Running).await.unwrap();
    }
    let heads = stepped.writer.conn.query_row("SELECT COUNT(*), MAX(number) FROM audit_heads", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    assert_eq!(heads.unwrap(), (1, 4));
}

#[tokio::test]
async fn a_run_that_cannot_be_read_does_not_refuse_the_others_of_its_batch() {
    let mut stepped = SteppedWriter::open().await;
    let fences = [create(&mut stepped, 1, &[]).await, create(&mut stepped, 2, &[]).await];
    let SteppedWriter { writer, commands, core, .. } = &mut stepped;
    let core: &dyn CoreStore = core;
    writer.conn.execute("UPDATE runs SET status = 'nonsense' WHERE number = 1", []).unwrap();
    writer.state.runs.clear();
    let (runs, entries) = ([run_id(1), run_id(2)], [started("a")]);
    let mut first = pin!(core.append(at(&runs[0], fences[0], 0), &entries, NOW));
    let mut second = pin!(core.append(at(&runs[1], fences[1], 0), &entries, NOW));
    submitted(&mut first).await;
    submitted(&mut second).await;
    commit_batch(writer, commands, 2).await;
    assert!(matches!(first.await, Err(JournalError::Store(StoreError::Codec(text))) if text.contains("nonsense")));
    assert_eq!(second.await.unwrap().through(), Seq(1));
    writer.conn.execute("UPDATE runs SET status = 'queued' WHERE number = 1", []).unwrap();
    let mut retried = pin!(core.append(at(&runs[0], fences[0], 0), &entries, NOW));
    submitted(&mut retried).await;
    commit_batch(writer, commands, 1).await;
    assert_eq!(retried.await.unwrap().through(), Seq(1), "it is read again");
}

#[tokio::test]
async fn a_unit_whose_caller_has_gone_is_not_executed_except_for_its_consequences() {
    let mut stepped = SteppedWriter::open().await;
    let fence = create(&mut stepped, 1, &[]).await;
    let entry = drive(&mut stepped, async |core| core.open_entry(opening(1), NOW).await.unwrap()).await;
    let SteppedWriter { writer, commands, core, audit, .. } = &mut stepped;
    let core: &dyn CoreStore = core;
    let (run, entries, request) = (run_id(1), [started("a")], opening(1).request);
    {
        let unit = Unit::new(NOW).append(at(&run, fence, 0), &entries).close(entry, closing()).open(opening(2));
        let mut abandoned = pin!(core.commit(unit));
        submitted(&mut abandoned).await;
    }
    let mut later = pin!(core.append(at(&run, fence, 0), &entries, NOW));
    submitted(&mut later).await;
    commit_batch(writer, commands, 2).await;
    assert_eq!(later.await.unwrap().through(), Seq(1), "the abandoned entries were not appended");
    let mut find = pin!(audit.find(&AuditScope::All, request.as_str()));
    submitted(&mut find).await;
    commit_batch(writer, commands, 1).await;
    let records = find.await.unwrap();
    assert!(matches!(records[1].event, Event::Closed { opened: 1, .. }), "{records:?}");
    assert_eq!(records.last().map(|record| record.number), Some(2), "the abandoned entry was not opened");
}
