//! Everything periodic of a pod, in one statement a second on a connection of its own: it renews the lease, declares
//! other pods dead, and learns what there is to do, which generations are current and what time it is. Every ten seconds it
//! appends the heads of the chains to the root chain.

use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_protocol::{BootTime, DatabaseTime, Timestamp};
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::audit::chain::ChainTip;
use crate::audit::chain_key::SavedHead;
use crate::audit::head::HeadKind;
use crate::audit::root_chain::{ChainHead, RootEvent};
use crate::cluster::{DueWork, RunMessage};
use crate::error::StoreError;
use crate::generation_store::{Generations, raise};
use crate::group_commit::{BatchCommand, CommandReceiver, ReplySender};
use crate::postgres::audit::root::append;
use crate::postgres::clock_offset::{OffsetReport, ReportedOffset};
use crate::postgres::command::AccountsCommand;
use crate::postgres::connection::{STATEMENT_TIMEOUT, connect, in_time};
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::lane::SIGN_INTERVAL;
use crate::postgres::pauses::{LEASE_MARGIN, Pauses};
use crate::postgres::peers::{LEASE, PeerRow, Peers, Suspect};

/// How often the lease is renewed.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two ticks, however often a tick is requested.
const NUDGED_INTERVAL: Duration = Duration::from_millis(100);
/// The delay of the next attempt after one that has failed.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long one attempt may take while the lease lasts.
const TICK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one attempt may take after the lease has lapsed, when nothing is lost by waiting: a new connection included.
const LAPSED_TICK_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages of runs that one tick reads.
const INBOX_MAX: i32 = 256;

/// A command of the tick.
pub(super) enum TickCommand {
    /// Releases everything that the pod owns, records that it was active until this time, and ends the tick.
    Close(Timestamp, ReplySender<()>),
}

impl BatchCommand for TickCommand {
    fn max_delay(&self) -> Duration {
        Duration::ZERO
    }
}

#[derive(Deserialize)]
struct TickReport {
    alive: bool,
    #[serde(default)]
    now: i64,
    #[serde(default)]
    declared: Vec<i64>,
    #[serde(default)]
    peers: Vec<PeerRow>,
    #[serde(default)]
    to_clean: Vec<i64>,
    #[serde(default)]
    due: bool,
    #[serde(default)]
    unshown: bool,
    #[serde(default)]
    inbox: Vec<RunMessage>,
    #[serde(default)]
    generations: Generations,
}

/// The tick of a pod.
pub(super) struct Tick {
    store: StoreHandle,
    connection: Option<PgConnection>,
    peers: Peers,
    /// Until when the last acknowledged renewal lasts.
    renewed_until: BootTime,
    /// It was reported that the lease was not renewed.
    has_failed: bool,
    /// It was reported that the lease has lapsed.
    has_lapsed: bool,
    pauses: Pauses,
    reported_offset: ReportedOffset,
    root_at: Instant,
    pods_declared_dead: u64,
    lapses: u64,
    cleaner: mpsc::Sender<i64>,
}

impl Tick {
    /// A tick that sends the pods whose rest is to be cleaned to `cleaner`.
    pub(super) fn new(store: StoreHandle, cleaner: mpsc::Sender<i64>) -> Self {
        let renewed_until = store.pod.joined_at.saturating_add(LEASE);
        let pauses = Pauses::since(store.pod.database_time);
        Self {
            store,
            connection: None,
            peers: Peers::default(),
            renewed_until,
            has_failed: false,
            has_lapsed: false,
            pauses,
            reported_offset: ReportedOffset::default(),
            root_at: Instant::now() + SIGN_INTERVAL,
            pods_declared_dead: 0,
            lapses: 0,
            cleaner,
        }
    }

    /// Ticks until the store is closed, or until the pod is dead.
    pub(super) async fn run(mut self, mut commands: CommandReceiver<TickCommand>) -> Result<(), StoreError> {
        let (mut next_at, mut ticked_at) = (Instant::now(), Instant::now());
        loop {
            let mut received = Vec::new();
            let has_callers = tokio::select! {
                has_callers = commands.next_batch(&mut received, next_at) => has_callers,
                () = self.store.nudged.notified() => {
                    next_at = next_at.min(ticked_at + NUDGED_INTERVAL);
                    continue;
                }
            };
            if let Some(TickCommand::Close(now, reply)) = received.pop() {
                reply.send(self.stop(now).await);
                return Ok(());
            }
            if !has_callers {
                return Ok(());
            }
            if Instant::now() >= next_at {
                ticked_at = Instant::now();
                next_at = self.tick().await?;
            }
        }
    }

    /// Ticks once, and returns when the next tick is due.
    async fn tick(&mut self) -> Result<Instant, StoreError> {
        let (started_at, sent_at) = (Instant::now(), self.store.clock.boot_time());
        let suspects = self.peers.suspects(sent_at);
        let wait_max = attempt_timeout(self.renewed_until.saturating_duration_since(sent_at));
        let called = timeout(wait_max, self.call(&suspects)).await.unwrap_or(Err(StoreError::Timeout));
        let report = match called {
            Ok(report) => report,
            Err(error) => {
                self.connection = None;
                self.on_failed(&error);
                return Ok(Instant::now() + RETRY_DELAY);
            }
        };
        if !report.alive {
            tracing::error!(pod.id = %self.store.pod.name, "this pod was declared dead, and stops");
            self.store.on_dead();
            return Err(StoreError::PodDead);
        }
        let received_at = self.store.clock.boot_time();
        let database_time = DatabaseTime { at: Timestamp::from_micros(report.now), sent_at, received_at };
        self.store.clock.follow(database_time);
        let was_paused = self.pauses.observe(database_time);
        if was_paused {
            self.on_paused();
        } else {
            self.on_renewed(sent_at);
        }
        self.on_report(started_at, sent_at, report).await;
        if was_paused {
            return Ok(Instant::now());
        }
        let delay = self.peers.next_delay(sent_at).map_or(TICK_INTERVAL, |delay| delay.min(TICK_INTERVAL));
        Ok(started_at + delay)
    }

    async fn call(&mut self, suspects: &[Suspect]) -> Result<TickReport, StoreError> {
        let (pod, now) = (self.store.pod.id, self.store.clock.now());
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let report: String = sqlx::query_scalar("SELECT greenroom_tick_v2($1, $2, $3, $4, $5)")
            .bind(pod)
            .bind(lease)
            .bind(Json(suspects))
            .bind(now.as_micros())
            .bind(INBOX_MAX)
            .fetch_one(self.connect().await?)
            .await
            .map_err(|error| sqlx_error(&error))?;
        Ok(serde_json::from_str(&report)?)
    }

    async fn connect(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.connection.is_none() {
            // A statement that waits for a lock must not outlive the attempt that has sent it.
            let options = self.store.options.clone().options([("statement_timeout", TICK_TIMEOUT.as_millis())]);
            self.connection = Some(connect(&options).await?);
        }
        self.connection.as_mut().ok_or(StoreError::Closed)
    }

    fn on_renewed(&mut self, sent_at: BootTime) {
        // No attempt need have failed since the lease has lapsed.
        if self.store.clock.boot_time() >= self.renewed_until && !self.has_lapsed {
            self.lapses += 1;
        }
        // The lease began when the database renewed it, which is not before the call was sent.
        self.renewed_until = sent_at.saturating_add(LEASE.saturating_sub(LEASE_MARGIN));
        let had_failed = std::mem::take(&mut self.has_failed) | std::mem::take(&mut self.has_lapsed);
        if self.store.on_renewed(self.renewed_until) | had_failed {
            tracing::info!(pod.id = %self.store.pod.name, "the lease of this pod is renewed again");
        }
    }

    /// The machine was paused, and this renewal may have been sent before that: only the next one counts.
    fn on_paused(&mut self) {
        self.peers.restart();
        self.renewed_until = BootTime::default();
        self.has_lapsed = true;
        self.store.on_paused();
        tracing::warn!(
            pod.id = %self.store.pod.name,
            "the clock of the database has advanced further than that of this machine, which may have been paused: this \
             pod releases nothing until its lease is renewed"
        );
    }

    fn on_failed(&mut self, error: &StoreError) {
        // It is attempted every 100 ms, and once more is no news.
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(error = %error, "the lease of this pod was not renewed, and is attempted until it is");
        }
        if self.store.clock.boot_time() >= self.renewed_until && !self.has_lapsed {
            self.has_lapsed = true;
            self.lapses += 1;
            // It is the same one; those who watch it learn that its time has passed.
            self.store.lease.send_modify(|_| {});
            tracing::error!(
                pod.id = %self.store.pod.name,
                "the lease of this pod has lapsed: it releases nothing until the lease is renewed"
            );
        }
    }

    async fn on_report(&mut self, started_at: Instant, sent_at: BootTime, report: TickReport) {
        let TickReport { alive: _, now: _, declared, peers, to_clean, due, unshown, inbox, generations } = report;
        raise(&self.store.generations, generations);
        // What a pod has left that is being cleaned can be claimed already, and so can what this pod has lost itself.
        let has_lost_trees =
            self.store.leases.has_unclaimed(self.store.clock.now()) || self.store.lost_claim_until().is_some();
        let has_due_trees = due || !to_clean.is_empty() || has_lost_trees;
        self.pods_declared_dead += declared.len() as u64;
        self.peers.observe(sent_at, &peers);
        for pod in declared {
            tracing::warn!(pod.row = pod, "a pod has not renewed its lease, and was declared dead");
        }
        for pod in to_clean {
            // If the queue is full, the next tick sends it again.
            let _ = self.cleaner.try_send(pod);
        }
        if unshown {
            // As above.
            let _ = self.store.accounts().try_send(AccountsCommand::Show);
        }
        let (pods_declared_dead, clock_offset_micros) = (self.pods_declared_dead, self.measure_offset());
        let (lapses, fenced_writes) = (self.lapses, self.store.fenced_writes.load(Ordering::Relaxed));
        let work =
            DueWork { has_due_trees, messages: inbox, pods_declared_dead, clock_offset_micros, lapses, fenced_writes };
        self.store.due_work.send_replace(work);
        // Another pod may have written to a run that is watched here.
        self.store.journal_notifiers.notify_all();
        if started_at >= self.root_at {
            self.root_at = started_at + SIGN_INTERVAL;
            if let Err(error) = self.append_heads().await {
                tracing::warn!(error = %error, "the heads of the audit are appended to the root chain later");
            }
        }
    }

    /// By how much the wall clock of the machine is later than that of the pod, which matters to no one but a reader of
    /// the log.
    fn measure_offset(&mut self) -> i64 {
        let offset_us = self.store.clock.wall_offset_micros();
        match self.reported_offset.observe(offset_us) {
            Some(OffsetReport::Wrong) => tracing::warn!(
                clock.offset_us = offset_us,
                "the wall clock of this machine is not that of the database, which this pod uses: only times in this log \
                 are wrong"
            ),
            Some(OffsetReport::Right) => {
                tracing::info!(clock.offset_us = offset_us, "the wall clock of this machine is right again");
            }
            None => {}
        }
        offset_us
    }

    /// Appends the heads that the lanes have signed to the root chain, and saves its own head beside the key.
    async fn append_heads(&mut self) -> Result<(), StoreError> {
        let heads = self.store.take_heads();
        if heads.is_empty() {
            return Ok(());
        }
        let (pod, now) = (self.store.pod.id, self.store.clock.now());
        let ended = heads.iter().cloned().map(|(chain, head)| ChainHead { chain, head }).collect();
        let events = [RootEvent::Heads { heads: ended }];
        let appended = match self.connect().await {
            Ok(connection) => timeout(TICK_TIMEOUT, append(connection, pod, now, &events)).await,
            Err(error) => Ok(Err(error)),
        };
        match appended.unwrap_or(Err(StoreError::Timeout)) {
            Ok(tip) => save_root_head(&self.store, tip),
            Err(error) => {
                self.connection = None;
                heads.into_iter().for_each(|(chain, head)| self.store.restore_head(chain, head));
                Err(error)
            }
        }
    }

    /// Appends the ends of the chains, and releases everything that the pod owns.
    async fn stop(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let signed = self.append_heads().await;
        let pod = self.store.pod.id;
        let left = match self.connect().await {
            Ok(connection) => {
                let leaving = sqlx::query("SELECT greenroom_leave_v1($1, $2)").bind(pod).bind(now.as_micros());
                in_time(STATEMENT_TIMEOUT, leaving.execute(connection)).await.map(drop)
            }
            Err(error) => Err(error),
        };
        self.store.journal_notifiers.close_all();
        signed.and(left)
    }
}

/// How long one attempt may take, with this much left of the lease. Half of it remains for an attempt on another connection.
/// After the lease no such bound holds: an attempt that is given too little time to connect would never renew it.
fn attempt_timeout(lease_left: Duration) -> Duration {
    if lease_left.is_zero() { LAPSED_TICK_TIMEOUT } else { (lease_left / 2).clamp(RETRY_DELAY, TICK_TIMEOUT) }
}

/// Saves the head of the root chain in the file beside the key, so that a root chain which was rewritten is noticed.
pub(super) fn save_root_head(store: &StoreHandle, tip: ChainTip) -> Result<(), StoreError> {
    let head = store.signer.sign(HeadKind::Running, tip, store.clock.now());
    store.signer.save_head(&SavedHead { database: store.database.clone(), head })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_leaves_half_of_the_lease_to_the_next_one_and_takes_its_time_after_the_lease() {
        let lease = LEASE.saturating_sub(LEASE_MARGIN);
        assert_eq!(attempt_timeout(lease), lease / 2);
        assert_eq!(attempt_timeout(Duration::from_secs(60)), TICK_TIMEOUT);
        assert_eq!(attempt_timeout(Duration::from_millis(10)), RETRY_DELAY);
        assert_eq!(attempt_timeout(Duration::ZERO), LAPSED_TICK_TIMEOUT);
    }
}
