//! Stores in one SQLite file: one connection writes, in commits that many callers share, and a few
//! read. The decisions are made beside the traits; this module stores them.
//!
//! The file is in WAL mode. With [`SyncMode::Full`] no commit that was replied to is lost. With
//! [`SyncMode::Normal`] a power failure may lose the commits of the last second, a crash of the process
//! none.
//!
//! [`core::SqliteCore`] submits units, another store its [`command::WriteCommand`]s, through a [`handle::StoreHandle`]. The
//! [`writer::Writer`] decides them in batches on the [`writer_state::WriterState`] and collects their
//! statements in one [`commit::Commit`].

use std::path::Path;
use std::sync::Arc;

use crate::cluster::one_pod;
use crate::error::StoreError;
use crate::group_commit::queue;
use crate::in_memory::context::in_memory_context_view;
use crate::stores::{OpenedStores, StoreParts, StoreTask, Stores, SyncMode};

use connection::{open_readers, open_write_connection};
use handle::{StoreHandle, WriterQueue};
use owner_lock::OwnerLock;
use shared::Shared;
use writer::Writer;

mod agent_memory;
mod audit;
mod columns;
mod command;
mod commit;
mod connection;
mod core;
mod credentials;
mod definitions;
pub(crate) mod error;
mod generations;
mod handle;
mod idempotency;
mod identity;
pub(crate) mod inspect;
mod ledger;
mod maintenance;
mod owner_lock;
mod pods;
mod recovery;
pub(crate) mod restore;
mod runs;
mod shared;
mod statement_batch;
mod unit;
mod writer;
mod writer_state;

/// Opens every store.
pub(crate) async fn open(path: &Path, sync_mode: SyncMode, parts: StoreParts) -> Result<OpenedStores, StoreError> {
    let StoreParts { clock, signer, artifacts, pod } = parts;
    let lock = OwnerLock::acquire(path)?;
    let readers = open_readers(path, sync_mode).await?;
    let shared = Arc::new(Shared::new(path.to_owned(), readers, clock, pod));
    let signer = Arc::new(signer);
    let (sender, commands) = queue();
    let queue = WriterQueue::new(sender);
    let conn = open_write_connection(path, sync_mode)?;
    shared.generations.load(generations::read_current(&conn)?);
    let id = identity::Identity::read(&conn)?.database;
    let mut writer = Writer::load(conn, lock, shared.clone(), signer.clone(), sync_mode, queue.clone())?;
    recovery::recover(&mut writer).await?;
    let store = StoreHandle::new(shared, queue);
    let runs = Arc::new(runs::SqliteRuns(store.clone()));
    let stores = Stores {
        id,
        core: Arc::new(core::SqliteCore(store.clone())),
        runs: runs.clone(),
        journal: runs,
        audit: Arc::new(audit::SqliteAudit { store: store.clone(), signer: signer.clone() }),
        ledger: Arc::new(ledger::SqliteLedger(store.clone())),
        context: in_memory_context_view(),
        artifacts,
        definitions: Arc::new(definitions::SqliteDefinitions(store.clone())),
        generations: Arc::new(generations::SqliteGenerations(store.clone())),
        credentials: Arc::new(credentials::SqliteCredentials(store.clone())),
        idempotency: Arc::new(idempotency::SqliteIdempotency::new(store.clone())),
        memory: Arc::new(agent_memory::SqliteAgentMemory::new(store.clone())),
        maintenance: Arc::new(maintenance::SqliteMaintenance { store, signer }),
        cluster: one_pod(),
    };
    let task = StoreTask { name: "store_writer", run: Box::pin(writer.run(commands)) };
    Ok(OpenedStores { stores, tasks: vec![task] })
}

#[cfg(test)]
mod tests;
