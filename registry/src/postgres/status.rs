//! What a pod knows of its own lease.

/// The status of this pod's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodStatus {
    /// Its last renewal was acknowledged in time.
    Live,
    /// No renewal was acknowledged for a whole lease. Nothing that follows from a commit is released until one is.
    Lapsed,
    /// Its row is dead: nothing of it is written any more.
    Dead,
}
