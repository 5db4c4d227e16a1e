//! This pod among the others of its store: its own lease, and what each tick of the store finds to do for it. The tick
//! itself is in the store, on a thread of its own, so that a busy pod does not delay its renewals. A store that one process
//! owns never notifies, so its pod does nothing here. Over NATS, pods announce their database to each other, and wake each
//! other; whatever is lost there is found with the next tick.

pub(crate) mod keys;
pub(crate) mod membership;
mod signed;
pub(crate) mod store_watch;
pub(crate) mod tick;
pub(crate) mod wake;
