//! The root chain of the audit and its copy in JetStream: one that is rewritten differs, and one that is pruned does not.

use anyhow::{Result, ensure};
use greenroom_integration_tests::jetstream::wait_root_copied;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Status;
use greenroom_protocol::subject::DEFAULT_PREFIX;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{Pods, Settings, WAIT_MAX, last_root, metric};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_chain_that_is_rewritten_differs_from_its_copy() -> Result<()> {
    let pods = Pods::start_with("root_copy", Settings { audit_replicas: 1, ..Settings::default() }).await?;
    let jetstream = async_nats::jetstream::new(async_nats::connect(pods.cluster.server.url()).await?);
    let copied = || async {
        let stream = jetstream.get_stream("greenroom_audit_root").await.ok()?;
        (stream.get_info().await.ok()?.state.last_sequence > 0).then_some(stream)
    };
    let stream = wait_until("the root chain is copied", WAIT_MAX, copied).await?;
    ensure!(stream.delete_message(1).await.is_err() && stream.purge().await.is_err(), "the copy can be changed");
    assert_eq!(metric(&pods.plain, "audit_root_differs"), 0.0);
    // As a person does it who can write to the database: a root chain that is consistent, and another one.
    let mut connection = PgConnection::connect(&pods.cluster.url).await?;
    connection.execute("UPDATE audit_root SET hash = sha256(hash)").await?;
    let differs = || async { (metric(&pods.plain, "audit_root_differs") > 0.0).then_some(()) };
    wait_until("the difference is noticed", WAIT_MAX, differs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_of_a_root_chain_continues_after_a_pruning_and_a_new_one_begins_with_the_first_record() -> Result<()> {
    let pods = Pods::start_with("pruned_root", Settings { audit_replicas: 1, ..Settings::default() }).await?;
    let (url, last) = (pods.cluster.server.url(), last_root(&pods).await?);
    ensure!(last > 1, "the root chain has {last} records");
    wait_root_copied(&url, DEFAULT_PREFIX, last, WAIT_MAX).await?;
    // As a pruning does it; that there is an anchor is verified by the audit, not by the copy.
    let mut connection = PgConnection::connect(&pods.cluster.url).await?;
    let pruning = sqlx::query("DELETE FROM audit_root WHERE number < $1").bind(i64::try_from(last)?);
    pruning.execute(&mut connection).await?;
    let reply = pods.client.agent("talker_agent").input("text", "x").timeout(WAIT_MAX).reply().await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    wait_root_copied(&url, DEFAULT_PREFIX, last + 1, WAIT_MAX).await?;
    assert_eq!(metric(&pods.plain, "audit_root_differs"), 0.0);

    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await?);
    jetstream.delete_stream("greenroom_audit_root").await?;
    wait_root_copied(&url, DEFAULT_PREFIX, last + 1, WAIT_MAX).await?;
    let stream = jetstream.get_stream("greenroom_audit_root").await?;
    assert_eq!(stream.get_info().await?.state.first_sequence, last);
    assert_eq!(metric(&pods.plain, "audit_root_differs"), 0.0);
    Ok(())
}
