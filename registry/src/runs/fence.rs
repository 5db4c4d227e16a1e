//! The fencing token of a run's owner. It is a file of its own, because journals need it and runs need
//! journals.

/// The right to write to a run: each owner gets a larger number than the one before, and writes with a
/// smaller one are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fence(pub u64);

impl Fence {
    /// That of the first owner of a tree, which has created its root.
    pub const FIRST: Self = Self(1);
}
