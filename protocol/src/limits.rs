//! Every bound of the protocol, with its unit. Everything that crosses a process boundary is bounded.

use std::time::Duration;

/// Version of every type in this crate, which a sender of this release states.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version that this release reads.
pub const PROTOCOL_VERSION_MIN: u16 = 1;
/// The newest version that this release reads, without the members that it does not know: pods of two consecutive
/// releases form one cluster during an upgrade.
pub const PROTOCOL_VERSION_READ_MAX: u16 = PROTOCOL_VERSION + 1;

/// Bytes of an id.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of a name in a request that is not an id: a tool, a model, a cursor, an audit entry.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of an idempotency or call key.
pub const KEY_BYTES_MAX: usize = 512;
/// Bytes of the prefix of all subjects.
pub const SUBJECT_PREFIX_BYTES_MAX: usize = 64;
/// Bytes of a subject: more than the prefix and an id have if every byte of the id is escaped.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// Bytes of a header's value.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an error message in a header; the reply has the whole message.
pub const HEADER_MESSAGE_BYTES_MAX: usize = 512;
/// Bytes of one chunk of an artifact that is uploaded.
pub const UPLOAD_CHUNK_BYTES_MAX: usize = 512 * 1024;
/// Bytes of an envelope as it arrives, before anything is parsed.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a document that the policy `max_document_size_10mb` allows.
pub const DOCUMENT_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Bytes of one value in a journal, a context or a reply; above it, the value becomes an artifact.
pub const INLINE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an artifact in one reply; the next reply continues it.
pub const ARTIFACT_PART_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Callers in one call chain: user, workflow, agent, agent, …
pub const HOPS_MAX: usize = 8;
/// Bytes of one text that an agent remembers.
pub const MEMORY_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a text by which memories are searched or indexed.
pub const MEMORY_QUERY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a document that is remembered in parts.
pub const MEMORY_DOCUMENT_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Memories that one recall returns.
pub const MEMORY_RECALL_MAX: u32 = 100;
/// Bytes of the reason with which a person rejects a step or a call of a tool.
pub const REASON_BYTES_MAX: usize = 1024;
/// Bytes of the data of an event that is published to a run.
pub const EVENT_DATA_BYTES_MAX: usize = 16 * 1024;
/// Events that one run receives.
pub const RUN_EVENTS_MAX: usize = 1_000;
/// Events of a run for which no step has waited yet.
pub const PENDING_EVENTS_MAX: usize = 100;
/// Bytes of the definition of a team that a request contains.
pub const INLINE_TEAM_BYTES_MAX: usize = 64 * 1024;
/// Members of a team that a request contains.
pub const INLINE_TEAM_AGENTS_MAX: usize = 64;
/// Steps that one run may have, `for_each` included.
pub const RUN_STEPS_MAX: usize = 10_000;
/// Timeout of a request without a deadline.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest timeout that a request may set.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows of one page of a list.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Rows of a page without a limit.
pub const PAGE_ROWS_DEFAULT: u32 = 50;
