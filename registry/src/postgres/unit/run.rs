//! The change of one run, or of the ownership of its tree, in the queue of a lane.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{PodId, RunId, Timestamp};

use crate::core::{RunChange, UnitError};
use crate::error::StoreError;
use crate::idempotency::StoredKey;
use crate::journal::{AppendPosition, JournalError, Seq};
use crate::runs::encoded::EncodedEntries;
use crate::runs::record::StatusChange;
use crate::runs::{Fence, NewRun};

/// A run to create with its key and its first entries.
pub(in crate::postgres) struct CreateRun {
    pub(in crate::postgres) new: NewRun,
    pub(in crate::postgres) key: Option<StoredKey>,
    pub(in crate::postgres) entries: EncodedEntries,
}

/// The change of one run, or of the ownership of one tree. A tree that has failed is due again later.
pub(in crate::postgres) enum ChangeRun {
    Create(Box<CreateRun>),
    Claim { root: RunId, pod: PodId, lease: Duration },
    Append { run: RunId, fence: Fence, after: Seq, entries: EncodedEntries },
    Release { root: RunId, fence: Fence, failed_until: Option<Timestamp> },
}

impl ChangeRun {
    /// Encodes a change.
    pub(in crate::postgres) fn encode(change: RunChange<'_>) -> Result<Self, StoreError> {
        Ok(match change {
            RunChange::Create { run, key, entries } => {
                let key = key.map(|key| (key.to_stored(), run.tenant().clone()));
                Self::Create(Box::new(CreateRun { new: run, key, entries: EncodedEntries::from_entries(entries)? }))
            }
            RunChange::Claim { root, pod, lease } => Self::Claim { root: root.clone(), pod: pod.clone(), lease },
            RunChange::Append { position: AppendPosition { run, fence, after }, entries } => {
                Self::Append { run: run.clone(), fence, after, entries: EncodedEntries::from_entries(entries)? }
            }
            RunChange::Release { root, fence } => Self::Release { root: root.clone(), fence, failed_until: None },
            RunChange::Fail { root, fence, retry_at } => {
                Self::Release { root: root.clone(), fence, failed_until: Some(retry_at) }
            }
        })
    }

    /// The run whose tree it changes.
    pub(in crate::postgres) fn run(&self) -> &RunId {
        match self {
            Self::Create(create) => &create.new.started.root,
            Self::Claim { root, .. } | Self::Release { root, .. } => root,
            Self::Append { run, .. } => run,
        }
    }

    /// Bytes of its journal entries.
    pub(in crate::postgres) fn entry_bytes(&self) -> usize {
        let entries = match self {
            Self::Create(create) => &create.entries,
            Self::Append { entries, .. } => entries,
            Self::Claim { .. } | Self::Release { .. } => return 0,
        };
        entries.texts.iter().map(String::len).sum()
    }

    /// Why it is not taken, whatever is stored: it has more entries than it may have, or none.
    pub(in crate::postgres) fn refusal(&self) -> Option<UnitError> {
        let checked = match self {
            Self::Create(create) => StatusChange::check_entries(&create.entries.changes),
            Self::Append { entries, .. } if entries.changes.is_empty() => Err(JournalError::Size { found: 0 }),
            Self::Append { entries, .. } => StatusChange::check_entries(&entries.changes),
            Self::Claim { .. } | Self::Release { .. } => Ok(()),
        };
        checked.err().map(UnitError::from)
    }
}
