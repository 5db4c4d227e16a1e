//! Programs that pretend to be a pod of the cluster, a user, or another call than the delegated one: each attempt at a pod
//! in a process of its own is refused, counted in its metrics and logged, and the pod serves as before.

mod target;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{HeaderMap, Message};
use futures::StreamExt as _;
use greenroom_integration_tests::delegations;
use greenroom_protocol::{Clock as _, ContentHash, ErrorCode, Json, Status, Timestamp};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::cluster::session::dial::DialError;
use greenroom_supervisor::cluster::sessions::CallError;
use serde_json::json;
use tokio::time::timeout;

use self::target::{Attempt, ECHO, Target};
use greenroom_integration_tests::session_pod::{Network, SessionPod};

/// How long a subject is listened to without a message.
const QUIET: Duration = Duration::from_millis(200);

/// The code in the headers of a reply.
fn code_of(reply: &Message) -> Option<&str> {
    Some(reply.headers.as_ref()?.get("Greenroom-Code")?.as_str())
}

/// A change of what a delegation states, and the reason for which it is refused then.
type Forgery = (&'static str, fn(&mut Json));

fn from_now(offset_s: i64) -> Timestamp {
    Timestamp::from_micros(WallClock.now().as_micros() + offset_s * 1_000_000)
}

/// Statements that are signed with the secret of the cluster, each with one member that is wrong.
const FORGERIES: [Forgery; 7] = [
    ("unreadable", |statement| statement["version"] = json!(2)),
    ("audience", |statement| statement["audience"] = json!("another-pod")),
    ("expired", |statement| {
        statement["issued_at"] = json!(from_now(-60));
        statement["expires_at"] = json!(from_now(-30));
    }),
    ("lifetime", |statement| statement["expires_at"] = json!(from_now(300))),
    ("body", |statement| statement["body"] = json!(ContentHash::from_content(b"another request"))),
    ("binding", |statement| statement["key"] = json!("run_1/another")),
    ("binding", |statement| statement["call"]["principal"]["user"] = json!("mallory")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegation_that_is_not_for_this_call_is_refused_counted_and_logged() -> Result<()> {
    let target = Target::start().await?;
    let pod = SessionPod::start("one", &target.network).await?;
    let secret = target.network.secret()?;
    let mut attempts = Vec::new();
    for ((reason, change), number) in FORGERIES.into_iter().zip(1..) {
        let request = delegations::request(ECHO, number)?;
        let mut statement = target.statement(&pod, &request, number)?;
        change(&mut statement);
        attempts.push((reason, delegations::envelope(&request, delegations::seal(&secret, &pod.pod, &statement)?)?));
    }
    // Text that is no delegation, one with another secret, and one with the key of another issuer.
    let request = delegations::request(ECHO, 20)?;
    let statement = target.statement(&pod, &request, 20)?;
    attempts.push(("unreadable", delegations::envelope(&request, "garbage".to_owned())?));
    let foreign = Network { secret: "another secret of the cluster".to_owned(), ..target.network.clone() }.secret()?;
    attempts.push(("foreign", delegations::envelope(&request, delegations::seal(&foreign, &pod.pod, &statement)?)?));
    attempts.push(("foreign", delegations::envelope(&request, delegations::seal(&secret, &target.pod, &statement)?)?));
    for (reason, envelope) in attempts {
        let metric = format!("delegations_refused{{reason=\"{reason}\"}}");
        let attempt = Attempt::begin(&target, &metric)?;
        let reply = target.call(&pod, &envelope).await?;
        let code = reply.error.as_ref().map(|cause| cause.code);
        assert_eq!((code, reply.status), (Some(ErrorCode::Unauthenticated), Status::Denied), "{reason}: {reply:?}");
        attempt.expect_recorded(("delegation.reason", reason)).await.with_context(|| reason.to_owned())?;
    }
    // The same statement without a change is accepted, and once only.
    let envelope = delegations::envelope(&request, delegations::seal(&secret, &pod.pod, &statement)?)?;
    let reply = target.call(&pod, &envelope).await?;
    ensure!(reply.status == Status::Success && reply.outputs["text"] == "hello", "{reply:?}");
    let attempt = Attempt::begin(&target, "delegations_refused{reason=\"replayed\"}")?;
    let reply = target.call(&pod, &envelope).await?;
    assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::Unauthenticated));
    attempt.expect_recorded(("delegation.reason", "replayed")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_call_of_an_earlier_owner_of_a_run_is_refused_counted_and_logged() -> Result<()> {
    let target = Target::start().await?;
    let pod = SessionPod::start("one", &target.network).await?;
    let attempt = Attempt::begin(&target, "delegations_refused{reason=\"old_fence\"}")?;
    let mut replies = Vec::new();
    for (number, fence) in [(1, 5), (2, 4)] {
        let request = delegations::request(ECHO, number)?;
        let mut statement = target.statement(&pod, &request, number)?;
        statement["fence"] = json!(fence);
        statement["call"]["root"] = json!("run_of_the_test");
        let token = delegations::seal(&target.network.secret()?, &pod.pod, &statement)?;
        replies.push(target.call(&pod, &delegations::envelope(&request, token)?).await?);
    }
    let codes: Vec<_> = replies.iter().map(|reply| reply.error.as_ref().map(|cause| cause.code)).collect();
    ensure!(codes[0] != Some(ErrorCode::LeaseLost) && codes[1] == Some(ErrorCode::LeaseLost), "{replies:?}");
    attempt.expect_recorded(("delegation.reason", "old_fence")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_another_secret_is_refused_counted_and_logged() -> Result<()> {
    let target = Target::start().await?;
    let network = Network { secret: "another secret of the cluster".to_owned(), ..target.network.clone() };
    let stranger = SessionPod::start("stranger", &network).await?;
    let attempt = Attempt::begin(&target, "cluster_session_messages_refused{reason=\"forged\"}")?;
    let refused = target.call_once(&stranger, b"abc").await?;
    assert!(matches!(refused, Err(CallError::Dial(DialError::TimedOut))), "{refused:?}");
    attempt.expect_recorded(("session.reason", "forged")).await?;
    target.expect_serving().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_or_replayed_chunk_is_refused_counted_and_logged() -> Result<()> {
    let target = Target::start().await?;
    let pod = SessionPod::start("one", &target.network).await?;
    let stranger = async_nats::connect(target.server.url()).await?;
    let subjects = target.network.subjects().dial(&target.pod).replace(".dial", ".*");
    let mut overheard = stranger.subscribe(subjects).await?;
    stranger.flush().await?;
    assert_eq!(target.execute(&pod, 1).await?.status, Status::Success);
    let mut messages = Vec::new();
    while let Ok(Some(message)) = timeout(QUIET, overheard.next()).await {
        messages.push(message);
    }
    let chunk = messages.last().context("a chunk")?;
    let mut forged = chunk.payload.to_vec();
    *forged.last_mut().context("bytes")? ^= 1;
    for (reason, payload) in [("forged", forged.into()), ("replayed", chunk.payload.clone())] {
        let metric = format!("cluster_session_messages_refused{{reason=\"{reason}\"}}");
        let attempt = Attempt::begin(&target, &metric)?;
        stranger.publish(chunk.subject.clone(), payload).await?;
        attempt.expect_recorded(("session.reason", reason)).await?;
    }
    // The session is still the same one.
    assert_eq!(target.execute(&pod, 2).await?.status, Status::Success);
    assert_eq!((pod.observer.opened(), pod.observer.closed()), (1, Vec::new()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsigned_message_and_a_foreign_token_are_refused_counted_and_logged() -> Result<()> {
    const UNSIGNED: &str = "a message without the signature of the cluster is dropped";
    let target = Target::start().await?;
    let stranger = async_nats::connect(target.server.url()).await?;
    for name in ["wake", "wake.messages", "pods", "hello"] {
        let attempt = Attempt::begin(&target, "nats_dropped{message=\"unsigned\"}")?;
        stranger.publish(format!("greenroom.internal.{name}"), "{}".into()).await?;
        attempt.expect_recorded(("message", UNSIGNED)).await.with_context(|| name.to_owned())?;
    }
    for token in ["ApiKey planted-unknown-key", "Bearer planted-unknown-token", "Delegation planted"] {
        let attempt = Attempt::begin(&target, "policy_denials{code=\"unauthenticated\"}")?;
        let mut headers = HeaderMap::new();
        headers.insert("Authorization", token);
        let request = async_nats::Request::new().headers(headers).payload("{\"inputs\":{\"text\":\"x\"}}".into());
        let reply = stranger.send_request(format!("greenroom.v1.agents.{ECHO}.execute"), request).await?;
        assert_eq!(code_of(&reply), Some("unauthenticated"), "{token}");
        attempt.expect_recorded(("error.code", "unauthenticated")).await.with_context(|| token.to_owned())?;
    }
    ensure!(!target.log().contains("planted-unknown"), "no credential is in the log");
    target.expect_serving().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_read_is_refused_counted_and_logged() -> Result<()> {
    const BODY: &str = "{\"inputs\":{\"text\":\"x\"}}";
    let target = Target::start().await?;
    let stranger = async_nats::connect(target.server.url()).await?;
    for (rest, version, body) in [
        ("agents.echo_agent.execute", "1", "\0\u{1}garbage"),
        ("agents.echo_agent.execute", "1", "{\"inputs\":{\"te"),
        ("agents.echo_agent.execute", "99", BODY),
        ("agents.a%b.execute", "1", BODY),
        ("agents.*.execute", "1", BODY),
        ("requests", "1", r#"{"version":99,"request":{"verb":"query","query":"agents"}}"#),
    ] {
        let attempt = Attempt::begin(&target, "nats_requests{outcome=\"rejected\"}")?;
        let mut headers = HeaderMap::new();
        headers.insert("Greenroom-Version", version);
        let request = async_nats::Request::new().headers(headers).payload(body.into());
        let reply = stranger.send_request(format!("greenroom.v1.{rest}"), request).await?;
        assert_eq!(code_of(&reply), Some("invalid_request"), "{rest} {version} {body}");
        attempt.expect_recorded(("error.code", "invalid_request")).await.with_context(|| rest.to_owned())?;
    }
    target.expect_serving().await
}
