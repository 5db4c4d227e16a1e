//! The first frame: callers that have none within three seconds send their message again, also while the database does not
//! commit; and a reply that is quick needs no other frame.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use greenroom_protocol::{Frame, Status};
use greenroom_registry::migrate_postgres;
use greenroom_supervisor::config::{Secret, StoreConfig};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::fixture::{Caller, ECHO, Frames, SLOW, last_reply, shared_url, start, start_with};
use super::start_signed;
use crate::postgres::create_database;

/// The promise is a second; the machine of a test may be busy.
const FIRST_FRAME_MAX: Duration = Duration::from_secs(2);
/// Requests of which one is served quickly.
const ATTEMPTS_MAX: usize = 20;

/// Sends a message while nothing is written to the audit, and returns the frames after the first one.
async fn open_while_locked(caller: &Caller, database: &str, subject: &str, body: &serde_json::Value) -> Result<Frames> {
    let mut holder = PgConnection::connect(database).await?;
    holder.execute("BEGIN").await?;
    holder.execute("LOCK TABLE audit IN EXCLUSIVE MODE").await?;
    let sent_at = Instant::now();
    let mut frames = caller.open(subject, body).await?;
    let first = frames.next().await?;
    let elapsed = sent_at.elapsed();
    holder.execute("ROLLBACK").await?;
    ensure!(matches!(first, Some(Frame::Accepted { .. } | Frame::Working { .. })), "{subject}: {first:?}");
    ensure!(elapsed < FIRST_FRAME_MAX, "{subject}: {elapsed:?}");
    Ok(frames)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_frame_of_a_request_and_of_a_watch_does_not_wait_for_the_database() -> Result<()> {
    let (url, database) = (shared_url()?, create_database("first_frame").await?);
    migrate_postgres(&database).await?;
    let on_postgres = StoreConfig::Postgres { url: Secret::new(&database) };
    let mut pod = start_with(&url, "t_first_frame", |config| config.store = on_postgres).await?;
    // A detached run has no owner until a pod claims it.
    pod.pod.recover();
    let caller = Caller::connect(&url, "t_first_frame").await?;
    let run = start_signed(&caller).await?;

    let body = json!({ "inputs": { "text": "x" } });
    let mut frames = open_while_locked(&caller, &database, &format!("agents.{ECHO}.execute"), &body).await?;
    let mut all = Vec::new();
    while let Some(frame) = frames.next().await? {
        all.push(frame);
    }
    assert_eq!(last_reply(&all)?.status, Status::Success, "{all:?}");

    let mut watch = open_while_locked(&caller, &database, &format!("runs.{run}.events"), &json!({})).await?;
    let accepted = watch.next().await?;
    let is_accepted = matches!(&accepted, Some(Frame::Accepted { run: Some(known), .. }) if known.as_str() == run);
    ensure!(is_accepted, "it is accepted once it is judged: {accepted:?}");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quick_reply_is_the_only_frame_and_a_slow_one_follows_the_acceptance() -> Result<()> {
    let url = shared_url()?;
    let pod = start(&url, "t_only_frame").await?;
    let caller = Caller::connect(&url, "t_only_frame").await?;
    let body = json!({ "inputs": { "text": "x" } });
    let slow = caller.frames(&format!("agents.{SLOW}.execute"), &body).await?;
    assert!(matches!(slow.as_slice(), [Frame::Accepted { run: None, .. }, .., Frame::Reply { .. }]), "{slow:?}");
    // A busy machine may be slow once.
    let mut last = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        last = caller.frames(&format!("agents.{ECHO}.execute"), &body).await?;
        if let [Frame::Reply { reply }] = last.as_slice() {
            assert_eq!(reply.status, Status::Success);
            pod.pod.shutdown().await;
            return Ok(());
        }
    }
    anyhow::bail!("{last:?}")
}
