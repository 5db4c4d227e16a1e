//! The sizes of the values in a request.

use greenroom_protocol::Values;
use greenroom_protocol::request::MemoryChange;
use greenroom_protocol::value::size_bytes;

/// Bytes of the larger text.
pub(super) fn text_bytes(change: &MemoryChange) -> u64 {
    match change {
        MemoryChange::Remember { text, index_text, source: _ } => {
            text.len().max(index_text.as_ref().map_or(0, String::len)).try_into().unwrap_or(u64::MAX)
        }
        MemoryChange::Forget { .. } => 0,
    }
}

pub(super) fn largest<const N: usize>(all: [&Values; N]) -> u64 {
    all.iter().flat_map(|values| values.values()).map(size_bytes).max().unwrap_or(0)
}
