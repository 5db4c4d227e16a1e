//! Every bound of the wire, by name and unit. Nothing that crosses a process boundary is unbounded.

use std::time::Duration;

/// Version of every type in this crate; an [`crate::Envelope`] with another one is refused.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of an id.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of an idempotency or call key.
pub const KEY_BYTES_MAX: usize = 512;
/// Bytes of an envelope as it arrives, before anything is parsed.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a document that `max_document_size_10mb` lets through.
pub const DOCUMENT_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Bytes of one value in a journal, a context or a reply; above it, the value becomes an artifact.
pub const INLINE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Speakers in one chain of calls: user, workflow, agent, agent, …
pub const HOPS_MAX: usize = 8;
/// Bytes of one text that an agent remembers.
pub const MEMORY_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a text that a memory is looked for or found by.
pub const MEMORY_QUERY_BYTES_MAX: usize = 64 * 1024;
/// Memories that one look for them answers.
pub const MEMORY_RECALL_MAX: u32 = 100;
/// Steps that one run may have, `for_each` included.
pub const RUN_STEPS_MAX: usize = 10_000;
/// How long an interactive request waits, unless it says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest deadline that a request may ask for.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows of one page of a list.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Rows of a page that does not say how many it wants.
pub const PAGE_ROWS_DEFAULT: u32 = 50;
