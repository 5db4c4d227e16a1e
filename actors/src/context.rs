//! The shared context of a team: versioned values, changed by compare-and-set or by appending, which can be watched
//! and expire.
//!
//! One actor per context is its only writer on this pod, and its fence rejects writers of other pods: after a
//! failover a stale owner cannot write. It accepts permits and nothing else.

mod actor;
mod convert;
#[cfg(test)]
mod tests;

pub(crate) use actor::SharedContext;
pub use actor::{ContextChanges, ContextHandle, ContextInfo};
