//! The data of the in-memory shared contexts.

use std::collections::HashMap;

use greenroom_protocol::RunId;

use crate::artifacts::hash_scan::HashScanner;
use crate::context::ContextError;
use crate::context::data::ContextData;
use crate::error::StoreError;

/// All shared contexts.
#[derive(Debug, Default)]
pub(super) struct Contexts(pub(super) HashMap<RunId, ContextData>);

impl Contexts {
    /// Scans every value that may reference an artifact.
    pub(super) fn scan_hashes(&self, scanner: &mut HashScanner) -> Result<(), StoreError> {
        let values = self.0.values().flat_map(|data| data.values.values());
        for value in values.filter_map(|stored| stored.value.as_ref()) {
            scanner.scan(&serde_json::to_vec(value)?);
        }
        Ok(())
    }

    /// Removes a context.
    pub(super) fn remove(&mut self, run: &RunId) {
        self.0.remove(run);
    }

    /// Returns a context that was claimed.
    pub(super) fn data_mut(&mut self, run: &RunId) -> Result<&mut ContextData, ContextError> {
        self.0.get_mut(run).ok_or(ContextError::Unknown)
    }
}
