//! The catalogues and the policies that were applied for every pod of a database.
//!
//! Each application makes a generation of its kind: the files under their hashes, who applied them, and when. The last
//! generation of a kind is the current one. A rollback is an application of older files, so numbers only grow, and a pod
//! learns of every change by comparing two numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;

use crate::error::StoreError;

pub(crate) mod rows;

/// Files of one generation.
pub const GENERATION_FILES_MAX: usize = 20_000;
/// Bytes of all files of one generation.
pub const GENERATION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Generations of one kind that are stored, the current one among them; older ones are removed.
pub const GENERATIONS_STORED_MAX: u64 = 32;

/// The kind of what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GenerationKind {
    /// Definitions of agents, teams and workflows.
    Catalogue,
    /// A policy bundle.
    Policy,
}

impl GenerationKind {
    /// The kind as a store has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Policy => "policy",
        }
    }
}

/// The number of a generation of each kind. The first generation is 1; zero means that none was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Generations {
    /// Of the catalogue.
    pub catalogue: u64,
    /// Of the policy.
    pub policy: u64,
}

impl Generations {
    /// The number of this kind.
    #[must_use]
    pub const fn number(self, kind: GenerationKind) -> u64 {
        match kind {
            GenerationKind::Catalogue => self.catalogue,
            GenerationKind::Policy => self.policy,
        }
    }

    /// The same numbers, with another one of this kind.
    #[must_use]
    pub const fn with_number(self, kind: GenerationKind, number: u64) -> Self {
        match kind {
            GenerationKind::Catalogue => Self { catalogue: number, ..self },
            GenerationKind::Policy => Self { policy: number, ..self },
        }
    }
}

/// The content of files by their names, whose folders are separated by `/`.
pub type GenerationFiles = BTreeMap<String, Arc<[u8]>>;

/// The hash of the names and the contents of files: generations with equal hashes are equal.
#[must_use]
pub fn hash_files(files: &GenerationFiles) -> ContentHash {
    let mut hashes = Vec::with_capacity(files.len().saturating_mul(64));
    for (name, content) in files {
        hashes.extend_from_slice(ContentHash::from_content(name.as_bytes()).as_bytes());
        hashes.extend_from_slice(ContentHash::from_content(content).as_bytes());
    }
    ContentHash::from_content(&hashes)
}

/// A generation without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationInfo {
    /// Its number within its kind.
    pub number: u64,
    /// The hash of its files ([`hash_files`]).
    pub hash: ContentHash,
    /// Where its files were read, as the user named it.
    pub source: String,
    /// Who applied it.
    pub by: PrincipalId,
    /// When it was applied.
    pub at: Timestamp,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// What is known of it.
    pub info: GenerationInfo,
    /// Its files.
    pub files: GenerationFiles,
}

/// What is to become the next generation.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// Its kind.
    pub kind: GenerationKind,
    /// Its files.
    pub files: GenerationFiles,
    /// Where they were read, as the user named it.
    pub source: String,
    /// Who applies it.
    pub by: PrincipalId,
    /// When it is applied.
    pub at: Timestamp,
}

/// Stores the generations.
#[async_trait]
pub trait GenerationStore: Send + Sync {
    /// Returns the numbers of the current generations as they are stored now. This is cheap: it reads one small row.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn current_generations(&self) -> Result<Generations, StoreError>;

    /// Notifies of the current generations. With a database that other pods write too, the last tick has read them, about
    /// a second ago at most; until the first tick the numbers are zero.
    fn watch(&self) -> watch::Receiver<Generations>;

    /// Returns a generation; `None` if there is none with this number, or no longer.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read, or its files do not have its hash.
    async fn get(&self, kind: GenerationKind, number: u64) -> Result<Option<Generation>, StoreError>;

    /// Lists the stored generations of a kind, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list(&self, kind: GenerationKind) -> Result<Vec<GenerationInfo>, StoreError>;

    /// Stores files as the next generation of their kind and makes it the current one, in one transaction, and returns
    /// its number. `None`, and then nothing changes, if the current generations are not those against which the caller
    /// has checked the files.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was changed, unless the outcome is unknown.
    async fn apply(&self, new: NewGeneration, checked: Generations) -> Result<Option<u64>, StoreError>;
}

/// Checks the number and the size of the files of a generation.
pub(crate) fn check_files(files: &GenerationFiles) -> Result<(), StoreError> {
    let bytes = files.values().map(|content| content.len()).fold(0, usize::saturating_add);
    if files.is_empty() || files.len() > GENERATION_FILES_MAX || bytes > GENERATION_BYTES_MAX {
        return Err(StoreError::Codec(format!(
            "a generation has 1 to {GENERATION_FILES_MAX} files, and at most {GENERATION_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// The newest number of a generation that is removed when this one is stored.
pub(crate) const fn newest_removed(number: u64) -> u64 {
    number.saturating_sub(GENERATIONS_STORED_MAX)
}

/// Notifies of newer generations. Readings of two connections may arrive in another order than they were made in, so a
/// smaller number is older.
pub(crate) fn raise(known: &watch::Sender<Generations>, found: Generations) {
    known.send_if_modified(|known| {
        let newest =
            Generations { catalogue: known.catalogue.max(found.catalogue), policy: known.policy.max(found.policy) };
        let is_newer = newest != *known;
        *known = newest;
        is_newer
    });
}
