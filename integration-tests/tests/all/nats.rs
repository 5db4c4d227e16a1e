//! Pods over NATS, by raw messages of a NATS library: each subject does what it is for, each refusal has a code, frames
//! arrive in order, and nothing that a caller or a foreign program publishes has another effect.

use anyhow::{Context, Result};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::{ErrorCode, Frame, Reply, Status};
use serde_json::{Value, json};

use self::fixture::{
    Caller, ECHO, NatsPod, ROW, SIGNED, TALKER, TEAM, WAIT_MAX, header, last_reply, shared_url, start,
};

mod artifacts;
mod clusters;
mod combinations;
mod credentials;
mod discovery;
mod drain;
mod first_frame;
mod fixture;
mod limits;
mod operator;
mod outage;
mod permissions;
mod readme;
mod refusals;
mod slow_consumer;
mod stores;
mod unread_connection;
mod unread_watches;
mod wake_ups;

async fn pod_and_caller(prefix: &str) -> Result<(NatsPod, Caller)> {
    let url = shared_url()?;
    Ok((start(&url, prefix).await?, Caller::connect(&url, prefix).await?))
}

async fn start_signed(caller: &Caller) -> Result<String> {
    let body = json!({ "inputs": { "text": "x" }, "detach": true });
    let started = caller.request(&format!("workflows.{SIGNED}.run"), &body).await?;
    anyhow::ensure!(started.status == Status::Success, "{started:?}");
    wait_for_status(caller, &started.id, "waiting_approval").await?;
    Ok(started.id)
}

async fn wait_for_status(caller: &Caller, run: &str, status: &str) -> Result<()> {
    let has_status = || async {
        let report = caller.request(&format!("runs.{run}.get"), &json!({})).await.ok()?;
        (report.outputs.get("run")?["status"] == status).then_some(())
    };
    wait_until(status, WAIT_MAX, has_status).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_a_workflow_and_a_team_are_executed_by_their_subjects() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_execute").await?;
    let echoed = caller.echo("hello").await?;
    assert_eq!((echoed.status, &echoed.outputs["text"]), (Status::Success, &json!("hello")));
    let body = json!({ "inputs": { "text": "row" } });
    let run = caller.request(&format!("workflows.{ROW}.run"), &body).await?;
    assert_eq!((run.status, run.metadata.workflow_steps), (Status::Success, 2), "{run:?}");
    let body = json!({ "team": TEAM, "workflow": ROW, "inputs": { "text": "team" } });
    let team = caller.request("teams.execute", &body).await?;
    assert_eq!(team.status, Status::Success, "{team:?}");
    let envelope = json!({
        "version": 1,
        "request": { "verb": "invoke", "agent": ECHO, "inputs": { "text": "whole" } },
    });
    let whole = caller.request("requests", &envelope).await?;
    assert_eq!(whole.outputs["text"], "whole");
    assert!(pod.shows("nats_requests{outcome=\"success\"} 4"), "{}", pod.pod.metrics().render());
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_one_message_with_the_headers_of_its_error() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_headers").await?;
    let unknown = caller.message("agents.no_agent.execute", r#"{"inputs":{}}"#).await?;
    let reply: Reply = serde_json::from_slice(&unknown.payload)?;
    assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::UnknownAgent));
    assert_eq!(header(&unknown, "Greenroom-Code").as_deref(), Some("unknown_agent"));
    assert_eq!(header(&unknown, "Nats-Service-Error-Code").as_deref(), Some("404"));
    assert!(header(&unknown, "Nats-Service-Error").is_some_and(|text| text.contains("no_agent")));
    let listed = caller.message("catalogue.agents.list", "").await?;
    assert_eq!(header(&listed, "Greenroom-Version").as_deref(), Some("1"));
    assert_eq!(header(&listed, "Greenroom-Code"), None);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_a_name_and_an_idempotency_key_in_the_headers_count() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_keys").await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = caller.with("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    let reply = traced.echo("traced").await?;
    assert_eq!(reply.metadata.trace_id.map(|id| id.to_string()).as_deref(), Some(trace));
    let keyed = caller.with("Idempotency-Key", "k1");
    let (first, second) = (keyed.echo("once").await?, keyed.echo("once").await?);
    assert_eq!(first.outputs, second.outputs);
    let other = keyed.echo("twice").await?;
    assert_eq!(other.error.map(|cause| cause.code), Some(ErrorCode::IdempotencyConflict));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_listed_and_each_definition_is_shown() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_catalogue").await?;
    for (kind, id) in [("agents", ECHO), ("workflows", ROW), ("teams", TEAM)] {
        let listed = caller.request(&format!("catalogue.{kind}.list"), &json!({})).await?;
        assert!(listed.outputs[kind].to_string().contains(id), "{listed:?}");
        let described = caller.request(&format!("catalogue.{kind}.{id}.get"), &json!({})).await?;
        assert_eq!(described.status, Status::Success, "{described:?}");
    }
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_shown_approved_watched_and_cancelled_by_its_subjects() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_runs").await?;
    let run = start_signed(&caller).await?;
    let mut watch = caller.open(&format!("runs.{run}.events"), &json!({ "after": 0 })).await?;
    let first = watch.next().await?;
    assert!(matches!(&first, Some(Frame::Accepted { run: Some(known), .. }) if known.as_str() == run), "{first:?}");
    let approved =
        caller.request(&format!("runs.{run}.signal"), &json!({ "signal": "approve", "step": "sign" })).await?;
    assert_eq!(approved.error, None);
    let mut frames = Vec::new();
    while let Some(frame) = watch.next().await? {
        frames.push(frame);
    }
    assert_eq!(last_reply(&frames)?.status, Status::Success);
    let seqs: Vec<u64> = frames.iter().filter_map(Frame::id).map(|id| id.seq).collect();
    assert!(seqs.is_sorted() && !seqs.is_empty(), "{frames:?}");
    let newest = *seqs.last().context("an event")?;

    // A reader that has every event gets the reply only.
    let rest = caller.frames(&format!("runs.{run}.events"), &json!({ "after": newest })).await?;
    assert_eq!(last_reply(&rest)?.status, Status::Success);
    assert!(!rest.iter().any(|frame| matches!(frame, Frame::Event { .. })), "{rest:?}");

    let run = start_signed(&caller).await?;
    let cancelled = caller.request(&format!("runs.{run}.cancel"), &json!({})).await?;
    assert_eq!(cancelled.error, None);
    let frames = caller.frames(&format!("runs.{run}.events"), &json!({})).await?;
    let ended = frames.iter().any(
        |frame| matches!(frame, Frame::Event { event, .. } if matches!(event.kind, RunEventKind::RunEnded { .. })),
    );
    assert!(ended && last_reply(&frames)?.status == Status::Cancelled, "{frames:?}");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_model_arrives_as_frames_before_its_reply() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_frames").await?;
    let body = json!({ "inputs": { "text": "talk" } });
    let frames = caller.frames(&format!("agents.{TALKER}.execute"), &body).await?;
    assert!(matches!(frames.first(), Some(Frame::Accepted { version: 1, .. })), "{frames:?}");
    let mut text = String::new();
    let mut newest = None;
    for frame in &frames {
        if let Frame::Delta { id, text: more, .. } = frame {
            assert!(newest < Some(*id), "{frames:?}");
            newest = Some(*id);
            text.push_str(more);
        }
    }
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{frames:?}"))?;
    assert_eq!(answer, json!({ "text": "one two three" }));
    let reply = last_reply(&frames)?;
    assert_eq!((reply.status, &reply.outputs["text"]), (Status::Success, &json!("one two three")));
    // A request that a pod rejects at once has one frame.
    let refused = caller.with_key("planted-unknown-key").frames(&format!("agents.{ECHO}.execute"), &body).await?;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(last_reply(&refused)?.error.as_ref().map(|cause| cause.code), Some(ErrorCode::Unauthenticated));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_share_the_requests_of_one_queue() -> Result<()> {
    let url = shared_url()?;
    let database = crate::postgres::create_database("nats_queue").await?;
    greenroom_registry::migrate_postgres(&database).await?;
    let shared = tempfile::tempdir()?;
    let mut pods = Vec::new();
    for name in ["pod_a", "pod_b"] {
        pods.push(stores::start_on(&url, "t_queue", &database, shared.path(), name).await?);
    }
    let caller = Caller::connect(&url, "t_queue").await?;
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let reply = caller.echo("x").await?;
        assert_eq!(reply.status, Status::Success);
        served.extend(reply.metadata.pod.map(|pod| pod.to_string()));
    }
    assert_eq!(served.into_iter().collect::<Vec<_>>(), ["pod_a", "pod_b"]);
    for pod in pods {
        pod.pod.shutdown().await;
    }
    Ok(())
}
