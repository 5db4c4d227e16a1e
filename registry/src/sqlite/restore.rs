//! Restores a backup of an SQLite file: verifies it, copies it beside the database, and puts the copy in the
//! database's place. The replaced database keeps its content under another name.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use greenroom_protocol::audit::{Event, RecordRef, Restored};
use greenroom_protocol::{PrincipalId, Timestamp};
use sqlx::Connection as _;

use crate::audit::ChainKey;
use crate::audit::chain::EventJson;
use crate::audit::chain_key::SavedHead;
use crate::audit::head::HeadKind;
use crate::audit::signer::Signer;
use crate::error::StoreError;
use crate::maintenance::CheckReport;
use crate::restore::{RestoreError, RestoreReport, StagedRestore, with_suffix};
use crate::sqlite::audit::chain::{Chain, ChainChange, add_head};
use crate::sqlite::connection::{checkpoint, open_readers, open_write_connection};
use crate::sqlite::error::sqlx_error;
use crate::sqlite::inspect::{connect, examine};
use crate::sqlite::owner_lock::OwnerLock;
use crate::sqlite::statement_batch::StatementBatch;
use crate::stores::SyncMode;

/// The copy of a backup, beside the database.
const COPY_SUFFIX: &str = ".restore";

/// Verifies a backup and copies it beside the database, in the schema of this release.
pub(crate) async fn prepare(backup: &Path, database: &Path, key: &ChainKey) -> Result<StagedRestore, RestoreError> {
    let reject = |reason: String| RestoreError::Backup { backup: backup.to_owned(), reason };
    if !backup.is_file() {
        return Err(reject("it is not a file".to_owned()));
    }
    // The saved head is that of the database, and may be newer.
    let report = examine(backup, &key.clone().without_head_file()).await?;
    if let Some(problem) = first_problem(&report) {
        return Err(reject(problem));
    }
    // The file itself is replaced, and not a link to it.
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let copy_path = with_suffix(&database, COPY_SUFFIX);
    let staged = StagedRestore { backup: backup.to_owned(), database, copy: copy_path };
    staged.remove_files().map_err(|error| StoreError::from_io(&staged.copy, &error))?;
    copy(backup, &staged.copy).await?;
    match open_readers(&staged.copy, SyncMode::Full).await {
        Ok(readers) => readers.close().await,
        Err(StoreError::Version(problem)) => return Err(reject(problem)),
        Err(error) => return Err(error.into()),
    }
    Ok(staged)
}

fn first_problem(report: &CheckReport) -> Option<String> {
    let violation = || {
        let audit = report.audit.as_ref()?;
        audit.violation.map(|violation| format!("its audit is not valid: {violation}"))
    };
    report.problems.first().cloned().or_else(violation)
}

async fn copy(backup: &Path, to: &Path) -> Result<(), StoreError> {
    let path = to.to_str().ok_or_else(|| StoreError::Failed(format!("the path {} is not UTF-8", to.display())))?;
    let mut connection = connect(backup).await?;
    sqlx::query("VACUUM INTO ?").bind(path).execute(&mut connection).await.map_err(|error| sqlx_error(&error))?;
    connection.close().await.map_err(|error| sqlx_error(&error))
}

/// Records the break in the copy and puts it in the place of the database, which no process may own.
pub(crate) fn commit(
    staged: &StagedRestore,
    signer: &Signer,
    by: PrincipalId,
    now: Timestamp,
) -> Result<RestoreReport, StoreError> {
    // Closing a file releases the locks that SQLite has on it in this process. No connection to it is open here.
    let _lock = OwnerLock::acquire(&staged.database)?;
    let replaced = match signer.chain_key().load_head() {
        Ok(saved) => saved.map(|saved| RecordRef { number: saved.head.number, hash: saved.head.hash }),
        // A head that cannot be read names no record.
        Err(StoreError::Chain(_)) => None,
        Err(error) => return Err(error),
    };
    let (number, restored, saved) = record_break(staged, signer, by, replaced, now)?;
    let replaced = put_aside(&staged.database, now).map_err(|error| StoreError::from_io(&staged.database, &error))?;
    fs::rename(&staged.copy, &staged.database)
        .and_then(|()| sync_parent(&staged.database))
        .map_err(|error| StoreError::from_io(&staged.database, &error))?;
    // If the process ends before this, the break that is signed in the database names the head that is still saved.
    signer.save_head(&saved)?;
    Ok(RestoreReport { replaced, number, restored })
}

/// Appends the record of the break to the chain of the copy, and signs it.
fn record_break(
    staged: &StagedRestore,
    signer: &Signer,
    by: PrincipalId,
    replaced: Option<RecordRef>,
    now: Timestamp,
) -> Result<(u64, Restored, SavedHead), StoreError> {
    let mut conn = open_write_connection(&staged.copy, SyncMode::Full)?;
    let (mut chain, open) = Chain::load(&conn, &staged.copy, &signer.chain_key().clone().without_head_file())?;
    let PrincipalId { issuer, tenant, user } = by;
    let backup = staged.backup.display().to_string();
    let restored = Restored { issuer, tenant, user, backup, restored: chain.tip().as_record(), replaced };
    let event = EventJson::from_event(&Event::Restored(restored.clone()))?;
    let mut statements = StatementBatch::default();
    let number = chain.append(&event, None, now, &mut ChainChange::default(), &mut statements);
    add_head(&signer.sign_break(chain.tip(), now, replaced), &mut statements)?;
    let Some(head) = chain.sign_tip(HeadKind::Closed, signer, now, &open, &mut statements)? else {
        return Err(StoreError::Chain("the end of the restored chain was not signed".to_owned()));
    };
    statements.execute(&mut conn)?;
    // The file alone must be complete, because it alone gets another name.
    checkpoint(&conn, "TRUNCATE")?;
    conn.close().map_err(|(_, error)| crate::sqlite::error::rusqlite_error(&error))?;
    Ok((number, restored, chain.saved(head)))
}

/// Gives a database, and a log of it that was not written back, another name beside the first one. The database
/// remains under its first name too, until another file takes that name.
fn put_aside(database: &Path, now: Timestamp) -> std::io::Result<Option<PathBuf>> {
    remove_if_present(&with_suffix(database, "-shm"))?;
    if fs::metadata(database)?.len() == 0 {
        return Ok(None);
    }
    let name = free_name(database, now);
    // A file system without hard links has a moment without the database.
    fs::hard_link(database, &name).or_else(|_| fs::rename(database, &name))?;
    match fs::rename(with_suffix(database, "-wal"), with_suffix(&name, "-wal")) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(Some(name)),
    }
}

/// `greenroom.db.replaced-20250102T030405Z`, with a number if that exists.
fn free_name(database: &Path, now: Timestamp) -> PathBuf {
    let seconds: String =
        now.to_string().chars().take_while(|c| *c != '.' && *c != 'Z').filter(|c| !"-:".contains(*c)).collect();
    let first = with_suffix(database, &format!(".replaced-{seconds}Z"));
    let is_taken = |path: &Path| path.symlink_metadata().is_ok();
    let (mut name, mut number) = (first.clone(), 1);
    while is_taken(&name) {
        number += 1;
        name = with_suffix(&first, &format!("-{number}"));
    }
    name
}

fn remove_if_present(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the new name of a file durable.
fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests;
