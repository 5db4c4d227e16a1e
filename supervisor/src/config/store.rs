//! The section `store`: where state is stored and how durable a commit is.

use std::path::{Path, PathBuf};

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::SyncMode;

use super::reader::ConfigReader;
use super::secret::{Secret, mask_credentials};
use super::setting::Setting;
use super::store_url::{StoreUrl, parse};

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "store.url",
        &["GREENROOM_STORE_URL", "DATABASE_URL"],
        "`postgres://USER:PASSWORD@HOST/DATABASE`, `sqlite:PATH` or `memory:`; default DATA_DIR/greenroom.db",
    )
    .masked(),
    Setting::text(
        "store.sync",
        &["GREENROOM_STORE_SYNC"],
        "fsync mode: `full` survives a power failure, `normal` only a crash of the process",
    )
    .or("full"),
];

/// The words of `store.sync`.
const SYNC_MODES: [(&str, SyncMode); 2] = [("full", SyncMode::Full), ("normal", SyncMode::Normal)];

/// Where state is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process; lost when it ends.
    Memory,
    /// In one SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// How durable a commit is.
        sync: SyncMode,
    },
    /// In a PostgreSQL database, which many pods may share.
    Postgres {
        /// Its URL, which may contain a password.
        url: Secret,
    },
    /// The URL names no store of this version. `DATABASE_URL` may belong to another program, so this stops only
    /// what needs a store.
    Unsupported {
        /// The problem, with the origin of the URL.
        problem: String,
    },
}

/// A place that this version can store in.
pub enum SupportedStore<'a> {
    /// In this process.
    Memory,
    /// In one SQLite file.
    Sqlite(&'a Path, SyncMode),
    /// In the PostgreSQL database with this URL.
    Postgres(&'a str),
}

impl StoreConfig {
    /// The store, for what needs one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] with the origin of a URL that names none.
    pub fn supported(&self) -> Result<SupportedStore<'_>, Cause> {
        match self {
            Self::Memory => Ok(SupportedStore::Memory),
            Self::Sqlite { path, sync } => Ok(SupportedStore::Sqlite(path, *sync)),
            Self::Postgres { url } => Ok(SupportedStore::Postgres(url.reveal())),
            Self::Unsupported { problem } => Err(Cause::new(ErrorCode::InvalidConfiguration, problem)),
        }
    }

    /// True for the database of a server, which its own tools copy and restore.
    #[must_use]
    pub const fn is_server(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// The database in words, without its password; `None` if there is none.
    #[must_use]
    pub fn database(&self) -> Option<String> {
        match self {
            Self::Memory | Self::Unsupported { .. } => None,
            Self::Sqlite { path, .. } => Some(path.display().to_string()),
            // Its parameters may contain the password.
            Self::Postgres { url } => {
                let masked = mask_credentials(url.reveal());
                Some(masked.split_once('?').map_or(masked.as_str(), |(server, _)| server).to_owned())
            }
        }
    }
}

/// The configured store.
pub(super) fn read(reader: &mut ConfigReader<'_>, data_dir: &Path) -> StoreConfig {
    let sync = reader.word("store.sync", &SYNC_MODES).unwrap_or(SyncMode::Full);
    let default = StoreConfig::Sqlite { path: data_dir.join("greenroom.db"), sync };
    let Some(url) = reader.get::<String>("store.url").filter(|url| !url.trim().is_empty()) else { return default };
    match parse(&url) {
        Ok(StoreUrl::Memory) => StoreConfig::Memory,
        Ok(StoreUrl::Sqlite(path)) => StoreConfig::Sqlite { path, sync },
        Ok(StoreUrl::Postgres(url)) => StoreConfig::Postgres { url },
        Err(problem) => {
            let origin = reader.origin("store.url");
            StoreConfig::Unsupported { problem: format!("store.url ({origin}): {problem}") }
        }
    }
}
