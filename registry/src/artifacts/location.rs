//! Where a pod stores artifacts, as the other pods of its database have to know it.

use std::fmt;

/// Where a pod stores artifacts. All pods of a database have the same place, and one in which each finds what another one
/// has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactLocation {
    /// A folder of this pod, which no other one reads.
    OwnFolder,
    /// A folder that every pod mounts, as its operator states.
    SharedFolder,
    /// A bucket, by its address with the prefix of the keys, and without credentials. The same bucket by another address
    /// is another place.
    Bucket(String),
}

impl ArtifactLocation {
    /// The place as a text, which pods compare and users see.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::OwnFolder => "own folder",
            Self::SharedFolder => "shared folder",
            Self::Bucket(address) => address,
        }
    }

    /// True if each pod finds there what another one has stored.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::OwnFolder => false,
            Self::SharedFolder | Self::Bucket(_) => true,
        }
    }
}

impl fmt::Display for ArtifactLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
