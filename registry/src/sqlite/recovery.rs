//! What the last process left, put in order before the first request: brackets that it left open
//! are closed as interrupted, reservations are settled as estimated, keys of requests that were
//! under way are free again.

use greenroom_protocol as protocol;
use protocol::RequestId;
use protocol::audit::{Event, Record};
use sqlx::Row as _;

use crate::audit::AuditSeq;
use crate::audit::chain::EventJson;
use crate::audit::head::HeadKind;
use crate::error::StoreError;
use crate::sqlite::commands::AuditWrite;
use crate::sqlite::statement_batch::to_int;
use crate::sqlite::writer::{Commit, Writer};
use crate::sqlite::{audit, failed};

/// Puts everything in order, in one commit, and signs the end of the audit.
pub(super) async fn recover(writer: &mut Writer) -> Result<(), StoreError> {
    // What is written from here on follows a statement of this process, not the sealed end of the last.
    writer.sign(HeadKind::Running).await?;
    let now = writer.shared.clock.now();
    let mut commit = Commit::default();
    let open: Vec<u64> = writer.shared.open_entries().iter().copied().collect();
    for opened in &open {
        let request = request_of(writer, *opened).await?;
        let event = EventJson::from_event(&Event::Interrupted { opened: *opened })?;
        let close = AuditWrite::Close { opened: AuditSeq(*opened), event, request, at: now };
        audit::write::apply(writer, close, &mut commit);
    }
    let settled = writer.shared.state().settle_outstanding(now);
    commit.script.add("DELETE FROM idempotency_keys WHERE run IS NULL AND reply IS NULL", Vec::new());
    writer.write(&mut commit)?;
    writer.sign(HeadKind::Running).await?;
    if settled > 0 || !open.is_empty() {
        tracing::info!(audit.interrupted = open.len(), ledger.estimated = settled, "put in order what was left");
    }
    Ok(())
}

async fn request_of(writer: &mut Writer, number: u64) -> Result<RequestId, StoreError> {
    let row = sqlx::query("SELECT record FROM audit WHERE number = ?")
        .bind(to_int(number))
        .fetch_one(&mut writer.connection)
        .await
        .map_err(|error| failed(&error))?;
    let record: &str = row.try_get("record").map_err(|error| failed(&error))?;
    match serde_json::from_str::<Record>(record)?.event {
        Event::Opened(opening) => Ok(opening.request),
        Event::Closed { .. } | Event::Interrupted { .. } | Event::System { .. } => {
            Err(StoreError::Codec(format!("record {number} is noted as open, and opens nothing")))
        }
    }
}
