//! What the pods of a database show of themselves, and the format of the journals that they have agreed on. Commands read
//! it too, without being a pod.

use greenroom_protocol as protocol;
use protocol::{PodId, Timestamp};
use serde::Deserialize;
use sqlx::postgres::{PgConnection, PgRow};

use crate::cluster::{ClusterFormat, Finalized, JOURNAL_VERSION, PodInfo};
use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, check_schema, connect, in_time, parse_url};
use crate::postgres::error::{sqlx_error, write_error};
use crate::postgres::readers::Readers;

const SELECT_PODS: &str = "\
    SELECT p.pod, p.version, array_to_json(p.labels)::text AS labels, p.capacity::bigint AS capacity, \
           p.reads_from::bigint AS reads_from, p.reads_to::bigint AS reads_to, \
           (extract(epoch FROM clock_timestamp() - p.renewed_at) * 1000)::bigint AS lease_age, \
           (extract(epoch FROM p.expires_at - clock_timestamp()) * 1000)::bigint AS expires_in, \
           (SELECT count(*) FROM trees t WHERE t.holder = p.id AND t.open_runs > 0) AS trees \
    FROM pods p WHERE NOT p.dead AND p.expires_at > clock_timestamp() ORDER BY p.id";
const SELECT_FORMAT: &str = "SELECT journal_version::bigint AS journal_version, finalized_at FROM cluster_format";
const DESCRIBE: &str = "UPDATE pods SET labels = $2, capacity = $3 WHERE id = $1 AND NOT dead";

/// Records what a pod offers.
pub(super) async fn describe(readers: &Readers, pod: i64, labels: &[String], capacity: u32) -> Result<(), StoreError> {
    let capacity = i32::try_from(capacity).unwrap_or(i32::MAX);
    let describing = sqlx::query(DESCRIBE).bind(pod).bind(labels).bind(capacity).execute(readers).await;
    match describing.map_err(|error| write_error(&error))?.rows_affected() {
        0 => Err(StoreError::PodDead),
        _ => Ok(()),
    }
}

/// The pods whose leases have not expired, as one of them reads them.
pub(super) async fn live(readers: &Readers) -> Result<Vec<PodInfo>, StoreError> {
    let rows = sqlx::query(SELECT_PODS).fetch_all(readers).await.map_err(|error| sqlx_error(&error))?;
    rows.iter().map(decode).collect()
}

/// The pods whose leases have not expired, and the format, as a command reads them.
pub(crate) async fn read(url: &str) -> Result<(Vec<PodInfo>, ClusterFormat), StoreError> {
    let mut connection = open(url).await?;
    let rows = in_time(STATEMENT_TIMEOUT, sqlx::query(SELECT_PODS).fetch_all(&mut connection)).await?;
    let pods = rows.iter().map(decode).collect::<Result<_, _>>()?;
    let row = in_time(STATEMENT_TIMEOUT, sqlx::query(SELECT_FORMAT).fetch_one(&mut connection)).await?;
    let format = ClusterFormat {
        journal_version: small(&row, "journal_version")?,
        finalized_at: row.optional_int("finalized_at")?,
    };
    Ok((pods, format))
}

/// Lets the pods write the journals of this release, if all that are alive read them.
pub(crate) async fn finalize(url: &str, now: Timestamp) -> Result<Finalized, StoreError> {
    let mut connection = open(url).await?;
    let finalizing = sqlx::query_scalar("SELECT greenroom_finalize_v1($1, $2)")
        .bind(to_column(JOURNAL_VERSION))
        .bind(now.as_micros())
        .fetch_one(&mut connection);
    let report: String = in_time(STATEMENT_TIMEOUT, finalizing).await?;
    Ok(match serde_json::from_str(&report)? {
        FinalizeReport::Done(format) => Finalized::Done(format.into()),
        FinalizeReport::Unchanged(format) => Finalized::Unchanged(format.into()),
        FinalizeReport::Refused { pods } => Finalized::Refused { pods },
    })
}

#[derive(Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum FinalizeReport {
    Done(FormatReport),
    Unchanged(FormatReport),
    Refused { pods: Vec<PodId> },
}

#[derive(Deserialize)]
struct FormatReport {
    journal_version: u32,
    finalized_at: Option<i64>,
}

impl From<FormatReport> for ClusterFormat {
    fn from(FormatReport { journal_version, finalized_at }: FormatReport) -> Self {
        Self { journal_version, finalized_at }
    }
}

/// The newest version of journals that may be written.
pub(super) async fn journal_version(readers: &Readers) -> Result<u32, StoreError> {
    let row = sqlx::query(SELECT_FORMAT).fetch_one(readers).await.map_err(|error| sqlx_error(&error))?;
    small(&row, "journal_version")
}

/// A version of journals as the database has it.
pub(super) fn to_column(version: u32) -> i32 {
    i32::try_from(version).unwrap_or(i32::MAX)
}

async fn open(url: &str) -> Result<PgConnection, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    check_schema(&mut connection).await?;
    Ok(connection)
}

fn decode(row: &PgRow) -> Result<PodInfo, StoreError> {
    Ok(PodInfo {
        pod: row.id("pod")?,
        version: row.text("version")?.to_owned(),
        labels: serde_json::from_str(row.text("labels")?)?,
        capacity: small(row, "capacity")?,
        trees: row.number("trees")?,
        reads: (small(row, "reads_from")?, small(row, "reads_to")?),
        lease_age_ms: row.number("lease_age")?,
        expires_in_ms: row.number("expires_in")?,
    })
}

fn small(row: &PgRow, column: &str) -> Result<u32, StoreError> {
    Ok(u32::try_from(row.number(column)?).unwrap_or(u32::MAX))
}
