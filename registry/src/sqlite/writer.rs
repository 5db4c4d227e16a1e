//! The one writer: takes all queued commands, decides each in order, makes all of them durable in one
//! transaction, then replies. If the commit fails, all its decisions are rolled back.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use crate::audit::head::HeadKind;
use crate::audit::signer::Signer;
use crate::error::StoreError;
use crate::group_commit::{CommandReceiver, ReplySender};
use crate::sqlite::audit::chain::{Chain, append_closing};
use crate::sqlite::command::{Command, Needs};
use crate::sqlite::commit::Commit;
use crate::sqlite::connection::checkpoint;
use crate::sqlite::handle::WriterQueue;
use crate::sqlite::idempotency::key_row::prefetch_keys;
use crate::sqlite::ledger::rows;
use crate::sqlite::owner_lock::OwnerLock;
use crate::sqlite::runs::cache::RunRecordCache;
use crate::sqlite::shared::Shared;
use crate::sqlite::writer_state::WriterState;
use crate::stores::SyncMode;

/// How often the head of the audit is signed.
const SIGN_INTERVAL: Duration = Duration::from_secs(1);

/// Owns the writing connection and the state that the commands are decided on.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) state: WriterState,
    sync_mode: SyncMode,
    /// Keeps the queue open until the store is closed, even if no store is in use.
    _queue: WriterQueue,
    /// Released after the connection is closed.
    _lock: OwnerLock,
}

impl Writer {
    /// Reads the state that must be known before the first command can be decided.
    pub(super) fn load(
        conn: Connection,
        lock: OwnerLock,
        shared: Arc<Shared>,
        signer: Arc<Signer>,
        sync_mode: SyncMode,
        queue: WriterQueue,
    ) -> Result<Self, StoreError> {
        let (chain, open) = Chain::load(&conn, &shared.path, signer.chain_key())?;
        *shared.open_entries() = open;
        let runs = RunRecordCache::load(&conn, &shared.leases)?;
        rows::load(&conn, &shared)?;
        let state = WriterState { shared, signer, chain, runs, unwritten_closings: Vec::new() };
        Ok(Self { conn, state, sync_mode, _queue: queue, _lock: lock })
    }

    /// Writes until the store is closed, and returns `Ok` then. A commit that fails does not end the
    /// writer, since every caller gets its error.
    pub(super) async fn run(mut self, mut commands: CommandReceiver<Command>) -> Result<(), StoreError> {
        let mut sign_at = Instant::now() + SIGN_INTERVAL;
        loop {
            let mut batch = Vec::new();
            let has_callers = commands.next_batch(&mut batch, sign_at).await;
            let close = self.commit(batch);
            if close.is_none() && has_callers {
                if Instant::now() >= sign_at {
                    // A failure is logged, and the next signature covers the same records.
                    drop(self.sign(HeadKind::Running).await);
                    sign_at = Instant::now() + SIGN_INTERVAL;
                }
                continue;
            }
            commands.close();
            let mut rest = Vec::new();
            while commands.next_batch(&mut rest, Instant::now() + SIGN_INTERVAL).await {}
            self.commit(rest);
            let signed = self.sign(HeadKind::Closed).await;
            self.truncate_wal();
            self.state.shared.journal_notifiers.close_all();
            if let Some(reply) = close {
                reply.send(signed);
            }
            return Ok(());
        }
    }

    /// Commits a batch of commands. Returns the caller that closes the store, if it is among them.
    fn commit(&mut self, batch: Vec<Command>) -> Option<ReplySender<()>> {
        let mut commit = Commit::for_batch(batch.len());
        self.prefetch(&batch, &mut commit);
        for closing in std::mem::take(&mut self.state.unwritten_closings) {
            append_closing(&mut self.state.chain, closing, &mut commit.audit, &mut commit.statements);
        }
        for command in batch {
            command.apply(&mut self.state, &mut commit);
        }
        let close = commit.close.take();
        let failure = self.write(&mut commit).err();
        let WriterState { shared, runs, .. } = &mut self.state;
        match &failure {
            None => {
                commit.journal_notify.iter().for_each(|run| shared.journal_notifiers.notify(run));
                shared.ledger().drop_ended(runs.on_committed());
            }
            Some(error) => {
                tracing::error!(error = %error, "a commit failed, and its callers are rejected");
                runs.clear();
            }
        }
        commit.finish(failure.as_ref(), &self.state.shared.leases);
        close
    }

    /// Writes a commit together with the pending changes of the ledger. If there is anything to write, the pod is
    /// active, and if it is time, that is recorded too.
    pub(super) fn write(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        let Shared { pods, clock, .. } = &*self.state.shared;
        let deltas = self.state.shared.ledger().drain_deltas();
        rows::add(&deltas, pods.own(), &mut commit.statements);
        let mut statements = std::mem::take(&mut commit.statements);
        if statements.is_empty() {
            return Ok(());
        }
        let now = clock.now();
        if pods.take_due(now) {
            pods.record_active(now, &mut statements);
        }
        let written = statements.execute(&mut self.conn);
        let change = std::mem::take(&mut commit.audit);
        match &written {
            Ok(()) => change.apply_to(&mut self.state.shared.open_entries()),
            Err(_) => {
                self.state.shared.ledger().restore_deltas(deltas);
                let closings = self.state.chain.roll_back(change);
                self.state.unwritten_closings.extend(closings);
            }
        }
        written
    }

    /// Signs the tip of the audit, in the database and in the file beside it.
    pub(super) async fn sign(&mut self, kind: HeadKind) -> Result<(), StoreError> {
        let signed = self.try_sign(kind).await;
        if let Err(error) = &signed {
            tracing::error!(error = %error, "the head of the audit cannot be signed");
        }
        signed
    }

    async fn try_sign(&mut self, kind: HeadKind) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        let WriterState { shared, signer, chain, .. } = &self.state;
        let head = chain.sign_tip(kind, signer, shared.clock.now(), &shared.open_entries(), &mut commit.statements)?;
        self.write(&mut commit)?;
        let Some(head) = head else { return Ok(()) };
        if self.sync_mode == SyncMode::Normal {
            // The head in the file must not name a record that a power failure may remove.
            checkpoint(&self.conn, "PASSIVE")?;
        }
        let (signer, saved) = (self.state.signer.clone(), self.state.chain.saved(head.clone()));
        tokio::task::spawn_blocking(move || signer.save_head(&saved))
            .await
            .map_err(|error| StoreError::Failed(error.to_string()))??;
        self.state.chain.on_signed(head);
        Ok(())
    }

    /// Checkpoints the write-ahead log and empties it, so that the database file alone is complete: a
    /// copy needs no other file, and a restored older file meets no log of a newer one.
    fn truncate_wal(&self) {
        if let Err(error) = checkpoint(&self.conn, "TRUNCATE") {
            // Nothing is lost: the next start reads the log.
            tracing::warn!(error = %error, "the write-ahead log was not checkpointed");
        }
    }

    /// Reads the rows that the batch needs and that are not cached.
    fn prefetch(&mut self, batch: &[Command], commit: &mut Commit) {
        let mut needs = Needs::default();
        batch.iter().for_each(|command| command.add_needs(&mut needs));
        let runs = needs.runs.into_iter().filter(|run| !self.state.runs.contains(run)).cloned().collect();
        let trees = needs.trees.into_iter().cloned().collect();
        let keys = needs.keys.into_iter().cloned().collect();
        self.state.runs.prefetch(&self.conn, runs);
        self.state.runs.prefetch_trees(&self.conn, trees);
        prefetch_keys(&self.conn, keys, &mut commit.keys);
    }
}

#[cfg(test)]
mod tests;
