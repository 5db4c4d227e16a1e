//! From the configuration to the stores: in memory, one SQLite file, or a PostgreSQL database; artifacts have a store
//! of their own.

use std::sync::Arc;

use greenroom_protocol::{Cause, Clock, ErrorCode, IdGenerator, PodId};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::maintenance::CheckReport;
use greenroom_registry::{OpenedStores, StoreError, StoreParts};

use super::artifacts;
use super::overrides::RestorePod;
use crate::config::Config;
use crate::config::store::SupportedStore;
use crate::pipeline::store_failure::name_store;

/// What the standard library says of a host without an address.
const UNKNOWN_HOST: &str = "failed to lookup address information";

/// Opens the stores as this pod.
///
/// # Errors
/// Those of the store; [`ErrorCode::StoreUnavailable`] if a directory cannot be created;
/// [`ErrorCode::InvalidConfiguration`] if its URL names no store of this version;
/// [`ErrorCode::ArtifactsNotShared`] if another pod of the database stores artifacts where this one would not find them.
pub async fn open(
    config: &Config,
    pod: &PodId,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn IdGenerator>,
    restores: Option<&RestorePod>,
) -> Result<OpenedStores, Cause> {
    let (pod, clock) = (pod.clone(), Arc::clone(clock));
    match config.store.supported()? {
        SupportedStore::Memory => {
            let signer = Signer::ephemeral(seed(&**ids));
            let artifacts = artifacts::open(config, ids, None).await?;
            Ok(greenroom_registry::open_in_memory(StoreParts { clock, signer, artifacts, pod }))
        }
        SupportedStore::Sqlite(path, sync) => {
            let mut parts = open_parts(config, pod, clock, ids).await?;
            let path = match restores {
                Some(RestorePod::OverCopy { database, head_file }) => {
                    parts.signer = parts.signer.with_head_file(head_file.clone());
                    database.as_path()
                }
                Some(RestorePod::OverDatabase) | None => path,
            };
            let opened = greenroom_registry::open_sqlite(path, sync, parts).await;
            opened.map_err(|error| name_store(error.cause(), &config.store, None))
        }
        SupportedStore::Postgres(url) => {
            let (location, parts) = (config.artifacts.location(), open_parts(config, pod, clock, ids).await?);
            let opened = greenroom_registry::open_postgres(url, &location, parts).await;
            opened.map_err(|error| opening_error(&error, config))
        }
    }
}

/// The cause of a database that cannot be opened. A host that does not exist is a mistake of the configuration: the
/// variable may be meant for another program.
fn opening_error(error: &StoreError, config: &Config) -> Cause {
    match error {
        StoreError::Unreachable(reason) if reason.contains(UNKNOWN_HOST) => {
            let message =
                format!("store.url (environment variable DATABASE_URL) names a host that is not known: {reason}");
            Cause::new(ErrorCode::InvalidConfiguration, message)
        }
        error => name_store(error.cause(), &config.store, None),
    }
}

/// What the stores have beside the database: the key of the audit, the artifacts, the directories of files.
async fn open_parts(
    config: &Config,
    pod: PodId,
    clock: Arc<dyn Clock>,
    ids: &Arc<dyn IdGenerator>,
) -> Result<StoreParts, Cause> {
    for root in &config.files_roots {
        if root.starts_with(&config.data_dir) {
            std::fs::create_dir_all(root).map_err(|error| unusable(root, &error))?;
        }
    }
    let signer = match existing_signer(config)? {
        Some(signer) => signer,
        None => Signer::open(&config.audit_key_file(), random_seed).map_err(|error| error.cause())?,
    };
    let artifacts = artifacts::open(config, ids, Some(&config.artifacts_dir())).await?;
    Ok(StoreParts { clock, signer, artifacts, pod })
}

/// The key that signs the audit: that of the configuration, or of the file in the data directory; `None` if there is none yet.
///
/// # Errors
/// [`ErrorCode::StoreUnavailable`] if the file cannot be read, or both exist and differ.
pub fn existing_signer(config: &Config) -> Result<Option<Signer>, Cause> {
    let file = config.audit_key_file();
    let signer = match &config.audit_key {
        Some(digits) => Signer::from_digits(digits.reveal(), &file).map(Some),
        None => Signer::open_existing(&file),
    };
    signer.map_err(|error| error.cause())
}

/// Checks the database without opening it for work. `None` if there is no database: the stores are in
/// memory, or the directory is still empty.
///
/// # Errors
/// Those of the audit key and of the operating system.
pub async fn examine(config: &Config) -> Result<Option<CheckReport>, Cause> {
    let store = config.store.supported()?;
    let signer = existing_signer(config)?;
    let checked = match (store, &signer) {
        (SupportedStore::Sqlite(path, _), Some(signer)) if path.is_file() => {
            greenroom_registry::examine_sqlite(path, signer.chain_key()).await
        }
        (SupportedStore::Postgres(url), signer) => {
            greenroom_registry::examine_postgres(url, signer.as_ref().map(Signer::chain_key)).await
        }
        (SupportedStore::Sqlite(..) | SupportedStore::Memory, _) => return Ok(None),
    };
    checked.map(Some).map_err(|error| name_store(error.cause(), &config.store, None))
}

/// Migrates the schema of the database, and returns its version.
///
/// # Errors
/// Those of the database; [`ErrorCode::InvalidInput`] if it is not one of PostgreSQL.
pub async fn migrate(config: &Config) -> Result<i64, Cause> {
    match config.store.supported()? {
        SupportedStore::Postgres(url) => {
            let migrated = greenroom_registry::migrate_postgres(url).await;
            migrated.map_err(|error| name_store(error.cause(), &config.store, None))
        }
        SupportedStore::Sqlite(..) | SupportedStore::Memory => Err(Cause::new(
            ErrorCode::InvalidInput,
            "only a PostgreSQL database is migrated by a command; an SQLite file is migrated when it is opened",
        )),
    }
}

fn unusable(path: &std::path::Path, error: &std::io::Error) -> Cause {
    Cause::new(ErrorCode::StoreUnavailable, format!("{}: {error}", path.display()))
}

/// Seed of a key that exists only in this process; it has to be unique, not secret.
fn seed(ids: &dyn IdGenerator) -> [u8; 32] {
    let mut seed = [0; 32];
    for (part, number) in seed.chunks_mut(16).zip([ids.next_id(), ids.next_id()]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    seed
}

/// A secret seed from the operating system.
fn random_seed() -> std::io::Result<[u8; 32]> {
    use std::io::Read;
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
