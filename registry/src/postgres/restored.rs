//! What a database needs that was restored from a copy. The pods that have used it since know more than it has: a row of a
//! pod that was alive comes back, the next pod would get the id of one that was, and the views of contexts in Redis have
//! fences that the owners of the copy have yet to get.

use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::connection::{SEARCH_TIMEOUT, check_schema, connect, in_time, parse_url};
use crate::restore::RaisedCopy;

/// In one statement, so that no pod joins in between. The rise is far more than what was claimed, or joined, since the copy
/// was made. It changes nothing beside a pod that is alive.
const RAISE: &str = "\
    WITH alive AS MATERIALIZED (SELECT pod FROM pods WHERE NOT dead AND expires_at > clock_timestamp()), \
    raised AS (UPDATE trees SET fence = fence + 1000000 WHERE open_runs > 0 AND NOT EXISTS (SELECT 1 FROM alive) \
               RETURNING 1), \
    declared AS (UPDATE pods SET dead = true WHERE NOT dead AND NOT EXISTS (SELECT 1 FROM alive) RETURNING 1) \
    SELECT (SELECT COALESCE(jsonb_agg(pod ORDER BY pod), '[]')::text FROM alive) AS alive, \
           (SELECT count(*) FROM raised) AS trees, (SELECT count(*) FROM declared) AS pods, \
           CASE WHEN NOT EXISTS (SELECT 1 FROM alive) THEN \
               setval(pg_get_serial_sequence('pods', 'id'), nextval(pg_get_serial_sequence('pods', 'id')) + 1000000) \
           END AS last_pod";

/// Raises the fences of all trees and the ids of pods, and declares the pods of the copy dead.
pub(crate) async fn raise(url: &str) -> Result<RaisedCopy, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    check_schema(&mut connection).await?;
    let row = in_time(SEARCH_TIMEOUT, sqlx::query(RAISE).fetch_one(&mut connection)).await?;
    let alive: Vec<String> = serde_json::from_str(row.text("alive")?)?;
    if !alive.is_empty() {
        return Ok(RaisedCopy::PodsAlive(alive));
    }
    Ok(RaisedCopy::Raised { trees: row.number("trees")?, pods: row.number("pods")? })
}
