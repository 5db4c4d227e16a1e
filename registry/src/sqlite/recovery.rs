//! Recovery from an unclean shutdown, before the first request: audit entries that the last process
//! left open are closed as interrupted, reservations are settled as estimated, and the keys of requests
//! in flight are released.

use greenroom_protocol as protocol;
use protocol::audit::{Event, Record};
use rusqlite::Connection;

use crate::audit::chain::EventJson;
use crate::audit::head::HeadKind;
use crate::audit::{AuditSeq, EntrySubject};
use crate::error::StoreError;
use crate::sqlite::audit::chain::{CloseEntry, append_closing};
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::commit::Commit;
use crate::sqlite::statement_batch::to_int;
use crate::sqlite::writer::Writer;

/// Recovers in one commit, and signs the tip of the audit.
pub(super) async fn recover(writer: &mut Writer) -> Result<(), StoreError> {
    // The records from here on follow a head signed by this process, not the closed end of the last.
    writer.sign(HeadKind::Running).await?;
    let now = writer.state.shared.clock.now();
    let mut commit = Commit::default();
    let open: Vec<u64> = writer.state.shared.open_entries().iter().copied().collect();
    for opened in &open {
        let subject = subject_of(&writer.conn, *opened)?;
        let event = EventJson::from_event(&Event::Interrupted { opened: *opened })?;
        let closing = CloseEntry { opened: AuditSeq(*opened), event, subject, at: now };
        append_closing(&mut writer.state.chain, closing, &mut commit.audit, &mut commit.statements);
    }
    let settled = writer.state.shared.ledger().settle_outstanding(now);
    commit.statements.add("DELETE FROM idempotency_keys WHERE run IS NULL AND reply IS NULL", Vec::new());
    writer.write(&mut commit)?;
    writer.sign(HeadKind::Running).await?;
    if settled > 0 || !open.is_empty() {
        tracing::info!(
            audit.interrupted = open.len(),
            ledger.estimated = settled,
            "recovered after an unclean shutdown"
        );
    }
    Ok(())
}

fn subject_of(conn: &Connection, number: u64) -> Result<EntrySubject, StoreError> {
    let records = select(conn, "SELECT record FROM audit WHERE number = ?", [to_int(number)], |row| {
        Ok(serde_json::from_str::<Record>(row.text("record")?)?)
    })?;
    match records.into_iter().next().map(|record| record.event) {
        Some(Event::Opened(opening)) => Ok(EntrySubject::from_opening(&opening)),
        Some(Event::Closed { .. } | Event::Interrupted { .. } | Event::System { .. }) | None => {
            Err(StoreError::Codec(format!("record {number} is listed as open, but opens no entry")))
        }
    }
}
