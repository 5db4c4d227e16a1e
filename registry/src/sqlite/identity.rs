//! The identity of a database, which its data directory knows too: the key in `audit.key` signs its audit, and the
//! head in `audit.head` names the database. A database and a directory that do not belong together are reported as
//! such; nobody has changed a record.

use std::path::Path;

use rusqlite::Connection;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::audit::ChainKey;
use crate::audit::chain_key::SavedHead;
use crate::error::StoreError;
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::error::sqlx_error;
use crate::sqlite::statement_batch::StatementBatch;

const SELECT: &str = "SELECT database, audit_key FROM store_identity";
const CLAIM: &str = "UPDATE store_identity SET audit_key = ? WHERE audit_key IS NULL";

/// Which database a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its identity, which its copies share.
    pub(super) database: String,
    /// The public key of its audit; `None` until the first process has opened it.
    pub(super) audit_key: Option<String>,
}

impl Identity {
    /// Reads it on the connection of the writer.
    pub(super) fn read(conn: &Connection) -> Result<Self, StoreError> {
        let rows = select(conn, SELECT, [], |row| {
            let audit_key = row.optional_text("audit_key")?.map(str::to_owned);
            Ok(Self { database: row.text("database")?.to_owned(), audit_key })
        })?;
        rows.into_iter().next().ok_or_else(missing)
    }

    /// Reads it on another connection.
    pub(super) async fn fetch(conn: &mut SqliteConnection) -> Result<Self, StoreError> {
        let row = sqlx::query(SELECT).fetch_optional(conn).await.map_err(|error| sqlx_error(&error))?;
        let row = row.ok_or_else(missing)?;
        let audit_key = row.try_get("audit_key").map_err(|error| sqlx_error(&error))?;
        Ok(Self { database: row.try_get("database").map_err(|error| sqlx_error(&error))?, audit_key })
    }

    /// Binds a new database to the key of its audit.
    pub(super) fn claim(key: &ChainKey, statements: &mut StatementBatch) {
        statements.add(CLAIM, vec![key.to_hex().into()]);
    }

    /// Fails if another key signs the audit of the database.
    pub(super) fn check_key(&self, path: &Path, key: &ChainKey) -> Result<(), StoreError> {
        match &self.audit_key {
            Some(own) if *own != key.to_hex() => Err(StoreError::OtherDirectory(format!(
                "the database {} belongs to another data directory: its audit is signed by the key {}, and not by the key {}",
                path.display(),
                short(own),
                short(&key.to_hex())
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Fails if the saved head is that of another database.
    pub(super) fn check_saved(&self, path: &Path, key: &ChainKey, saved: Option<&SavedHead>) -> Result<(), StoreError> {
        match saved {
            Some(saved) if saved.database != self.database => Err(StoreError::OtherDatabase(format!(
                "the data directory belongs to another database: {} names the database {}, and {} is the database {}",
                key.head_file().unwrap_or_else(|| Path::new("audit.head")).display(),
                short(&saved.database),
                path.display(),
                short(&self.database)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// The first digits of an identity or a key, which are enough to compare two.
fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

fn missing() -> StoreError {
    StoreError::Corrupt("it has no identity".to_owned())
}
