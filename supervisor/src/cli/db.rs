//! `greenroom db`: checks, prunes, backs up, restores and migrates the store. A store that cannot be opened is examined
//! without opening it.

pub mod restore;
pub mod server_copy;

use std::path::Path;

use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{Cause, Clock, ErrorCode, Json, Timestamp};
use serde_json::json;

use super::args::{AuditCommand, Command, DbCommand};
use super::output::Output;
use super::runs::format_report;
use super::session::Session;
use crate::admin::{chain_json, check_json};
use crate::clock::WallClock;
use crate::compose::stores;
use crate::config::{Config, SourceLocation};
use crate::data_dir::DataDirLock;

/// Executes the command.
///
/// # Errors
/// Those of the store.
pub async fn db(session: &Session, command: DbCommand, output: Output) -> Result<u8, Cause> {
    match command {
        DbCommand::Check => {
            let report = session.maintain(Maintenance::CheckStore).await?;
            output.document(&report, || format_report(&report));
            Ok(u8::from(report.get("ok") != Some(&Json::Bool(true))))
        }
        DbCommand::Backup { to } => {
            let report = session.maintain(Maintenance::BackUpStore { to: absolute(&to)? }).await?;
            output.document(&report, || format_report(&report));
            Ok(0)
        }
        DbCommand::Prune { older_than } => {
            let report = prune(session, WallClock.now().saturating_sub(older_than.into())).await?;
            output.document(&report, || format_report(&report));
            Ok(0)
        }
        // These need no session, and the caller executes them.
        DbCommand::Restore { .. } | DbCommand::Migrate => Ok(0),
    }
}

/// Removes what is older than a time, each part as the request that removes it alone: first the runs of the tenant with
/// what belongs to them, then the audit of all tenants.
async fn prune(session: &Session, before: Timestamp) -> Result<Json, Cause> {
    let mut report = session.maintain(Maintenance::PruneRuns { before }).await?;
    let audit = session.maintain(Maintenance::PruneAudit { before }).await?;
    if let Some(members) = report.as_object_mut() {
        members.insert("audit_records".to_owned(), audit.get("pruned").cloned().unwrap_or_default());
    }
    Ok(report)
}

/// Migrates the schema of the database. Nothing of it can be opened before, neither the principals nor the audit, so
/// whoever has its password decides.
///
/// # Errors
/// Those of the store.
pub async fn migrate(config: &Config, output: Output) -> Result<u8, Cause> {
    let report = json!({ "schema": stores::migrate(config).await? });
    output.document(&report, || format_report(&report));
    Ok(0)
}

/// A source for the owner of the store: the URL of a bucket, or a path as [`absolute`].
pub(super) fn location(source: &str) -> Result<String, Cause> {
    let location = SourceLocation::parse(source).map_err(|problem| Cause::new(ErrorCode::InvalidInput, problem))?;
    match location.path() {
        Some(path) => absolute(path),
        None => Ok(location.to_string()),
    }
}

/// A path for the owner of the store, which may run in another directory.
fn absolute(path: &Path) -> Result<String, Cause> {
    let invalid = |problem: String| Cause::new(ErrorCode::InvalidInput, format!("{}: {problem}", path.display()));
    let absolute = std::path::absolute(path).map_err(|error| invalid(error.to_string()))?;
    absolute.into_os_string().into_string().map_err(|_| invalid("the path is not UTF-8".to_owned()))
}

/// Reports for `db check` and `audit verify` on a store that cannot be opened; the report contains the error
/// of opening it.
///
/// # Errors
/// `error`, for any other command and for a store without problems.
pub async fn examine(config: &Config, command: &Command, output: Output, error: Cause) -> Result<u8, Cause> {
    let is_full_check = match command {
        Command::Db(DbCommand::Check) => true,
        Command::Audit(AuditCommand::Verify(_)) => false,
        _ => return Err(error),
    };
    // The database belongs to another process, whose key of the audit this directory need not have.
    if error.code == ErrorCode::DataDirectoryInUse {
        return Err(error);
    }
    // The lock keeps other processes from writing meanwhile.
    let Ok(_lock) = DataDirLock::acquire(&config.data_dir).await else { return Err(error) };
    let Ok(Some(check)) = stores::examine(config).await else { return Err(error) };
    let mut report = match check.audit {
        _ if check.is_ok() => return Err(error),
        _ if is_full_check => check_json(&check),
        Some(chain) if !chain.is_valid() => chain_json(&chain),
        Some(_) | None => return Err(error),
    };
    if let Some(members) = report.as_object_mut() {
        members.insert("error".to_owned(), Json::String(error.to_string()));
    }
    output.document(&report, || format_report(&report));
    Ok(error.code.exit_code())
}
