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

const SELECT_OLD: &str = "SELECT key, tenant FROM idempotency_keys WHERE reply IS NOT NULL AND at < ?1 \
                          AND (?2 IS NULL OR tenant = ?2) AND (key, tenant) > (?3, ?4) ORDER BY key, tenant LIMIT ?5";
const DELETE_OLD: &str = "DELETE FROM idempotency_keys WHERE key = ? AND tenant = ? AND reply IS NOT NULL AND at < ?";

/// Deletes the keys whose reply was stored before a time, and returns their number.
pub(in crate::sqlite) async fn prune(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let (mut pruned, mut after) = (0, (String::new(), String::new()));
    loop {
        let rows = sqlx::query(SELECT_OLD)
            .bind(before.as_micros())
            .bind(tenant.map(TenantId::as_str))
            .bind(&after.0)
            .bind(&after.1)
            .bind(PRUNED_KEYS_MAX)
            .fetch_all(&store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let keys = rows.iter().map(|row| Ok((row.text("key")?.to_owned(), row.text("tenant")?.to_owned())));
        let keys = keys.collect::<Result<Vec<_>, StoreError>>()?;
        let Some(last) = keys.last().cloned() else { return Ok(pruned) };
        pruned += keys.len() as u64;
        after = last;
        store.queue.execute(PruneKeys { keys, before }).await?;
    }
}

/// Deletes those of these keys whose reply was stored before a time.
struct PruneKeys {
    /// The keys and their tenants.
    keys: Vec<(String, String)>,
    before: Timestamp,
}

impl WriteCommand for PruneKeys {
    type Output = ();
    type Error = StoreError;

    fn apply(self, _state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        for (key, tenant) in self.keys {
            let values = vec![key.into(), tenant.into(), self.before.as_micros().into()];
            commit.statements.add(DELETE_OLD, values);
        }
        Ok(())
    }
}
