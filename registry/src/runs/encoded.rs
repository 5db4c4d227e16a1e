//! Journal entries as a store writes them. The caller's thread encodes them, so that the writer has less to do.

use greenroom_protocol::journal::Entry;

use crate::error::StoreError;
use crate::runs::record::{StatusChange, releases_key};

/// Journal entries as JSON and as status changes.
pub(crate) struct EncodedEntries {
    pub(crate) texts: Vec<String>,
    pub(crate) changes: Vec<StatusChange>,
    /// They end the run by a failure that may pass.
    pub(crate) releases_key: bool,
}

impl EncodedEntries {
    /// Encodes entries.
    pub(crate) fn from_entries(entries: &[Entry]) -> Result<Self, StoreError> {
        let texts = entries.iter().map(Entry::to_stored).collect::<Result<_, _>>()?;
        Ok(Self { texts, changes: StatusChange::from_entries(entries), releases_key: releases_key(entries) })
    }
}
