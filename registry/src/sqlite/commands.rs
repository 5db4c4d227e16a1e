//! Everything that the one writer does.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{ContentHash, PodId, RequestId, RunId, TenantId, Timestamp};

use crate::agent_memory::{Memory, MemoryOwner};
use crate::audit::chain::{EventJson, Link};
use crate::audit::{AuditSeq, Bracket, Pruned};
use crate::context::{ContextError, ContextPut, Version};
use crate::error::StoreError;
use crate::group_commit::{self, Answer, Haste};
use crate::idempotency::Once;
use crate::journal::{JournalError, Receipt, Seq};
use crate::runs::record::Mark;
use crate::runs::{Created, Fence, NewRun};

/// A command, with the answer's way back where somebody waits.
pub(super) enum Command {
    Audit(AuditCommand),
    Run(RunCommand),
    Context(ContextCommand),
    Once(OnceCommand),
    Memory(MemoryCommand),
    Body {
        hash: ContentHash,
        body: String,
        answer: Answer<()>,
    },
    /// Writes what has changed in the ledger; nobody waits.
    Nudge,
    /// Answers when everything before it is durable.
    Flush(Answer<()>),
    /// Writes everything, seals the audit and ends the writer.
    Close {
        now: Timestamp,
        answer: Answer<()>,
    },
}

pub(super) enum AuditCommand {
    Open {
        event: EventJson,
        request: RequestId,
        at: Timestamp,
        haste: Haste,
        answer: Answer<Bracket>,
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
        answer: Answer<AuditSeq>,
    },
    /// Removes everything up to a record that is older than every open bracket.
    Prune {
        through: Link,
        records: u64,
        now: Timestamp,
        answer: Answer<Pruned>,
    },
}

pub(super) enum RunCommand {
    Begin(Box<Begin>),
    Claim { run: RunId, pod: PodId, lease: Duration, now: Timestamp, answer: Answer<Option<Fence>> },
    Append(Box<Append>),
    Prune { before: Timestamp, answer: Answer<u64> },
}

/// A run that is about to exist, with what it remembers from the first moment on.
pub(super) struct Begin {
    pub(super) new: NewRun,
    pub(super) key: Option<String>,
    pub(super) entries: Entries,
    pub(super) now: Timestamp,
    pub(super) answer: Answer<(Created, Option<Receipt>), JournalError>,
}

/// Entries as text and by what they mean; both are worked out where the caller runs.
pub(super) struct Entries {
    pub(super) texts: Vec<String>,
    pub(super) marks: Vec<Mark>,
}

impl Entries {
    pub(super) fn of(entries: &[Entry]) -> Result<Self, StoreError> {
        let texts = entries.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        Ok(Self { texts, marks: Mark::all(entries) })
    }
}

/// What a run's owner remembers next.
pub(super) struct Append {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) after: Seq,
    pub(super) entries: Entries,
    pub(super) haste: Haste,
    pub(super) now: Timestamp,
    pub(super) answer: Answer<Receipt, JournalError>,
}

pub(super) enum ContextCommand {
    Claim { run: RunId, answer: Answer<Fence, ContextError> },
    Write { run: RunId, fence: Fence, put: Box<ContextPut>, now: Timestamp, answer: Answer<Version, ContextError> },
    Expire { run: RunId, fence: Fence, now: Timestamp, answer: Answer<u64, ContextError> },
    Remove { run: RunId, fence: Fence, answer: Answer<(), ContextError> },
}

pub(super) enum MemoryCommand {
    Remember { owner: MemoryOwner, memory: Box<Memory>, vector: Vec<f32>, now: Timestamp, answer: Answer<()> },
    Forget { owner: MemoryOwner, id: Option<ContentHash>, answer: Answer<()> },
}

pub(super) enum OnceCommand {
    Begin { tenant: TenantId, key: String, body: ContentHash, now: Timestamp, answer: Answer<Once> },
    Finish { tenant: TenantId, key: String, reply: String, now: Timestamp, answer: Answer<()> },
    Abandon { tenant: TenantId, key: String, answer: Answer<()> },
    Prune { before: Timestamp, answer: Answer<u64> },
}

impl group_commit::Command for Command {
    fn patience(&self) -> Duration {
        match self {
            Self::Nudge | Self::Audit(AuditCommand::Close { .. }) => group_commit::LINGER,
            Self::Audit(AuditCommand::Open { haste, .. }) => haste.patience(),
            Self::Run(RunCommand::Append(append)) => append.haste.patience(),
            Self::Audit(AuditCommand::Note { .. } | AuditCommand::Prune { .. })
            | Self::Run(RunCommand::Begin(_) | RunCommand::Claim { .. } | RunCommand::Prune { .. })
            | Self::Context(_)
            | Self::Once(_)
            | Self::Memory(_)
            | Self::Body { .. }
            | Self::Flush(_)
            | Self::Close { .. } => Duration::ZERO,
        }
    }
}

impl RunCommand {
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
