//! The section `store`: where state is stored and how durable a commit is.

use std::path::{Path, PathBuf};

use greenroom_registry::SyncMode;

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "store.url",
        &["GREENROOM_STORE_URL", "DATABASE_URL"],
        "`memory:` or `sqlite:PATH`; default DATA_DIR/greenroom.db",
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
}

/// The store; a problem if its URL names a kind that this version does not have.
pub(super) fn read(reader: &mut ConfigReader<'_>, data_dir: &Path) -> StoreConfig {
    let sync = reader.word("store.sync", &SYNC_MODES).unwrap_or(SyncMode::Full);
    let default = StoreConfig::Sqlite { path: data_dir.join("greenroom.db"), sync };
    match reader.get::<String>("store.url").as_deref() {
        None | Some("") => default,
        Some("memory:") => StoreConfig::Memory,
        Some(url) => match url.strip_prefix("sqlite:") {
            Some(path) => StoreConfig::Sqlite { path: PathBuf::from(path.trim_start_matches("//")), sync },
            None => {
                // The rest of the URL may hold a password.
                let scheme = url.split(':').next().unwrap_or_default();
                reader.report(format!("store.url: this version supports `sqlite:PATH` and `memory:`, not {scheme}"));
                default
            }
        },
    }
}
