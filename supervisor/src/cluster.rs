//! This pod among the others of its store: its own lease, and what each tick of the store finds to do for it. The tick
//! itself is in the store, on a thread of its own, so that a busy pod does not delay its renewals. A store that one process
//! owns never notifies, so its pod does nothing here.

pub(crate) mod membership;
pub(crate) mod tick;
