//! Everything that the one writer does.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{ContentHash, PodId, RequestId, RunId, TenantId, Timestamp};

use crate::agent_memory::{Memory, MemoryOwner};
use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::{AuditSeq, OpenAuditEntry, PruneReport};
use crate::context::{ContextError, ContextPut, Version};
use crate::error::StoreError;
use crate::group_commit::{self, CommitTiming, ReplySender};
use crate::idempotency::KeyStatus;
use crate::journal::{JournalError, Receipt, Seq};
use crate::runs::record::StatusChange;
use crate::runs::{Created, Fence, NewRun};

/// A command, with the answer's way back where somebody waits.
pub(super) enum Command {
    Audit(AuditWrite),
    Run(RunWrite),
    Context(ContextCommand),
    Idempotency(IdempotencyWrite),
    Memory(AgentMemoryWrite),
    Body {
        hash: ContentHash,
        body: String,
        answer: ReplySender<()>,
    },
    /// Writes what has changed in the ledger; nobody waits.
    FlushLedger,
    /// Answers when everything before it is durable.
    Flush(ReplySender<()>),
    /// Writes everything, seals the audit and ends the writer.
    Close {
        now: Timestamp,
        answer: ReplySender<()>,
    },
}

pub(super) enum AuditWrite {
    Open {
        event: EventJson,
        request: RequestId,
        at: Timestamp,
        timing: CommitTiming,
        answer: ReplySender<OpenAuditEntry>,
    },
    Close {
        opened: AuditSeq,
        event: EventJson,
        request: RequestId,
        at: Timestamp,
    },
    Note {
        event: EventJson,
        at: Timestamp,
        answer: ReplySender<AuditSeq>,
    },
    /// Removes everything up to a record that is older than every open bracket.
    Prune {
        through: ChainTip,
        records: u64,
        now: Timestamp,
        answer: ReplySender<PruneReport>,
    },
}

pub(super) enum RunWrite {
    Begin(Box<Begin>),
    Claim { run: RunId, pod: PodId, lease: Duration, now: Timestamp, answer: ReplySender<Option<Fence>> },
    Append(Box<Append>),
    Prune { before: Timestamp, answer: ReplySender<u64> },
}

/// A run that is about to exist, with what it remembers from the first moment on.
pub(super) struct Begin {
    pub(super) new: NewRun,
    pub(super) key: Option<String>,
    pub(super) entries: Entries,
    pub(super) now: Timestamp,
    pub(super) answer: ReplySender<(Created, Option<Receipt>), JournalError>,
}

/// Entries as text and by what they mean; both are worked out where the caller runs.
pub(super) struct Entries {
    pub(super) texts: Vec<String>,
    pub(super) marks: Vec<StatusChange>,
}

impl Entries {
    pub(super) fn of(entries: &[Entry]) -> Result<Self, StoreError> {
        let texts = entries.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        Ok(Self { texts, marks: StatusChange::from_entries(entries) })
    }
}

/// What a run's owner remembers next.
pub(super) struct Append {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) after: Seq,
    pub(super) entries: Entries,
    pub(super) timing: CommitTiming,
    pub(super) now: Timestamp,
    pub(super) answer: ReplySender<Receipt, JournalError>,
}

pub(super) enum ContextCommand {
    Claim { run: RunId, answer: ReplySender<Fence, ContextError> },
    Write { run: RunId, fence: Fence, put: Box<ContextPut>, now: Timestamp, answer: ReplySender<Version, ContextError> },
    Expire { run: RunId, fence: Fence, now: Timestamp, answer: ReplySender<u64, ContextError> },
    Remove { run: RunId, fence: Fence, answer: ReplySender<(), ContextError> },
}

pub(super) enum AgentMemoryWrite {
    Remember { owner: MemoryOwner, memory: Box<Memory>, vector: Vec<f32>, now: Timestamp, answer: ReplySender<()> },
    Forget { owner: MemoryOwner, id: Option<ContentHash>, answer: ReplySender<()> },
}

pub(super) enum IdempotencyWrite {
    Begin { tenant: TenantId, key: String, body: ContentHash, now: Timestamp, answer: ReplySender<KeyStatus> },
    Finish { tenant: TenantId, key: String, reply: String, now: Timestamp, answer: ReplySender<()> },
    Abandon { tenant: TenantId, key: String, answer: ReplySender<()> },
    Prune { before: Timestamp, answer: ReplySender<u64> },
}

impl group_commit::BatchCommand for Command {
    fn max_delay(&self) -> Duration {
        match self {
            Self::FlushLedger | Self::Audit(AuditWrite::Close { .. }) => group_commit::LINGER,
            Self::Audit(AuditWrite::Open { timing, .. }) => timing.max_delay(),
            Self::Run(RunWrite::Append(append)) => append.timing.max_delay(),
            Self::Audit(AuditWrite::Note { .. } | AuditWrite::Prune { .. })
            | Self::Run(RunWrite::Begin(_) | RunWrite::Claim { .. } | RunWrite::Prune { .. })
            | Self::Context(_)
            | Self::Idempotency(_)
            | Self::Memory(_)
            | Self::Body { .. }
            | Self::Flush(_)
            | Self::Close { .. } => Duration::ZERO,
        }
    }
}

impl RunWrite {
    /// The run that has to be known before the command can be decided.
    pub(super) const fn run(&self) -> Option<&RunId> {
        match self {
            Self::Begin(begin) => Some(&begin.new.run),
            Self::Claim { run, .. } => Some(run),
            Self::Append(append) => Some(&append.run),
            Self::Prune { .. } => None,
        }
    }
}

impl ContextCommand {
    /// The context that has to be known before the command can be decided.
    pub(super) const fn run(&self) -> &RunId {
        match self {
            Self::Claim { run, .. } | Self::Write { run, .. } | Self::Expire { run, .. } | Self::Remove { run, .. } => {
                run
            }
        }
    }
}
