//! Files that are read where an operator keeps them, such as definitions and policy bundles: in a folder of this machine,
//! or as objects of a bucket. A list has a tag for each file, which is another one if the content is, so whoever watches
//! a source reads only what has changed.

use async_trait::async_trait;
use greenroom_protocol::{Cause, ErrorCode};

use crate::error::StoreError;

mod folder;

pub use folder::open_folder_source;

/// Files of one list.
pub const LISTED_FILES_MAX: usize = 50_000;

/// One file of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedFile {
    /// Its path in the source, whose folders are separated by `/`.
    pub name: String,
    /// Another one for other content: the `ETag` of an object.
    pub tag: String,
}

/// Why files cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// There is no such file or folder, or this process may not read it.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// Its path.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The source has too many files.
    #[error("{source_name} has more than {LISTED_FILES_MAX} files")]
    TooManyFiles {
        /// The source.
        source_name: String,
    },
    /// The server of a bucket failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SourceError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Unreadable { .. } | Self::TooManyFiles { .. } => {
                Cause::new(ErrorCode::InvalidInput, self.to_string())
            }
            Self::Store(error) => error.cause(),
        }
    }
}

/// Lists and reads the files of one source.
#[async_trait]
pub trait SourceFiles: Send + Sync {
    /// Lists the files of the source and of the folders in it by their names; hidden ones are left out.
    ///
    /// # Errors
    /// [`SourceError`], and then it is not known what the source has.
    async fn list(&self) -> Result<Vec<ListedFile>, SourceError>;

    /// Reads a file; of one with more than `bytes_max` bytes, one byte more than that.
    ///
    /// # Errors
    /// [`SourceError`]; also for a file that was removed since it was listed.
    async fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError>;
}

/// True for a name that begins as those of hidden files do, and of the copies that editors write beside a file.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '#', '~'])
}
