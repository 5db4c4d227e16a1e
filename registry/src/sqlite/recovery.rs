//! Recovery from an unclean shutdown, before the first request. The pods before this one are dead, and what they have
//! left open is ended: audit entries are closed as interrupted, reservations are settled as estimated, and the keys of
//! requests in flight are released. What belongs to a pod that is alive is not touched.

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{PodId, Timestamp};
use rusqlite::Connection;

use crate::audit::chain::{EventJson, RecordLink};
use crate::audit::head::HeadKind;
use crate::audit::{AuditSeq, EntrySubject};
use crate::error::StoreError;
use crate::ledger::reservation::ReservationId;
use crate::sqlite::audit::chain::{CloseEntry, append_closing};
use crate::sqlite::columns::{Columns as _, select};
use crate::sqlite::commit::Commit;
use crate::sqlite::identity::Identity;
use crate::sqlite::pods::Pods;
use crate::sqlite::statement_batch::to_int;
use crate::sqlite::writer::Writer;

const RELEASE_KEYS: &str = "DELETE FROM idempotency_keys WHERE run IS NULL AND reply IS NULL \
                            AND pod NOT IN (SELECT pod FROM pods WHERE dead = 0)";

/// Recovers in one commit, and signs the tip of the audit.
pub(super) async fn recover(writer: &mut Writer) -> Result<(), StoreError> {
    // The records from here on follow a head signed by this process, not the closed end of the last.
    writer.sign(HeadKind::Running).await?;
    let shared = writer.state.shared.clone();
    let now = shared.clock.now();
    let mut commit = Commit::default();
    // The first statements of the commit: what follows belongs to pods whose death is recorded.
    shared.pods.begin(&writer.conn, now, &mut commit.statements)?;
    Identity::claim(writer.state.signer.chain_key(), &mut commit.statements);
    let interrupted = interrupt_entries(writer, now, &mut commit)?;
    let reservations = reservations_of_dead(&writer.conn, &shared.pods)?;
    let settled = shared.ledger().settle_estimated(&reservations, now);
    commit.statements.add(RELEASE_KEYS, Vec::new());
    writer.write(&mut commit)?;
    writer.sign(HeadKind::Running).await?;
    if settled > 0 || interrupted > 0 {
        tracing::info!(
            audit.interrupted = interrupted,
            ledger.estimated = settled,
            "recovered after an unclean shutdown"
        );
    }
    Ok(())
}

/// Closes the entries that dead pods have left open, and returns their number.
fn interrupt_entries(writer: &mut Writer, now: Timestamp, commit: &mut Commit) -> Result<usize, StoreError> {
    let shared = writer.state.shared.clone();
    let open: Vec<u64> = shared.open_entries().iter().copied().collect();
    let mut interrupted = 0;
    for opened in open {
        let (subject, pod) = opening_of(&writer.conn, opened)?;
        // An entry that names no pod was opened by another release, whose process has ended.
        if pod.is_some_and(|pod| !shared.pods.is_dead(&pod)) {
            continue;
        }
        let event = EventJson::from_event(&Event::Interrupted { opened })?;
        let closing = CloseEntry { opened: AuditSeq(opened), event, subject, at: now };
        append_closing(&mut writer.state.chain, closing, &mut commit.audit, &mut commit.statements);
        interrupted += 1;
    }
    Ok(interrupted)
}

/// The open reservations of dead pods.
fn reservations_of_dead(conn: &Connection, pods: &Pods) -> Result<Vec<ReservationId>, StoreError> {
    let open = select(conn, "SELECT id, pod FROM reservations", [], |row| {
        Ok((ReservationId(row.number("id")?), row.id::<PodId>("pod")?))
    })?;
    Ok(open.into_iter().filter(|(_, pod)| pods.is_dead(pod)).map(|(id, _)| id).collect())
}

/// The subject of an open entry, and the pod that has opened it.
fn opening_of(conn: &Connection, number: u64) -> Result<(EntrySubject, Option<PodId>), StoreError> {
    let events = select(conn, "SELECT record FROM audit WHERE number = ?", [to_int(number)], |row| {
        Ok(RecordLink::parse(row.text("record")?)?.event()?)
    })?;
    match events.into_iter().next().map(|event| (event.request, event.tenant, event.pod)) {
        Some((Some(request), Some(tenant), pod)) => Ok((EntrySubject { request, tenant }, pod)),
        Some(_) | None => Err(StoreError::Codec(format!("record {number} is listed as open, but opens no entry"))),
    }
}
