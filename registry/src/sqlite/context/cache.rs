//! The writer's cache of shared contexts, and the decoding of a context from its rows.

use std::collections::{HashMap, HashSet};

use greenroom_protocol as protocol;
use protocol::{Json, RunId, Timestamp};
use rusqlite::Connection;

use crate::context::data::{ContextData, StoredValue};
use crate::context::{ContextError, Version};
use crate::error::StoreError;
use crate::runs::Fence;
use crate::sqlite::columns::{Columns, select};

/// Contexts that are cached between commits; an evicted one is read again when it is needed.
const CACHED_CONTEXTS_MAX: usize = 256;

/// Reads one context. It is one statement, so that all rows belong to the same version.
pub(super) const SELECT_CONTEXT: &str = "SELECT c.fence, c.version AS last, v.key, v.version, v.value, v.expires_at \
                                         FROM contexts c LEFT JOIN context_values v ON v.run = c.run WHERE c.run = ?";

/// The contexts that are being written; `None` for one that does not exist.
#[derive(Default)]
pub(in crate::sqlite) struct ContextCache(HashMap<RunId, Option<ContextData>>);

impl ContextCache {
    /// True if it is known whether the context exists.
    pub(in crate::sqlite) fn contains(&self, run: &RunId) -> bool {
        self.0.contains_key(run)
    }

    /// Drops everything after a commit that failed, because only the contexts on the disk are valid.
    pub(in crate::sqlite) fn clear(&mut self) {
        self.0.clear();
    }

    /// Reads contexts that the cache does not contain.
    pub(in crate::sqlite) fn prefetch(&mut self, conn: &Connection, runs: Vec<RunId>) -> Result<(), StoreError> {
        for run in runs.into_iter().collect::<HashSet<_>>() {
            let rows = select(conn, SELECT_CONTEXT, [run.as_str()], |row| decode_row(row))?;
            if self.0.len() >= CACHED_CONTEXTS_MAX {
                self.0.retain(|_, data| data.is_none());
            }
            self.0.insert(run, assemble(rows));
        }
        Ok(())
    }

    /// Returns a prefetched context, and creates it if it does not exist.
    pub(super) fn get_or_create(&mut self, run: &RunId) -> &mut ContextData {
        self.0.entry(run.clone()).or_default().get_or_insert_default()
    }

    /// Returns a prefetched context.
    pub(super) fn find_mut(&mut self, run: &RunId) -> Result<&mut ContextData, ContextError> {
        self.0.get_mut(run).and_then(Option::as_mut).ok_or(ContextError::Unknown)
    }

    /// Notes that the context does not exist any more.
    pub(super) fn remove(&mut self, run: &RunId) {
        self.0.insert(run.clone(), None);
    }
}

/// One row of [`SELECT_CONTEXT`]: the columns of the context, and one value if it has any.
pub(super) struct ContextRow {
    fence: Fence,
    last: Version,
    value: Option<(protocol::ContextKey, StoredValue)>,
}

/// Decodes one row of [`SELECT_CONTEXT`].
pub(super) fn decode_row(row: &impl Columns) -> Result<ContextRow, StoreError> {
    let (fence, last) = (Fence(row.number("fence")?), Version(row.number("last")?));
    let Some(key) = row.optional_id("key")? else { return Ok(ContextRow { fence, last, value: None }) };
    let stored = StoredValue {
        version: Version(row.number("version")?),
        value: row.optional_text("value")?.map(serde_json::from_str::<Json>).transpose()?,
        expires_at: row.optional_int("expires_at")?.map(Timestamp::from_micros),
    };
    Ok(ContextRow { fence, last, value: Some((key, stored)) })
}

/// Assembles a context from its rows; `None` if there are none.
pub(super) fn assemble(rows: Vec<ContextRow>) -> Option<ContextData> {
    let first = rows.first()?;
    let (fence, version) = (first.fence, first.last);
    let values = rows.into_iter().filter_map(|row| row.value).collect();
    Some(ContextData { fence, version, values })
}
