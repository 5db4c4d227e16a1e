//! The pods that use a database, as somebody sees them who is none of them.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use tokio::time::{interval, timeout};

use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, check_schema, connect, in_time, parse_url};

/// How often the leases are read.
const READ_INTERVAL: Duration = Duration::from_millis(200);
/// How long the leases are observed at most: longer than any lease lasts without a renewal.
const OBSERVATION_MAX: Duration = Duration::from_secs(15);

const SELECT_LEASES: &str =
    "SELECT id, pod, renewals FROM pods WHERE NOT dead AND expires_at > clock_timestamp() ORDER BY id";

/// The lease of a pod that has not expired.
struct Lease {
    id: i64,
    pod: String,
    renewals: i64,
}

/// The name of a pod that uses the database at this URL; `None` if there is none.
pub(crate) async fn find(url: &str) -> Result<Option<String>, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    check_schema(&mut connection).await?;
    timeout(OBSERVATION_MAX, observe(&mut connection)).await.unwrap_or(Err(StoreError::Timeout))
}

/// Observes the leases until one is renewed or all have expired: that of a pod which was killed, such as the previous
/// start of this one, lasts a while longer.
async fn observe(connection: &mut PgConnection) -> Result<Option<String>, StoreError> {
    let mut reads = interval(READ_INTERVAL);
    let mut renewals: Option<HashMap<i64, i64>> = None;
    loop {
        reads.tick().await;
        let leases = read(connection).await?;
        if leases.is_empty() {
            return Ok(None);
        }
        match &renewals {
            Some(first) => {
                if let Some(renewed) = leases.into_iter().find(|lease| first.get(&lease.id) != Some(&lease.renewals)) {
                    return Ok(Some(renewed.pod));
                }
            }
            None => renewals = Some(leases.into_iter().map(|lease| (lease.id, lease.renewals)).collect()),
        }
    }
}

async fn read(connection: &mut PgConnection) -> Result<Vec<Lease>, StoreError> {
    let rows = in_time(STATEMENT_TIMEOUT, sqlx::query(SELECT_LEASES).fetch_all(connection)).await?;
    rows.iter()
        .map(|row| Ok(Lease { id: row.int("id")?, pod: row.text("pod")?.to_owned(), renewals: row.int("renewals")? }))
        .collect()
}
