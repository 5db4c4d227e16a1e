//! State that the lanes and the stores of one pod share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use greenroom_protocol as protocol;
use protocol::{BootTime, Clock, DatabaseTime, PodId, RunId};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::audit::head::SignedHead;
use crate::audit::signer::Signer;
use crate::cluster::{Announcements, DueWork, LeaseStatus, LeaseWatch, PodLease};
use crate::error::StoreError;
use crate::generation_store::Generations;
use crate::notify::RunNotifiers;
use crate::postgres::ledger::open::OpenReservations;
use crate::postgres::ledger::usage::UsageCache;
use crate::postgres::lock::lock;
use crate::postgres::peers::LEASE;
use crate::postgres::readers::Readers;
use crate::runs::leases::Leases;

/// Called runs whose root is remembered.
const ROOTS_MAX: usize = 200_000;

/// This start of the pod, as the database knows it.
pub(super) struct PodRow {
    /// `pods.id`.
    pub(super) id: i64,
    /// The id of this start.
    pub(super) name: PodId,
    /// The audit chain of each lane.
    pub(super) chains: Vec<u64>,
    /// The time before it has joined: its lease began no sooner.
    pub(super) joined_at: BootTime,
    /// The clock of the database at that time.
    pub(super) database_time: DatabaseTime,
}

/// State that the lanes and the stores of one pod share.
pub(super) struct Shared {
    pub(super) options: PgConnectOptions,
    pub(super) readers: Readers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signer: Signer,
    /// The identity of the database.
    pub(super) database: String,
    pub(super) pod: PodRow,
    /// The leases of the trees that this pod owns.
    pub(super) leases: Leases,
    pub(super) journal_notifiers: RunNotifiers,
    pub(super) reservations: OpenReservations,
    pub(super) usage: UsageCache,
    /// The lease of this pod.
    pub(super) lease: watch::Sender<PodLease>,
    /// Until when this pod looks for trees that a claim whose reply was lost may have given it, or may still give it.
    lost_claim_until: Mutex<Option<Instant>>,
    /// What the last tick has found to do.
    pub(super) due_work: watch::Sender<DueWork>,
    /// Units that were refused because another owner had claimed their run.
    pub(super) fenced_writes: AtomicU64,
    /// Requests a tick before the next one is due.
    pub(super) nudged: Notify,
    /// What this pod has left to others.
    pub(super) announcements: watch::Sender<Announcements>,
    /// The newest numbers of generations that were read.
    pub(super) generations: watch::Sender<Generations>,
    /// The root of each run that another one calls and that this pod owns.
    roots: Mutex<HashMap<RunId, RunId>>,
    /// Heads of chains that are signed and not in the root chain yet.
    signed_heads: Mutex<HashMap<u64, SignedHead>>,
    is_closed: AtomicBool,
}

/// What [`Shared`] is made of.
pub(super) struct SharedParts {
    pub(super) options: PgConnectOptions,
    pub(super) readers: Readers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signer: Signer,
    pub(super) database: String,
    pub(super) pod: PodRow,
}

impl Shared {
    pub(super) fn new(parts: SharedParts) -> Self {
        let SharedParts { options, readers, clock, signer, database, pod } = parts;
        // That of a pod that has joined lasts longer, until its first renewal.
        let lease = watch::Sender::new(PodLease::Until(pod.joined_at.saturating_add(LEASE)));
        Self {
            options,
            readers,
            clock,
            signer,
            database,
            pod,
            leases: Leases::default(),
            journal_notifiers: RunNotifiers::default(),
            reservations: OpenReservations::default(),
            usage: UsageCache::default(),
            lease,
            lost_claim_until: Mutex::default(),
            due_work: watch::Sender::new(DueWork::default()),
            fenced_writes: AtomicU64::new(0),
            nudged: Notify::new(),
            announcements: watch::Sender::default(),
            generations: watch::Sender::default(),
            roots: Mutex::default(),
            signed_heads: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Rejects a write to a closed store, or of a pod that is dead.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if *self.lease.borrow() == PodLease::Lost {
            return Err(StoreError::PodDead);
        }
        if self.is_closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Rejects all further writes. True if that was not so before.
    pub(super) fn close(&self) -> bool {
        !self.is_closed.swap(true, Ordering::AcqRel)
    }

    /// The root of the tree of a run, as far as it is known; for a root, and for a run of another pod, the run itself.
    pub(super) fn root_of(&self, run: &RunId) -> RunId {
        lock(&self.roots).get(run).unwrap_or(run).clone()
    }

    /// Remembers the root of a run that another one calls. A root that is forgotten costs only that the units of its tree
    /// are in several lanes.
    pub(super) fn add_root(&self, run: &RunId, root: &RunId) {
        if run != root {
            let mut roots = lock(&self.roots);
            if roots.len() >= ROOTS_MAX {
                roots.clear();
            }
            roots.insert(run.clone(), root.clone());
        }
    }

    /// Forgets a run that has ended, or that has another owner.
    pub(super) fn remove_root(&self, run: &RunId) {
        lock(&self.roots).remove(run);
    }

    /// Adds the newest head of a chain, for the next record of the root chain.
    pub(super) fn add_head(&self, chain: u64, head: SignedHead) {
        lock(&self.signed_heads).insert(chain, head);
    }

    /// Adds a head that could not be written, unless there is a newer one of its chain.
    pub(super) fn restore_head(&self, chain: u64, head: SignedHead) {
        lock(&self.signed_heads).entry(chain).or_insert(head);
    }

    /// Takes the heads that are not in the root chain yet.
    pub(super) fn take_heads(&self) -> Vec<(u64, SignedHead)> {
        let mut heads: Vec<_> = lock(&self.signed_heads).drain().collect();
        heads.sort_by_key(|(chain, _)| *chain);
        heads
    }

    /// Until when this pod looks for trees of a claim whose reply was lost; none if it does not.
    pub(super) fn lost_claim_until(&self) -> Option<Instant> {
        lock(&self.lost_claim_until).filter(|until| *until > Instant::now())
    }

    /// Records until when this pod looks for trees of a claim whose reply was lost.
    pub(super) fn set_lost_claim_until(&self, until: Option<Instant>) {
        *lock(&self.lost_claim_until) = until;
    }

    /// The lease of this pod, with the clock that measures it.
    pub(super) fn watch_lease(&self) -> LeaseWatch {
        LeaseWatch::new(self.lease.subscribe(), Arc::clone(&self.clock))
    }

    /// Waits until it is known whether what follows from a commit may be released: until the pod's lease is renewed, or
    /// is lost. A process that was stopped and continues may have lost its lease meanwhile, so the clock decides at this
    /// moment.
    pub(super) async fn wait_released(&self) -> LeaseStatus {
        self.watch_lease().wait().await
    }

    /// Records a renewal of the lease. True if the lease had lapsed.
    pub(super) fn on_renewed(&self, until: BootTime) -> bool {
        let now = self.clock.boot_time();
        let mut had_lapsed = false;
        self.lease.send_if_modified(|lease| {
            had_lapsed = lease.status_at(now) == LeaseStatus::Lapsed;
            // A lane may have learnt first that the pod is dead.
            let is_lost = *lease == PodLease::Lost;
            if !is_lost {
                *lease = PodLease::Until(until);
            }
            !is_lost
        });
        had_lapsed
    }

    /// Records a pause that none of the clocks of this machine has counted, so the lease may be over: it has lapsed until
    /// a renewal that is sent from now on is acknowledged.
    pub(super) fn on_paused(&self) {
        self.lease.send_if_modified(|lease| {
            let is_lost = *lease == PodLease::Lost;
            if !is_lost {
                *lease = PodLease::Until(BootTime::default());
            }
            !is_lost
        });
    }

    /// Records that another pod has declared this one dead.
    pub(super) fn on_dead(&self) {
        self.lease.send_replace(PodLease::Lost);
    }
}
