//! `greenroom db backup` and `restore` for the database of a server: its own tools copy and restore it, so these commands
//! print how. A database that was restored is checked.

use std::path::Path;

use greenroom_protocol::Cause;
use serde_json::json;

use crate::admin::check_json;
use crate::cli::output::Output;
use crate::cli::runs::format_report;
use crate::compose::stores::existing_signer;
use crate::config::Config;
use crate::config::store::SupportedStore;
use crate::pipeline::store_failure::name_store;

/// Prints the command that copies the database.
#[must_use]
pub fn backup(config: &Config, to: &Path, output: Output) -> u8 {
    let database = config.store.database().unwrap_or_default();
    let command = format!("pg_dump --format=custom --file={} --dbname={database}", to.display());
    // A key of the configuration is in no file of the data directory.
    let key_file = config.audit_key.is_none().then(|| config.audit_key_file());
    let report = json!({ "command": command, "copy_too": key_file.into_iter().collect::<Vec<_>>() });
    output.document(&report, || command.clone());
    0
}

/// Prints the command that restores the database from a copy, and checks the database as it is now. The head that the
/// pods have signed last is newer than a copy, so it is not compared.
///
/// # Errors
/// Those of the store and of the audit key.
pub async fn restore(config: &Config, from: &Path, output: Output) -> Result<u8, Cause> {
    let SupportedStore::Postgres(url) = config.store.supported()? else { return Ok(0) };
    let key = existing_signer(config)?.map(|signer| signer.chain_key().clone().without_head_file());
    let checked = greenroom_registry::examine_postgres(url, key.as_ref()).await;
    let checked = checked.map_err(|error| name_store(error.cause(), &config.store, None))?;
    let database = config.store.database().unwrap_or_default();
    let command = format!("pg_restore --clean --if-exists --dbname={database} {}", from.display());
    let report = json!({ "command": command, "check": check_json(&checked) });
    output.document(&report, || format_report(&report));
    Ok(u8::from(!checked.is_ok()))
}
