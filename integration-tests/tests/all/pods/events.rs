//! Events that one pod receives for a run of another one, and detached runs that are left to whichever pod is woken.

use std::time::Duration;

use anyhow::{Result, ensure};
use greenroom_client::Client;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{IdempotencyKey, Json, Reply, RunId, Status};
use serde_json::json;

use super::shared_database::SharedDatabase;
use super::{ensure_success, replying, wait_counted};

async fn publish(client: &Client, run: &RunId, key: &str, data: Json) -> Result<Reply> {
    let publishing = client.run(run).publish("paid", data).idempotency_key(IdempotencyKey::new(key)?);
    Ok(publishing.send().await?)
}

fn is_wait(entry: &Entry) -> bool {
    matches!(entry, Entry::WaitStarted { .. })
}

fn is_received(entry: &Entry) -> bool {
    matches!(entry, Entry::EventReceived { .. })
}

#[test]
fn an_event_that_another_pod_receives_reaches_its_run_once() -> Result<()> {
    let database = SharedDatabase::create("event", [replying("draft"), replying("send")])?;
    let (a, b) = (database.start("pod_a")?, database.start("pod_b")?);
    let run = a.start_detached("paid_letter")?;
    b.wait_entry(&run, is_wait)?;
    let client = b.client()?;
    let publishing = async {
        for _ in 0..2 {
            let published = publish(&client, &run, "payment_1", json!("3 USD")).await?;
            ensure!(published.status == Status::Success, "{published:?}");
        }
        anyhow::Ok(())
    };
    // The owner finds the message with a tick, and shows it until the next one.
    a.block_on(async { tokio::try_join!(publishing, wait_counted(&a, "run_inbox_messages")) })?;
    let reply = b.wait_ended(&run)?;
    ensure_success(&reply)?;
    assert_eq!((b.count_entries(&run, is_received)?, b.count_resumptions(&run)?), (1, 0));
    assert_eq!(reply.outputs["paid"], "3 USD", "{reply:?}");
    Ok(())
}

#[test]
fn a_parked_run_is_woken_by_an_event() -> Result<()> {
    let database = SharedDatabase::create("event_parks", [replying("draft"), replying("send")])?;
    let start = |name| database.start_with(name, |config| config.park_delay = Duration::from_secs(3));
    let (a, mut b) = (start("pod_a")?, start("pod_b")?);
    b.recover();
    let run = a.start_detached("paid_letter")?;
    database.wait_count("SELECT count(*) FROM trees WHERE parked AND holder IS NULL", 1)?;
    let published = a.block_on(publish(&a.client()?, &run, "payment_1", json!("3 USD")))?;
    ensure!(published.status == Status::Success, "{published:?}");
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!((b.count_resumptions(&run)?, database.calls()), (1, 2), "no call was repeated");
    database.wait_count("SELECT count(*) FROM inbox", 0)
}

#[test]
fn a_detached_run_is_left_to_the_pod_that_is_woken() -> Result<()> {
    let database = SharedDatabase::create("woken", [replying("draft"), replying("send")])?;
    let a = database.start_that_creates_runs_unowned("pod_a")?;
    let announced = a.pod().stores().cluster.watch_announcements();
    let mut b = database.start("pod_b")?;
    let run = a.start_detached("letter")?;
    database.wait_count("SELECT count(*) FROM trees WHERE holder IS NULL AND open_runs > 0", 1)?;
    assert_eq!(announced.borrow().trees, 1);
    assert_eq!(database.calls(), 0, "its reply follows its commit");
    b.recover();
    ensure_success(&a.wait_ended(&run)?)?;
    assert_eq!(database.calls(), 2);
    Ok(())
}
