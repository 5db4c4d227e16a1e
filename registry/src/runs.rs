//! Which runs exist, where each stands, and who may write to it: heads, leases and fences.
//!
//! A run's owner holds a lease and a fence. Whoever claims the run next gets a larger fence, and
//! from then on every write with the older one is refused, however late it arrives.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::event::RunStatus;
use protocol::journal::Entry;
use protocol::{
    CallKey, ContentHash, IdempotencyKey, PodId, Reply, RunId, TeamId, TenantId, Timestamp, UserId, WorkflowId,
};

use crate::error::StoreError;
use crate::journal::{JournalError, Receipt, Seq};

pub use fence::Fence;

mod fence;
pub(crate) mod leases;
pub(crate) mod record;

/// What names an effect that may be asked for twice and done once; always within one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DedupKey {
    /// The key that a caller sent along.
    Caller(IdempotencyKey),
    /// The key that a run gives to an effect of its own.
    Call(CallKey),
}

impl DedupKey {
    /// The key as it is kept; the two kinds can never meet.
    #[must_use]
    pub fn to_stored(&self) -> String {
        match self {
            Self::Caller(key) => format!("caller:{key}"),
            Self::Call(key) => format!("call:{key}"),
        }
    }
}

/// A run that is about to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id.
    pub run: RunId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who asked for it; read anew when it resumes.
    pub owner: UserId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// The version of the workflow that it is pinned to.
    pub version: ContentHash,
    /// The team that runs it.
    pub team: Option<TeamId>,
    /// The run that called it as a step.
    pub parent: Option<RunId>,
    /// The hash of the request, by which a repeated one is known.
    pub request_hash: ContentHash,
    /// The pod that will run it.
    pub pod: PodId,
    /// For how long that pod holds it without a sign of life.
    pub lease: Duration,
}

/// What came of [`RunStore::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The run exists now, and the caller owns it.
    New(Fence),
    /// The same request was made before; this is its run.
    Existing(RunId),
    /// The key, or the run's id, was used before with another request.
    Conflict,
}

/// What is known of a run without reading its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub run: RunId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who asked for it.
    pub owner: UserId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// The version of the workflow that it is pinned to.
    pub version: ContentHash,
    /// The team that runs it.
    pub team: Option<TeamId>,
    /// The run that called it as a step.
    pub parent: Option<RunId>,
    /// The hash of the request that it came from.
    pub request_hash: ContentHash,
    /// Where it stands.
    pub status: RunStatus,
    /// Steps that wait for a person.
    pub pending_approvals: u32,
    /// The fence of its last owner.
    pub fence: Fence,
    /// The pod of its last owner.
    pub pod: PodId,
    /// The number of its last journal entry; zero for none.
    pub seq: Seq,
    /// When it was accepted.
    pub created: Timestamp,
    /// When its state changed last.
    pub updated: Timestamp,
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// Only those of this tenant; none means all, which only the platform itself may ask.
    pub tenant: Option<TenantId>,
    /// Only those in this state.
    pub status: Option<RunStatus>,
}

/// One part of a list of runs, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunRecord>,
    /// Before what number the next part begins; none if this is the last one.
    pub next: Option<u64>,
}

/// Keeps the heads of runs.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Makes a run exist, once: a second request with the same key, or the same run id, finds the
    /// first. The answer is durable.
    ///
    /// # Errors
    /// [`StoreError`], and then there is no such run.
    async fn create(&self, run: &NewRun, key: Option<&DedupKey>, now: Timestamp) -> Result<Created, StoreError> {
        match self.create_with_entries(run, key, &[], now).await {
            Ok((created, _)) => Ok(created),
            Err(JournalError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Failed(error.to_string())),
        }
    }

    /// As [`RunStore::create`]; a run that is new has these entries in its journal from the first moment
    /// on, and then their receipt is answered too.
    ///
    /// # Errors
    /// [`JournalError`], and then there is no such run.
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError>;

    /// Takes over a run that nobody holds. `None` if there is no such run, it has ended, or somebody
    /// holds it. After a restart nobody holds anything, since one process owns the data directory.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was taken.
    async fn claim(
        &self,
        run: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<Fence>, StoreError>;

    /// Says that the owner is alive: the lease starts anew. Every append does so too.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] if another owner has it.
    async fn renew(&self, run: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError>;

    /// Gives up the lease, so that the run can be claimed at once. A stale owner's call does nothing.
    async fn release(&self, run: &RunId, fence: Fence);

    /// One run; `None` if there is none of this id.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError>;

    /// How a run ended; `None` if there is no such run, or it has not.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError>;

    /// At most `limit` runs before `before` (none: the newest), the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError>;

    /// Runs that have not ended and that nobody holds, the oldest first: what recovery takes up.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list_unclaimed(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRecord>, StoreError>;

    /// Forgets the runs that ended before this moment, with their journals, contexts and keys, and
    /// answers how many.
    ///
    /// # Errors
    /// [`StoreError`], and then none was forgotten.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;
}
