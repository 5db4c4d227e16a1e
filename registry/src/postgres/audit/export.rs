//! Exports the audit of a database: the root chain and all others, of one snapshot, beside whatever is written meanwhile.

use std::path::Path;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::audit::export::{ExportReport, ExportWriter};
use crate::columns::to_int;
use crate::error::StoreError;
use crate::postgres::audit::verify::{BEGIN, FIRST, read_records, read_root};
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};
use crate::postgres::identity::Identity;

/// Exports the audit to a new file.
pub(in crate::postgres) async fn export(connection: &mut PgConnection, to: &Path) -> Result<ExportReport, StoreError> {
    let mut snapshot = in_time(STATEMENT_TIMEOUT, connection.begin_with(BEGIN)).await?;
    let identity = Identity::fetch(&mut snapshot).await?;
    let key = identity.audit_key.unwrap_or_default();
    let mut export = ExportWriter::create(to, &identity.database, &key)?;
    let mut last_root = 0;
    loop {
        let rows = read_root(&mut snapshot, last_root).await?;
        let Some(last) = rows.last() else { break };
        last_root = last.number;
        rows.iter().try_for_each(|row| export.add_root(row))?;
    }
    let mut after = FIRST;
    loop {
        let rows = read_records(&mut snapshot, after).await?;
        let Some((chain, row)) = rows.last() else { return export.finish() };
        after = (to_int(*chain), to_int(row.number));
        rows.iter().try_for_each(|(chain, row)| export.add_record(*chain, row))?;
    }
}
