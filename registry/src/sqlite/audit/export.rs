//! Exports the audit of a file: one chain with its signed heads, of one snapshot, beside whatever is written meanwhile.

use std::path::Path;

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::audit::export::{ExportReport, ExportWriter};
use crate::error::StoreError;
use crate::sqlite::audit::chain::decode_row;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::identity::Identity;
use crate::sqlite::statement_batch::to_int;

/// Records that are read at once.
const BATCH_RECORDS: i64 = 4_096;
const SELECT_HEADS: &str = "SELECT head FROM audit_heads ORDER BY number, kind";
const SELECT_RECORDS: &str = "SELECT number, hash, record FROM audit WHERE number > ? ORDER BY number LIMIT ?";

/// Exports the audit to a new file.
pub(in crate::sqlite) async fn export(
    connection: &mut SqliteConnection,
    to: &Path,
) -> Result<ExportReport, StoreError> {
    let mut snapshot = connection.begin().await.map_err(|error| sqlx_error(&error))?;
    let identity = Identity::fetch(&mut snapshot).await?;
    let key = identity.audit_key.unwrap_or_default();
    let mut export = ExportWriter::create(to, &identity.database, &key)?;
    let heads = sqlx::query(SELECT_HEADS).fetch_all(&mut *snapshot).await.map_err(|error| sqlx_error(&error))?;
    for head in &heads {
        export.add_head(serde_json::from_str(head.text("head")?)?)?;
    }
    let mut after = 0;
    loop {
        let rows = sqlx::query(SELECT_RECORDS)
            .bind(after)
            .bind(BATCH_RECORDS)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(|error| sqlx_error(&error))?;
        if rows.is_empty() {
            return export.finish();
        }
        for row in &rows {
            let row = decode_row(row)?;
            after = to_int(row.number);
            export.add_record(0, &row)?;
        }
    }
}
