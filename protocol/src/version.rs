//! The version that a reply, an event, an entry of a journal and a record of the audit carry. It is absent where it is the
//! first one, so that what was written before it existed has the same bytes, and the same hash, as what is written now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_READ_MAX};

/// The version of the release that has written a document. Its `Default` is that of this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WrittenVersion(pub u16);

impl WrittenVersion {
    /// The version of this release.
    pub const OWN: Self = Self(PROTOCOL_VERSION);
    /// The version of a document that states none.
    pub const FIRST: Self = Self(1);

    /// The version of a document that states none, for serde.
    #[must_use]
    pub const fn first() -> Self {
        Self::FIRST
    }

    /// True for the version that is not written.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.0 == Self::FIRST.0
    }

    /// True if this release reads documents of this version.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        PROTOCOL_VERSION_MIN <= self.0 && self.0 <= PROTOCOL_VERSION_READ_MAX
    }
}

impl Default for WrittenVersion {
    fn default() -> Self {
        Self::OWN
    }
}
