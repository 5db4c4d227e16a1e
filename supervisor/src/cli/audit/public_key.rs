//! The public key of the audit: `audit export-key` writes it, and `audit verify --public-key` verifies a database with
//! it. Who verifies needs neither the private key nor a pod, and has to believe neither.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use greenroom_protocol::{Cause, ErrorCode, Json};
use greenroom_registry::audit::{ChainKey, ChainReport};
use serde_json::json;

use crate::admin::chain_json;
use crate::cli::artifacts::unwritable;
use crate::cli::output::Output;
use crate::cli::runs::format_report;
use crate::compose::stores::existing_signer;
use crate::config::Config;
use crate::config::store::SupportedStore;
use crate::pipeline::store_failure::name_store;

/// Writes the public key to a new file, or to standard output. The key is no secret: whoever may read the private key
/// may write it, and policy has nothing to decide.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if there is no key; [`ErrorCode::PathNotAllowed`] if the file cannot be written.
pub fn export(config: &Config, out: Option<&Path>, output: Output) -> Result<u8, Cause> {
    let signer = existing_signer(config)?.ok_or_else(|| {
        let path = config.audit_key_file();
        let message = format!("{} does not exist: the first command in the data directory creates it", path.display());
        Cause::new(ErrorCode::InvalidInput, message)
    })?;
    let pem = signer.chain_key().to_pem();
    match out {
        None => output.document(&json!({ "public_key": pem }), || pem.trim_end().to_owned()),
        Some(out) => {
            let file = OpenOptions::new().write(true).create_new(true).open(out);
            let written = file.and_then(|mut file| file.write_all(pem.as_bytes()));
            written.map_err(|error| unwritable(out, &error))?;
            output.document(&json!({ "file": out }), || out.display().to_string());
        }
    }
    Ok(0)
}

/// Verifies a database with a public key. The database is only read, also beside a pod that writes it.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] if the file has no key, or the database does not exist.
pub async fn verify(config: &Config, key: &Path, database: Option<&Path>, output: Output) -> Result<u8, Cause> {
    let key = read_key(key)?;
    let (database, key) = match database {
        // The saved head is that of the configured database.
        Some(database) => (database, key),
        None => match config.store.supported()? {
            SupportedStore::Sqlite(path, _) => (path, key.with_head_file(config.audit_head())),
            SupportedStore::Postgres(url) => {
                return verify_server(config, url, &key.with_head_file(config.audit_head()), output).await;
            }
            SupportedStore::Memory => {
                return Err(Cause::new(ErrorCode::InvalidInput, "the stores are in memory: name a --database"));
            }
        },
    };
    if !database.is_file() {
        return Err(invalid(database, "is not a file"));
    }
    let checked = greenroom_registry::verify_sqlite_audit(database, &key).await;
    checked.map(|report| print_chain(&report, output)).map_err(|error| error.cause())
}

/// Verifies a PostgreSQL database.
async fn verify_server(config: &Config, url: &str, key: &ChainKey, output: Output) -> Result<u8, Cause> {
    let checked = greenroom_registry::examine_postgres(url, Some(key)).await;
    let checked = checked.map_err(|error| name_store(error.cause(), &config.store, None))?;
    match checked.audit {
        Some(report) => Ok(print_chain(&report, output)),
        None => Err(Cause::new(ErrorCode::StoreUnavailable, checked.problems.join("; "))),
    }
}

fn invalid(path: &Path, problem: &str) -> Cause {
    Cause::new(ErrorCode::InvalidInput, format!("{} {problem}", path.display()))
}

/// Reads a public key.
pub(super) fn read_key(path: &Path) -> Result<ChainKey, Cause> {
    let text = std::fs::read_to_string(path).map_err(|error| invalid(path, &format!("cannot be read: {error}")))?;
    ChainKey::from_pem(&text).map_err(|problem| invalid(path, &problem))
}

/// Prints a report, and returns the exit code.
pub(super) fn print_chain(report: &ChainReport, output: Output) -> u8 {
    let report = chain_json(report);
    output.document(&report, || format_report(&report));
    u8::from(report.get("valid") != Some(&Json::Bool(true)))
}
