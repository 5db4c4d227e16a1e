//! The section `store`: where state is stored and how durable a commit is.

use std::path::{Path, PathBuf};

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::SyncMode;
use url::Url;

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

/// The database of a server, as the programs of the server need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerDatabase {
    /// Its URL with the user and without the password, and without the parameters that only this program knows.
    pub url: String,
    /// The URL of the configuration has a password.
    pub has_password: bool,
}

impl ServerDatabase {
    /// Reads a URL of PostgreSQL; `None` if it is none.
    fn parse(url: &str) -> Option<Self> {
        let mut parsed = Url::parse(url).ok()?;
        let mut has_password = parsed.password().is_some();
        if has_password {
            parsed.set_password(None).ok()?;
        }
        let is_password = |parameter: &str| parameter == "password" || parameter.starts_with("password=");
        let is_own =
            |parameter: &str| parameter.starts_with("statement-cache-capacity") || parameter.starts_with("options[");
        let query = parsed.query().unwrap_or_default().to_owned();
        has_password |= query.split('&').any(is_password);
        let remains = |parameter: &&str| !parameter.is_empty() && !is_password(parameter) && !is_own(parameter);
        let parameters: Vec<&str> = query.split('&').filter(remains).collect();
        parsed.set_query(Some(parameters.join("&")).filter(|query| !query.is_empty()).as_deref());
        Some(Self { url: parsed.into(), has_password })
    }
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

    /// The database of a server, for the programs of that server; `None` if the store is none.
    #[must_use]
    pub fn server_database(&self) -> Option<ServerDatabase> {
        match self {
            Self::Postgres { url } => ServerDatabase::parse(url.reveal())
                .or_else(|| Some(ServerDatabase { url: self.database()?, has_password: true })),
            Self::Memory | Self::Sqlite { .. } | Self::Unsupported { .. } => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_for_the_programs_of_its_server_with_its_user_and_without_its_password() {
        for (url, expected, has_password) in [
            ("postgres://u:pw@h:5433/d?sslmode=verify-full", "postgres://u@h:5433/d?sslmode=verify-full", true),
            ("postgresql://u:p%40w@h/d", "postgresql://u@h/d", true),
            ("postgres://u@h/d?statement-cache-capacity=100&sslmode=prefer", "postgres://u@h/d?sslmode=prefer", false),
            ("postgres://h/d?user=u&password=pw&options[search_path]=x", "postgres://h/d?user=u", true),
            ("postgres:///d?host=/run/postgresql", "postgres:///d?host=/run/postgresql", false),
            ("postgres://u:pw@h:port/d?password=pw", "postgres://***@h:port/d", true),
        ] {
            let store = StoreConfig::Postgres { url: Secret::new(url) };
            let expected = ServerDatabase { url: expected.to_owned(), has_password };
            assert_eq!(store.server_database(), Some(expected));
        }
        assert_eq!(StoreConfig::Memory.server_database(), None);
    }
}
