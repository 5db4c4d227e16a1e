//! The one writer: takes what came meanwhile, decides each command in its order, makes all of it
//! durable at once, then answers. If the commit fails, nothing was decided.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{ContentHash, RunId, TenantId, Timestamp};
use rusqlite::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::time::Instant;

use crate::SyncMode;
use crate::audit::head::HeadKind;
use crate::audit::signer::Signer;
use crate::error::StoreError;
use crate::group_commit::{CommandReceiver, ReplySender};
use crate::sqlite::audit::write::{Chain, ChainChange};
use crate::sqlite::commands::{AuditWrite, Command};
use crate::sqlite::context::write::ContextCache;
use crate::sqlite::idempotency::KeyRow;
use crate::sqlite::runs::write::RunRecordCache;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};
use crate::sqlite::{Shared, write_error};
use crate::sqlite::{agent_memory, audit, context, idempotency, ledger, runs};

/// How often the audit's head is signed.
const SIGN_INTERVAL: Duration = Duration::from_secs(1);

const INSERT_DEFINITION: &str =
    "INSERT INTO definition_versions (hash, body) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING";

/// Owns the connection that writes, one that reads, and what has to be known to decide.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) connection: SqliteConnection,
    pub(super) shared: Arc<Shared>,
    pub(super) signer: Arc<Signer>,
    pub(super) synchronous: SyncMode,
    pub(super) chain: Chain,
    pub(super) heads: RunRecordCache,
    pub(super) contexts: ContextCache,
    /// Closings whose commit failed; they go along with the next one.
    unwritten: Vec<AuditWrite>,
}

/// Says to one caller how the commit went.
type Done = Box<dyn FnOnce(Option<&StoreError>) + Send>;

/// One commit in the making.
#[derive(Default)]
pub(super) struct Commit {
    pub(super) script: StatementBatch,
    done: Vec<Done>,
    /// What the audit will be, and what to write again if it fails.
    pub(super) audit: ChainChange,
    /// Keys that callers sent, as they are now.
    pub(super) keys: HashMap<(String, TenantId), Option<KeyRow>>,
    /// Runs and contexts whose watchers have something to see.
    pub(super) journal_notify: Vec<RunId>,
    pub(super) context_notify: Vec<RunId>,
    close: Option<(Timestamp, ReplySender<()>)>,
}

impl Commit {
    /// Answers a caller once the commit is durable.
    pub(super) fn answer<T, E>(&mut self, to: ReplySender<T, E>, value: T)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.then(move |failure| {
            // A caller who has gone away does not mind.
            let _ = to.send(failure.map_or(Ok(value), |error| Err(error.clone().into())));
        });
    }

    /// Does something once the commit is durable, or has failed.
    pub(super) fn then(&mut self, done: impl FnOnce(Option<&StoreError>) + Send + 'static) {
        self.done.push(Box::new(done));
    }

    fn finish(self, failure: Option<&StoreError>) {
        self.done.into_iter().for_each(|done| done(failure));
    }
}

impl Writer {
    /// Reads what has to be known before anything can be decided.
    pub(super) async fn new(
        conn: Connection,
        mut connection: SqliteConnection,
        shared: Arc<Shared>,
        signer: Arc<Signer>,
        synchronous: SyncMode,
    ) -> Result<Self, StoreError> {
        let (chain, open) = Chain::load(&mut connection, &signer).await?;
        *shared.open_entries() = open;
        let heads = RunRecordCache::load(&mut connection).await?;
        ledger::write::load(&mut connection, &shared).await?;
        let contexts = ContextCache::default();
        Ok(Self { conn, connection, shared, signer, synchronous, chain, heads, contexts, unwritten: Vec::new() })
    }

    /// Writes until it is told to close. It ends well then; a store that cannot be written for a
    /// while is no end, since every caller learns of it.
    pub(super) async fn run(mut self, mut inbox: CommandReceiver<Command>) -> Result<(), StoreError> {
        let mut seal_at = Instant::now() + SIGN_INTERVAL;
        loop {
            let mut batch = Vec::new();
            let has_callers = inbox.next_batch(&mut batch, seal_at).await;
            let close = self.commit(batch).await;
            if close.is_none() && has_callers {
                if Instant::now() >= seal_at {
                    // What could not be signed now is signed in a second; it was logged.
                    let _ = self.sign(HeadKind::Running).await;
                    seal_at = Instant::now() + SIGN_INTERVAL;
                }
                continue;
            }
            inbox.close();
            let mut rest = Vec::new();
            while inbox.next_batch(&mut rest, Instant::now() + SIGN_INTERVAL).await {}
            self.commit(rest).await;
            let sealed = self.sign(HeadKind::Closed).await;
            self.truncate_wal();
            self.shared.journal_notifiers.close_all();
            self.shared.context_notifiers.close_all();
            if let Some((_, answer)) = close {
                let _ = answer.send(sealed);
            }
            return Ok(());
        }
    }

    /// Does these commands together; answers the one that closes, if it is among them.
    pub(super) async fn commit(&mut self, batch: Vec<Command>) -> Option<(Timestamp, ReplySender<()>)> {
        let mut commit = Commit::default();
        if let Err(error) = self.prefetch(&batch, &mut commit).await {
            tracing::error!(error = %error, "the store cannot be read");
            batch.into_iter().for_each(|command| self.refuse(command, &error));
            return None;
        }
        for command in std::mem::take(&mut self.unwritten) {
            audit::write::apply(self, command, &mut commit);
        }
        for command in batch {
            self.apply(command, &mut commit);
        }
        let close = commit.close.take();
        let failure = self.write(&mut commit).err();
        match &failure {
            None => {
                commit.journal_notify.iter().for_each(|run| self.shared.journal_notifiers.notify(run));
                commit.context_notify.iter().for_each(|run| self.shared.context_notifiers.notify(run));
                self.heads.settle();
            }
            Some(error) => {
                tracing::error!(error = %error, "a commit failed, and its callers are refused");
                self.heads.forget();
                self.contexts.forget();
            }
        }
        commit.finish(failure.as_ref());
        close
    }

    /// Writes a commit with whatever has changed in the ledger.
    pub(super) fn write(&mut self, commit: &mut Commit) -> Result<(), StoreError> {
        let deltas = self.shared.state().drain_deltas();
        ledger::write::add(&deltas, &mut commit.script)?;
        let script = std::mem::take(&mut commit.script);
        if script.is_empty() {
            return Ok(());
        }
        let written = script.run(&mut self.conn);
        let change = std::mem::take(&mut commit.audit);
        match &written {
            Ok(()) => change.keep(&mut self.shared.open_entries()),
            Err(_) => {
                self.shared.state().restore_deltas(deltas);
                self.unwritten.extend(self.chain.undo(change));
            }
        }
        written
    }

    /// Signs the audit's end, in the database and beside it.
    pub(super) async fn sign(&mut self, kind: HeadKind) -> Result<(), StoreError> {
        let sealed = self.try_sign(kind).await;
        if let Err(error) = &sealed {
            tracing::error!(error = %error, "the end of the audit cannot be signed");
        }
        sealed
    }

    async fn try_sign(&mut self, kind: HeadKind) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        let now = self.shared.clock.now();
        let head = self.chain.seal(kind, &self.signer, now, &self.shared.open_entries(), &mut commit.script)?;
        self.write(&mut commit)?;
        let Some(head) = head else { return Ok(()) };
        if self.synchronous == SyncMode::Normal {
            // The head outside may not be ahead of what a power cut leaves of the database.
            checkpoint(&self.conn, "PRAGMA wal_checkpoint(PASSIVE)")?;
        }
        let (signer, kept) = (self.signer.clone(), head.clone());
        tokio::task::spawn_blocking(move || signer.save_head(&kept))
            .await
            .map_err(|error| StoreError::Failed(error.to_string()))??;
        self.chain.sealed(&head);
        Ok(())
    }

    /// Writes the log back into the file and empties it, so that the file alone is the whole database:
    /// whoever copies it, or puts an older one in its place, meets no leftover of another.
    fn truncate_wal(&self) {
        if let Err(error) = checkpoint(&self.conn, "PRAGMA wal_checkpoint(TRUNCATE)") {
            // Nothing is lost: the next start reads the log.
            tracing::warn!(error = %error, "the log was not written back into the database");
        }
    }

    async fn prefetch(&mut self, batch: &[Command], commit: &mut Commit) -> Result<(), StoreError> {
        let mut unknown_runs = Vec::new();
        let mut unknown_contexts = Vec::new();
        let mut keys = Vec::new();
        for command in batch {
            match command {
                Command::Run(command) => {
                    unknown_runs.extend(command.run().filter(|run| !self.heads.knows(run)).cloned());
                    keys.extend(runs::write::key_of(command));
                }
                Command::Context(command) => {
                    unknown_contexts.extend(Some(command.run()).filter(|run| !self.contexts.knows(run)).cloned());
                }
                Command::Idempotency(command) => keys.extend(idempotency::key_of(command)),
                Command::Audit(_)
                | Command::Memory(_)
                | Command::Body { .. }
                | Command::FlushLedger
                | Command::Flush(_)
                | Command::Close { .. } => {}
            }
        }
        self.heads.prefetch(&mut self.conn, &mut self.connection, unknown_runs).await?;
        self.contexts.prefetch(&mut self.connection, unknown_contexts).await?;
        idempotency::prefetch(&mut self.connection, keys, &mut commit.keys).await
    }

    fn apply(&mut self, command: Command, commit: &mut Commit) {
        match command {
            Command::Audit(command) => audit::write::apply(self, command, commit),
            Command::Run(command) => runs::write::apply(self, command, commit),
            Command::Context(command) => context::write::apply(&mut self.contexts, command, commit),
            Command::Idempotency(command) => idempotency::apply(command, commit),
            Command::Memory(command) => agent_memory::apply(command, commit),
            Command::Body { hash, body, answer } => {
                commit.script.add(INSERT_DEFINITION, vec![SqlValue::from(&hash), body.into()]);
                commit.answer(answer, ());
            }
            Command::FlushLedger => {}
            Command::Flush(answer) => commit.answer(answer, ()),
            Command::Close { now, answer } => commit.close = Some((now, answer)),
        }
    }

    /// Answers a command that could not even be decided.
    fn refuse(&mut self, command: Command, error: &StoreError) {
        match command {
            Command::Audit(command) => self.unwritten.extend(audit::write::refuse(command, error)),
            Command::Run(command) => runs::write::refuse(command, error),
            Command::Context(command) => context::write::refuse(command, error),
            Command::Idempotency(command) => idempotency::refuse(command, error),
            Command::Memory(command) => agent_memory::refuse(command, error),
            Command::Body { answer, .. } | Command::Flush(answer) | Command::Close { answer, .. } => {
                refuse(answer, error);
            }
            Command::FlushLedger => {}
        }
    }
}

fn checkpoint(conn: &Connection, pragma: &str) -> Result<(), StoreError> {
    // The row tells how much was written back, which is no matter of life and death.
    conn.query_row(pragma, [], |_| Ok(())).map_err(|error| write_error(&error))
}

/// Refuses one caller.
pub(super) fn refuse<T, E: From<StoreError>>(answer: ReplySender<T, E>, error: &StoreError) {
    let _ = answer.send(Err(error.clone().into()));
}

/// A hash as it was kept.
pub(super) fn hash_of(bytes: &[u8]) -> Result<ContentHash, StoreError> {
    let digest = bytes.try_into().map_err(|_| StoreError::Codec("a hash has 32 bytes".into()))?;
    Ok(ContentHash::from_digest(digest))
}
