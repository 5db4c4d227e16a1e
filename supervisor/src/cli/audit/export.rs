//! `greenroom audit export`: a copy of the whole audit in a file, and its verification with the public key. Who verifies it
//! needs neither the database nor a pod.

use std::path::Path;

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use super::public_key::{print_chain, read_key};
use crate::cli::output::Output;
use crate::cli::runs::format_report;
use crate::config::Config;
use crate::config::store::SupportedStore;
use crate::pipeline::store_failure::name_store;

/// Writes the copy to a new file. The database is only read, also beside pods that write it: whoever has its file or its
/// password may read it anyway, and policy has nothing to decide.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if there is no database; those of the store and of the file.
pub async fn export(config: &Config, to: &Path, output: Output) -> Result<u8, Cause> {
    let exported = match config.store.supported()? {
        SupportedStore::Sqlite(path, _) if !path.is_file() => {
            return Err(Cause::new(ErrorCode::InvalidInput, format!("{} is not a file", path.display())));
        }
        SupportedStore::Sqlite(path, _) => greenroom_registry::export_sqlite_audit(path, to).await,
        SupportedStore::Postgres(url) => greenroom_registry::export_postgres_audit(url, to).await,
        SupportedStore::Memory => {
            return Err(Cause::new(
                ErrorCode::InvalidInput,
                "the stores are in memory, so there is no audit to export",
            ));
        }
    };
    let exported = exported.map_err(|error| name_store(error.cause(), &config.store, None))?;
    let report = json!({ "file": to, "records": exported.records, "root_records": exported.root });
    output.document(&report, || format_report(&report));
    Ok(0)
}

/// Verifies a copy with a public key.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if the file of the key has none; those of the copy.
pub fn verify(key: &Path, file: &Path, output: Output) -> Result<u8, Cause> {
    let key = read_key(key)?;
    let report = greenroom_registry::verify_audit_export(file, &key).map_err(|error| error.cause())?;
    Ok(print_chain(&report, output))
}
