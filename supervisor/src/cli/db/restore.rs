//! `greenroom db restore`: puts a backup in the place of the database. The backup is verified first. Policy decides
//! and the audit records it as any other maintenance, in the database that is replaced; if that cannot be opened, in
//! the copy of the backup. The replaced database remains beside the new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom_client::Client;
use greenroom_protocol::limits::REQUEST_TIMEOUT_MAX;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{Cause, Clock, Deadline, ErrorCode, Json, PrincipalId, Request};
use greenroom_registry::restore::{RestoreReport, StagedRestore};
use serde_json::json;

use super::absolute;
use crate::cli::output::{Output, print_note};
use crate::cli::runs::format_report;
use crate::cli::session::owner::{Owner, find_owner};
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::stores::existing_signer;
use crate::compose::{Overrides, RestorePod, compose_with};
use crate::config::Config;
use crate::config::store::SupportedStore;

/// The failures of a database, in the details of their cause, that a backup is the remedy of. A database that is
/// locked, or on a full disk, is no reason to replace it.
const REMEDIED: [&str; 5] = ["chain", "codec", "corrupt", "other_database", "version"];

/// Executes the command.
///
/// # Errors
/// [`ErrorCode::DataDirectoryInUse`] if a process owns the database; [`ErrorCode::InvalidInput`] if the backup cannot
/// be restored; the cause of a denied request; those of the store.
pub async fn restore(config: &Config, from: &Path, output: Output) -> Result<u8, Cause> {
    let from = absolute(from)?;
    let database = match config.store.supported()? {
        SupportedStore::Sqlite(database, _) => database,
        SupportedStore::Memory | SupportedStore::Postgres(_) => {
            let message = "the stores are in no file, so there is none to replace";
            return Err(Cause::new(ErrorCode::InvalidInput, message));
        }
    };
    // Held until the database has been replaced.
    let _lock = match find_owner(config, print_note).await? {
        Owner::ThisProcess(lock) => lock,
        // The owner decides first whether the user may, and then refuses.
        Owner::Other { socket, process, .. } => {
            permit(&Client::new(Arc::new(socket)), &from).await?;
            let message = format!("process {process} owns the data directory; stop it, and run the command again");
            return Err(Cause::new(ErrorCode::DataDirectoryInUse, message));
        }
    };
    let Some(signer) = existing_signer(config)? else {
        let message = format!(
            "{} does not exist: copy the key of the data directory that wrote the backup there",
            config.audit_key_file().display()
        );
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    };
    let staged = greenroom_registry::prepare_restore(&PathBuf::from(&from), database, signer.chain_key()).await;
    let staged = staged.map_err(|error| error.cause())?;
    let by = Box::pin(decide(config, &staged, &from)).await?;
    let restored = greenroom_registry::commit_restore(staged, signer, by, WallClock.now()).await;
    let report = report(&restored.map_err(|error| error.cause())?);
    output.document(&report, || format_report(&report));
    Ok(0)
}

/// Has a pod decide, and returns the principal whom it has permitted.
async fn decide(config: &Config, staged: &StagedRestore, from: &str) -> Result<PrincipalId, Cause> {
    let over_copy = RestorePod::OverCopy { database: staged.copy().to_owned(), head_file: staged.head_file() };
    match decide_with(config, RestorePod::OverDatabase, from).await {
        Err(Undecided::NotOpened(cause)) if is_remedied(&cause) => {
            print_note(&format!(
                "the database cannot be opened, so the backup records the decision: {}",
                cause.message
            ));
            decide_with(config, over_copy, from).await
        }
        decided => decided,
    }
    .map_err(|undecided| match undecided {
        Undecided::NotOpened(cause) | Undecided::NotPermitted(cause) => cause,
    })
}

/// Why there is no permission.
enum Undecided {
    /// The pod could not be assembled.
    NotOpened(Cause),
    /// The request was denied, or has failed.
    NotPermitted(Cause),
}

async fn decide_with(config: &Config, restores: RestorePod, from: &str) -> Result<PrincipalId, Undecided> {
    let overrides = Overrides { restores: Some(restores), ..Overrides::default() };
    let pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await;
    let pod = pod.map_err(Undecided::NotOpened)?;
    let permitted = permit(&pod.client(&config.user), from).await;
    // The database must be closed before it is replaced.
    pod.shutdown().await;
    permitted.map_err(Undecided::NotPermitted)
}

/// Requests the permission.
async fn permit(client: &Client, from: &str) -> Result<PrincipalId, Cause> {
    let deadline = Deadline::after(WallClock.now(), REQUEST_TIMEOUT_MAX);
    let request = Maintenance::RestoreStore { from: from.to_owned() };
    let mut reply = client.request(Request::Maintain(request)).deadline(deadline).send().await?;
    if let Some(cause) = reply.error {
        return Err(cause);
    }
    let report = reply.outputs.remove("report").unwrap_or_default();
    let principal = report.get("principal").cloned().unwrap_or_default();
    serde_json::from_value(principal).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}

/// True if a backup is the remedy of the failure.
fn is_remedied(cause: &Cause) -> bool {
    cause.details.get("store").and_then(Json::as_str).is_some_and(|kind| REMEDIED.contains(&kind))
}

fn report(restored: &RestoreReport) -> Json {
    let RestoreReport { replaced, number, restored } = restored;
    json!({
        "backup": restored.backup,
        "replaced_database": replaced.as_ref().map(|path| path.display().to_string()),
        "break": { "record": number, "restored": restored.restored, "replaced": restored.replaced },
    })
}
