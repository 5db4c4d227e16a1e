//! The context that a team shares while it runs: versioned values, changed by compare-and-set or by
//! appending, watched, and gone when their time is up.
//!
//! One actor a context is its only writer on this pod, and its fence keeps out the writers of others:
//! after a failover a stale owner cannot write. Requests come as permits and as nothing else.

mod actor;
mod convert;
#[cfg(test)]
mod tests;

pub use actor::{ContextChanges, ContextHandle, ContextInfo, SharedContext};
