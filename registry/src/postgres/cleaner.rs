//! Cleans what a dead pod has left: its keys are freed, its reservations settled as estimated, its open audit entries
//! closed as interrupted, its trees released. Each part may be repeated, so another pod continues if this one dies too.
//! Once a minute it removes what nothing reads any more.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{RequestId, TenantId};
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::audit::root_chain::{ChainEnd, RootEvent};
use crate::audit::{AuditSeq, EntrySubject};
use crate::core::PendingUnit;
use crate::error::StoreError;
use crate::ledger::PERIOD_DAYS_MAX;
use crate::ledger::state::{EXECUTION_DAYS_MAX, RUN_DAYS_MAX};
use crate::ledger::usage::{day_of, minute_of, window_minutes};
use crate::postgres::audit::root::append;
use crate::postgres::command::AccountsCommand;
use crate::postgres::connection::{PAGE_TIMEOUT, STATEMENT_TIMEOUT, connect, in_time};
use crate::postgres::handle::StoreHandle;
use crate::postgres::unit::{CloseEntry, EntryEnd, QueuedUnit};

/// Pods in the queue of the cleaner.
pub(super) const QUEUE_LENGTH_MAX: usize = 64;
/// Rows of one piece.
const PIECE_ROWS_MAX: i32 = 500;
/// How often what nothing reads any more is removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct OpenRow {
    chain: u64,
    number: u64,
    request: RequestId,
    tenant: TenantId,
}

#[derive(Deserialize)]
struct CleanReport {
    /// `committed`; `taken` if another pod cleans; `dead` if this pod is dead.
    state: String,
    #[serde(default)]
    settled: i64,
    #[serde(default)]
    released: i64,
    #[serde(default)]
    open: Vec<OpenRow>,
    #[serde(default)]
    chains: Vec<ChainEnd>,
}

/// The cleaner of a pod.
pub(super) struct Cleaner {
    store: StoreHandle,
    connection: Option<PgConnection>,
}

impl Cleaner {
    pub(super) const fn new(store: StoreHandle) -> Self {
        Self { store, connection: None }
    }

    /// Cleans until the tick ends.
    pub(super) async fn run(mut self, mut dead: mpsc::Receiver<i64>) -> Result<(), StoreError> {
        let mut sweep_at = Instant::now() + SWEEP_INTERVAL;
        loop {
            let result = match timeout_at(sweep_at, dead.recv()).await {
                Ok(Some(pod)) => self.clean(pod).await,
                Ok(None) => return Ok(()),
                Err(_) => {
                    sweep_at = Instant::now() + SWEEP_INTERVAL;
                    self.sweep().await
                }
            };
            if let Err(error) = result {
                tracing::warn!(error = %error, "what a dead pod has left is cleaned later");
                self.connection = None;
            }
        }
    }

    async fn connect(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.store.options).await?);
        }
        self.connection.as_mut().ok_or(StoreError::Closed)
    }

    async fn clean(&mut self, pod: i64) -> Result<(), StoreError> {
        let mut closed = 0;
        let chains = loop {
            let CleanReport { state, settled, released, open, chains } = self.clean_piece(pod).await?;
            if state != "committed" {
                return Ok(());
            }
            closed += open.len();
            let is_last = open.is_empty() && settled.max(released) < i64::from(PIECE_ROWS_MAX);
            self.close_entries(open).await?;
            if is_last {
                break chains;
            }
        };
        let (own, now) = (self.store.pod.id, self.store.clock.now());
        append(self.connect().await?, own, now, &[RootEvent::PodDied { pod, chains }]).await?;
        let cleaning = sqlx::query("UPDATE pods SET cleaned = true WHERE id = $1 AND dead AND cleaner = $2")
            .bind(pod)
            .bind(own)
            .execute(self.connect().await?);
        in_time(STATEMENT_TIMEOUT, cleaning).await?;
        tracing::info!(pod.row = pod, audit.interrupted = closed, "what a dead pod has left is cleaned");
        // If the queue is full, the next tick has the same effect.
        let _ = self.store.accounts().try_send(AccountsCommand::Show);
        Ok(())
    }

    async fn clean_piece(&mut self, pod: i64) -> Result<CleanReport, StoreError> {
        let (own, now) = (self.store.pod.id, self.store.clock.now());
        let cleaning = sqlx::query_scalar("SELECT greenroom_clean_v1($1, $2, $3, $4, $5)")
            .bind(own)
            .bind(pod)
            .bind(day_of(now))
            .bind(minute_of(now))
            .bind(PIECE_ROWS_MAX)
            .fetch_one(self.connect().await?);
        let report: String = in_time(STATEMENT_TIMEOUT, cleaning).await?;
        Ok(serde_json::from_str(&report)?)
    }

    /// Closes entries of another pod's chains in a chain of this one, and waits until that is durable. If it is not known
    /// to be, it is repeated, also while a lane has not written it yet; an entry is closed once all the same.
    async fn close_entries(&self, open: Vec<OpenRow>) -> Result<(), StoreError> {
        let at = self.store.clock.now();
        let mut pending: Vec<PendingUnit> = Vec::with_capacity(open.len());
        for OpenRow { chain, number, request, tenant } in open {
            let (opened, subject) = (AuditSeq::in_chain(chain, number), EntrySubject { request, tenant });
            let unit = QueuedUnit::closing(CloseEntry { opened, subject, at, end: EntryEnd::LeftOpen });
            pending.push(self.store.submit(unit, None).await?);
        }
        for unit in pending {
            drop(unit.wait().await?);
        }
        Ok(())
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        let now = self.store.clock.now();
        let sweeping = sqlx::query("SELECT greenroom_sweep_v1($1, $2, $3, $4, $5)")
            .bind(day_of(now))
            .bind(minute_of(now).saturating_sub(window_minutes()))
            .bind(EXECUTION_DAYS_MAX)
            .bind(RUN_DAYS_MAX)
            .bind(i64::from(PERIOD_DAYS_MAX) + 1)
            .execute(self.connect().await?);
        in_time(PAGE_TIMEOUT, sweeping).await.map(drop)
    }
}
