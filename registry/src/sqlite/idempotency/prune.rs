//! Pruning of keys whose reply is old, in bounded pieces, so that other commits go on between them.

use greenroom_protocol as protocol;
use protocol::{TenantId, Timestamp};

use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::writer_state::WriterState;

/// Keys of one piece.
const PRUNED_KEYS_MAX: u32 = 1_000;

const SELECT_OLD: &str = "SELECT number FROM idempotency_keys WHERE number > ?3 AND reply IS NOT NULL AND at < ?1 \
                          AND (?2 IS NULL OR tenant = ?2) ORDER BY number LIMIT ?4";
/// Another row may have got the number of one that was deleted meanwhile; it is as old only if it is to be deleted too.
const DELETE_OLD: &str = "DELETE FROM idempotency_keys WHERE number = ? AND reply IS NOT NULL AND at < ?";

/// Deletes the keys whose reply was stored before a time, and returns their number.
pub(in crate::sqlite) async fn prune(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let (mut pruned, mut after) = (0, 0);
    loop {
        let rows = sqlx::query(SELECT_OLD)
            .bind(before.as_micros())
            .bind(tenant.map(TenantId::as_str))
            .bind(after)
            .bind(PRUNED_KEYS_MAX)
            .fetch_all(&store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let numbers = rows.iter().map(|row| row.int("number")).collect::<Result<Vec<_>, StoreError>>()?;
        let Some(last) = numbers.last().copied() else { return Ok(pruned) };
        pruned += numbers.len() as u64;
        after = last;
        store.queue.execute(PruneKeys { numbers, before }).await?;
    }
}

/// Deletes those of these keys whose reply was stored before a time.
struct PruneKeys {
    /// The numbers of their rows.
    numbers: Vec<i64>,
    before: Timestamp,
}

impl WriteCommand for PruneKeys {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        for number in self.numbers {
            commit.statements.add(DELETE_OLD, vec![number.into(), self.before.as_micros().into()]);
        }
        Ok(())
    }
}
