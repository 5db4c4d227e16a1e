//! This pod among the others of its store: its own lease, what each tick of the store finds to do for it, and what it sends
//! to other pods. The tick itself is in the store, on a thread of its own, so that a busy pod does not delay its renewals.
//! A store that one process owns never notifies, so its pod does nothing here. Over NATS, pods announce their database to
//! each other, wake each other and call each other; a wake-up that is lost there is made good by the next tick.
//!
//! ```text
//! membership, tick   what the store shows: the lease, trees that are due, messages for runs
//! keys, signed       the secret of the cluster and what is derived from it; messages with a signature
//! root_copy          the root chain of the audit, which cannot be changed there
//! store_watch, wake  the databases of other pods, and wake-ups
//! session, sessions  byte streams to other pods over NATS, dialled when there is a call, ended when idle
//! node, peer_table   the node of ractor_cluster over these streams, and the peers that it makes callable
//! peer               the one actor that other pods can call
//! delegation         what proves to another pod on whose behalf a request is sent
//! placement          which pod executes an agent with labels
//! text_channel       the text that models write, between pods: of steps for watchers (step_texts, text_history), of calls (answers)
//! runtime            the parts above, put together for one pod
//! ```

pub mod answers;
pub mod delegation;
pub mod keys;
pub(crate) mod membership;
pub mod node;
pub mod peer;
pub mod peer_table;
pub mod placement;
pub(crate) mod recent;
pub(crate) mod root_copy;
pub(crate) mod runtime;
pub mod session;
pub mod sessions;
pub mod signed;
pub mod step_texts;
pub mod store_watch;
pub(crate) mod text_channel;
pub(crate) mod text_history;
pub(crate) mod tick;
pub mod wake;
