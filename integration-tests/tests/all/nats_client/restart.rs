//! NATS ends and starts again while calls are executed and a run is watched: each call has its reply and was executed once,
//! and the watch has every event once.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use greenroom_client::Observation;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::RunId;
use greenroom_protocol::event::RunEventKind;

use super::{AGENT, Fixture, Text, WAIT_MAX, WORKFLOW};

/// Calls under way when the server ends.
const CALLS: usize = 8;

#[tokio::test]
async fn a_restart_of_nats_fails_no_call_and_ends_no_watch() -> Result<()> {
    let Fixture { client, model, pod: _pod, fixture: _fixture, mut server, .. } = Fixture::start().await?;
    let accepted = client.workflow(WORKFLOW).input("text", "slow run").detach().reply().await?;
    let mut observations = client.run(&RunId::new(accepted.id)?).watch();
    let first = observations.next().await.context("an event")??;
    let calls = (0..CALLS).map(|number| {
        let call = client.agent(AGENT).input("text", format!("slow call {number}"));
        call.idempotency_key(format!("call-{number}")).timeout(WAIT_MAX).execute_as::<Text>()
    });
    let restart = async {
        // The calls and the run are at the model, whose answers arrive after the restart.
        let are_called = || async { (model.count() > CALLS).then_some(()) };
        wait_until("every call is at the model", WAIT_MAX, are_called).await?;
        server.kill()?;
        server.restart().await
    };
    let watching = tokio::time::timeout(WAIT_MAX, observations.try_collect::<Vec<_>>());
    let (texts, restarted, rest) = tokio::join!(try_join_all(calls), restart, watching);
    restarted?;
    for outputs in texts? {
        assert_eq!(outputs.text, "done");
    }
    assert_eq!(model.count(), CALLS + 1, "each call and the run were executed once");
    let events: Vec<_> = std::iter::once(first)
        .chain(rest??)
        .filter_map(|observation| match observation {
            Observation::Event(event) => Some(event),
            Observation::Text { .. } | Observation::Restarted { .. } => None,
        })
        .collect();
    ensure!(events.is_sorted_by_key(|event| event.seq), "{events:?}");
    let starts = events.iter().filter(|event| matches!(event.kind, RunEventKind::RunStarted { .. })).count();
    assert_eq!(starts, 1, "{events:?}");
    let last = events.last().context("events")?;
    ensure!(matches!(&last.kind, RunEventKind::RunEnded { reply } if reply.error.is_none()), "{last:?}");
    Ok(())
}
