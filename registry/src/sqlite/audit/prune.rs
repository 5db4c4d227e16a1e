//! Pruning of the audit in bounded pieces, so that other commits go on between them. The chain is valid after each
//! piece: it starts after the signed anchor of the piece.

use greenroom_protocol as protocol;
use protocol::Timestamp;
use protocol::audit::Event;

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::HeadKind;
use crate::audit::{AuditSeq, PruneReport};
use crate::error::StoreError;
use crate::sqlite::audit::chain::add_head;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::{from_int, to_int};
use crate::sqlite::writer_state::WriterState;

/// Records of one piece.
const PRUNED_RECORDS_MAX: i64 = 4_096;

const SELECT_BOUNDS: &str = "SELECT (SELECT MIN(number) FROM audit) AS first, MAX(number) AS last FROM audit \
                             WHERE number < ?1 AND number < COALESCE((SELECT MIN(number) FROM audit WHERE at >= ?2), ?1)";

/// Removes the records older than `before`, up to the oldest open entry.
pub(in crate::sqlite) async fn prune(
    store: &StoreHandle,
    before: Timestamp,
    now: Timestamp,
) -> Result<PruneReport, StoreError> {
    store.flush().await?;
    let oldest_open = store.open_entries().first().copied().unwrap_or(u64::MAX);
    let bounds = sqlx::query(SELECT_BOUNDS)
        .bind(to_int(oldest_open))
        .bind(before.as_micros())
        .fetch_one(&store.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let Some((first, last)) = bounds.optional_int("first")?.zip(bounds.optional_int("last")?) else {
        return Ok(PruneReport::default());
    };
    let report = PruneReport { records: from_int(last - first + 1), through: AuditSeq(from_int(last)) };
    let message = format!("{} records are pruned, through {last}", report.records);
    // Recorded together with the first piece, before anything else is removed.
    let mut event = Some(EventJson::from_event(&Event::System { subject: "audit".into(), message })?);
    let mut through = first - 1;
    while through < last {
        through = last.min(through + PRUNED_RECORDS_MAX);
        let row = sqlx::query("SELECT hash FROM audit WHERE number = ?").bind(through);
        let row = row.fetch_one(&store.readers).await.map_err(|error| sqlx_error(&error))?;
        let through = ChainTip { number: from_int(through), hash: row.hash("hash")? };
        store.queue.execute(PruneAudit { through, event: event.take(), now }).await?;
    }
    Ok(report)
}

/// Removes the records up to one that is older than every open entry, and replaces them by a signed anchor.
struct PruneAudit {
    through: ChainTip,
    event: Option<EventJson>,
    now: Timestamp,
}

impl WriteCommand for PruneAudit {
    type Output = ();
    type Error = StoreError;

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let Self { through, event, now } = self;
        let number = to_int(through.number);
        add_head(&state.signer.sign(HeadKind::Anchor, through, now), &mut commit.statements)?;
        commit.statements.add("DELETE FROM audit WHERE number <= ?", vec![number.into()]);
        commit.statements.add("DELETE FROM audit_heads WHERE number < ?", vec![number.into()]);
        if let Some(event) = event {
            state.chain.append(&event, None, now, &mut commit.audit, &mut commit.statements);
        }
        Ok(())
    }
}
