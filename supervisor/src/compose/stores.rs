//! From the configuration to the stores: in memory, or one SQLite file; artifacts have a store of their own.

use std::sync::Arc;

use greenroom_protocol::{Cause, Clock, ErrorCode, IdGenerator, PodId};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::maintenance::CheckReport;
use greenroom_registry::{OpenedStores, StoreParts};

use super::artifacts;
use super::overrides::RestorePod;
use crate::config::Config;
use crate::config::store::SupportedStore;
use crate::pipeline::store_failure::name_store;

/// Opens the stores as this pod.
///
/// # Errors
/// Those of the store; [`ErrorCode::StoreUnavailable`] if a directory cannot be created;
/// [`ErrorCode::InvalidConfiguration`] if its URL names no store of this version.
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
            for root in &config.files_roots {
                if root.starts_with(&config.data_dir) {
                    std::fs::create_dir_all(root).map_err(|error| unusable(root, &error))?;
                }
            }
            let signer = Signer::open(&config.audit_key(), random_seed).map_err(|error| error.cause())?;
            let artifacts = artifacts::open(config, ids, Some(&config.artifacts_dir())).await?;
            let (path, signer) = match restores {
                Some(RestorePod::OverCopy { database, head_file }) => {
                    (database.as_path(), signer.with_head_file(head_file.clone()))
                }
                Some(RestorePod::OverDatabase) | None => (path, signer),
            };
            let parts = StoreParts { clock, signer, artifacts, pod };
            let opened = greenroom_registry::open_sqlite(path, sync, parts).await;
            opened.map_err(|error| name_store(error.cause(), &config.store, None))
        }
    }
}

/// Checks the database without opening it for work. `None` if there is no database: the stores are in
/// memory, or the directory is still empty.
///
/// # Errors
/// Those of the audit key and of the operating system.
pub async fn examine(config: &Config) -> Result<Option<CheckReport>, Cause> {
    let SupportedStore::Sqlite(path, _) = config.store.supported()? else { return Ok(None) };
    if !path.is_file() {
        return Ok(None);
    }
    let Some(signer) = Signer::open_existing(&config.audit_key()).map_err(|error| error.cause())? else {
        return Ok(None);
    };
    let checked = greenroom_registry::examine_sqlite(path, signer.chain_key()).await;
    checked.map(Some).map_err(|error| name_store(error.cause(), &config.store, None))
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
