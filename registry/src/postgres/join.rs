//! How a start of a pod joins the pods of its database: it gets a row, a chain of the audit for each lane, and the time. It
//! does not join beside a pod that stores artifacts where it would not find them.

use std::collections::HashMap;
use std::time::Duration;

use greenroom_protocol::{Clock, PodId};
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, interval, timeout};

use crate::artifacts::location::ArtifactLocation;
use crate::cluster::{JOURNAL_VERSION, JOURNAL_VERSION_MIN};
use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, read_clock};
use crate::postgres::error::{UNIQUE_VIOLATION, postgres_error, sqlx_error};
use crate::postgres::pod_list::to_column;
use crate::postgres::shared::PodRow;

/// How long the lease of a pod lasts that has not ticked yet.
const JOIN_LEASE: Duration = Duration::from_secs(10);
/// How often a pod attempts to join.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(200);
/// How long a pod attempts it at most: longer than any lease lasts without a renewal.
const ATTEMPTS_MAX: Duration = Duration::from_secs(15);

/// What a pod that joins tells of itself.
pub(super) struct NewPod<'p> {
    /// The id of this start.
    pub(super) name: PodId,
    pub(super) lanes: usize,
    /// Where it stores artifacts.
    pub(super) artifacts: &'p ArtifactLocation,
}

#[derive(Deserialize)]
struct JoinReport {
    #[serde(default)]
    pod: i64,
    #[serde(default)]
    chains: Vec<u64>,
    /// The version of journals that may be written, if this release does not read it; then the pod has not joined.
    unreadable: Option<i64>,
    /// The pods that store artifacts elsewhere; if there are any, the pod has not joined.
    #[serde(default)]
    apart: Vec<PodApart>,
}

/// A pod that stores artifacts elsewhere and whose lease has not expired.
#[derive(Deserialize)]
struct PodApart {
    id: i64,
    pod: String,
    renewals: i64,
    /// `None` for a pod of an earlier release.
    artifacts: Option<String>,
}

/// Joins. The lease of a pod that was killed, such as the previous start of this one, lasts a while longer: a pod that
/// stores artifacts elsewhere counts if it renews its lease, or has joined meanwhile, and is waited for until then.
pub(super) async fn join(
    connection: &mut PgConnection,
    new: NewPod<'_>,
    clock: &dyn Clock,
) -> Result<PodRow, StoreError> {
    let until = Instant::now() + ATTEMPTS_MAX;
    let mut attempts = interval(ATTEMPT_INTERVAL);
    let mut renewals: Option<HashMap<i64, i64>> = None;
    loop {
        attempts.tick().await;
        let apart = match attempt(connection, &new, clock).await? {
            Attempt::Joined(row) => return Ok(row),
            Attempt::Apart(apart) => apart,
        };
        match &renewals {
            Some(first) => {
                if let Some(other) = apart.into_iter().find(|pod| first.get(&pod.id) != Some(&pod.renewals)) {
                    return Err(not_shared(other, new.artifacts));
                }
            }
            None => renewals = Some(apart.into_iter().map(|pod| (pod.id, pod.renewals)).collect()),
        }
        if Instant::now() >= until {
            return Err(StoreError::Timeout);
        }
    }
}

fn not_shared(other: PodApart, own: &ArtifactLocation) -> StoreError {
    let location = other.artifacts.unwrap_or_else(|| "not known".to_owned());
    StoreError::ArtifactsNotShared { pod: other.pod, location, own: own.to_string() }
}

enum Attempt {
    Joined(PodRow),
    Apart(Vec<PodApart>),
}

/// Registers the start of the pod, and a chain for each lane. From then on its clock follows that of the database.
async fn attempt(connection: &mut PgConnection, new: &NewPod<'_>, clock: &dyn Clock) -> Result<Attempt, StoreError> {
    let NewPod { name, lanes, artifacts } = new;
    let database_time = read_clock(connection, clock).await?;
    clock.follow(database_time);
    let joined_at = clock.boot_time();
    let joining = sqlx::query_scalar("SELECT greenroom_join_v3($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(name.as_str())
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(to_column(JOURNAL_VERSION_MIN))
        .bind(to_column(JOURNAL_VERSION))
        .bind(i32::try_from((*lanes).max(1)).unwrap_or(i32::MAX))
        .bind(i64::try_from(JOIN_LEASE.as_millis()).unwrap_or(i64::MAX))
        .bind(clock.now().as_micros())
        .bind(artifacts.as_str())
        .bind(artifacts.is_shared())
        .fetch_one(connection);
    let joined = timeout(STATEMENT_TIMEOUT, joining).await.map_err(|_| StoreError::Timeout)?;
    let joined: String = joined.map_err(|error| match postgres_error(&error) {
        // What it has left open could not be distinguished from what it does.
        Some(database) if database.code() == UNIQUE_VIOLATION => {
            StoreError::Failed(format!("the pod {name} has opened the database before"))
        }
        Some(_) | None => sqlx_error(&error),
    })?;
    let JoinReport { pod, chains, unreadable, apart } = serde_json::from_str(&joined)?;
    if !apart.is_empty() {
        return Ok(Attempt::Apart(apart));
    }
    match unreadable {
        Some(version) => {
            let text = format!("its journals may have version {version}, which this release does not read");
            Err(StoreError::Version(text))
        }
        None => Ok(Attempt::Joined(PodRow { id: pod, name: name.clone(), chains, joined_at, database_time })),
    }
}
