//! Who may send requests, from outside: a key on two pods over HTTP and NATS until it is revoked, the run of a user whom
//! an issuer vouches for, and the text of a key, which nothing stores.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use greenroom_client::{Observation, TransportError};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::request::{KeyScope, Maintenance, NewKey};
use greenroom_protocol::{AgentId, Clock, ErrorCode, Json, RunId, Status, StepId, UserId};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::pod::Pod;
use serde_json::json;

use self::fixture::{ECHO, SIGNED, ServedPod, SharedPods, SingleData, WAIT_MAX, subject};
use crate::issuer::token;

mod fixture;
mod rotation;
mod secrets;

/// Within this time after a revocation, every pod refuses.
const REVOKED_MAX: Duration = Duration::from_secs(1);

async fn maintain(pod: &Pod, maintenance: Maintenance) -> Result<Json> {
    let mut reply = pod.client(&UserId::new("admin")?).maintain(maintenance).await?;
    ensure!(reply.error.is_none(), "{reply:?}");
    reply.outputs.remove("report").context("a report")
}

fn new_key(scope: KeyScope) -> Result<Maintenance> {
    let expires_at = WallClock.now().saturating_add(Duration::from_secs(3_600));
    let owner = UserId::new("operator")?;
    Ok(Maintenance::CreateKey(NewKey { owner, name: "nightly".to_owned(), scope, expires_at }))
}

/// Creates a key; its text and its id.
async fn create_key(pod: &Pod, scope: KeyScope) -> Result<(String, UserId)> {
    let report = maintain(pod, new_key(scope)?).await?;
    let text = |member: &str| report[member].as_str().map(str::to_owned).context("a text");
    Ok((text("api_key")?, text("key")?.parse()?))
}

/// The latest time at which a request was sent that a pod has accepted, until the pod refuses.
async fn last_accepted_at(pod: &ServedPod, key: &str) -> Result<Instant> {
    let last = AtomicU64::new(0);
    let started_at = Instant::now();
    let is_refused = || async {
        let sent_at = started_at.elapsed();
        match pod.echo_over_http(key).await {
            Ok(401) => Some(()),
            Ok(_) | Err(_) => {
                last.store(u64::try_from(sent_at.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
                None
            }
        }
    };
    wait_until("the key is refused", WAIT_MAX, is_refused).await?;
    Ok(started_at + Duration::from_millis(last.load(Ordering::SeqCst)))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_accept_a_key_over_http_and_nats_and_refuse_it_within_a_second_of_its_revocation() -> Result<()> {
    let pods = SharedPods::start("identity_keys").await?;
    let [first, second] = &pods.pods;
    let (key, id) = create_key(&first.pod, KeyScope::default()).await?;
    for pod in [first, second] {
        assert_eq!(pod.echo_over_http(&key).await?, 200);
        assert_eq!(pod.echo_over_nats(&key).await?, None);
        assert_eq!(pod.echo_over_http("grk_of_no_key").await?, 401);
        assert_eq!(pod.echo_over_nats("grk_of_no_key").await?, Some(ErrorCode::Unauthenticated));
    }
    let revoked = maintain(&first.pod, Maintenance::RevokeKey { key: id.clone() }).await?;
    let revoked_at = Instant::now();
    assert_eq!(revoked["revoked"], json!(id));
    let (on_first, on_second) = tokio::join!(last_accepted_at(first, &key), last_accepted_at(second, &key));
    for accepted_at in [on_first?, on_second?] {
        let delay = accepted_at.saturating_duration_since(revoked_at);
        ensure!(delay < REVOKED_MAX, "a request that was sent {delay:?} after the revocation was accepted");
    }
    for pod in [first, second] {
        assert_eq!(pod.echo_over_nats(&key).await?, Some(ErrorCode::Unauthenticated));
    }
    pods.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_calls_only_what_its_scope_names_and_gives_no_further_keys() -> Result<()> {
    let data = SingleData::new()?;
    let pod = data.start().await?;
    let scope = KeyScope { agents: vec![AgentId::new(ECHO)?], ..KeyScope::default() };
    let (key, _) = create_key(&pod.pod, scope).await?;
    assert_eq!(pod.echo_over_http(&key).await?, 200);
    let refused = pod.client(&key)?.workflow(SIGNED).input("text", "x").reply().await.err();
    let Some(greenroom_client::Error::Refused(cause)) = refused else { bail!("{refused:?}") };
    assert_eq!((cause.code, &cause.details["reasons"][0]["code"]), (ErrorCode::PolicyDenied, &json!("key_scope")));
    let guest = pod.pod.client(&UserId::new("guest")?).maintain(Maintenance::ListKeys).await?;
    assert_eq!(guest.error.map(|cause| cause.code), Some(ErrorCode::PolicyDenied));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_without_another_event_when_its_key_is_revoked() -> Result<()> {
    let data = SingleData::new()?;
    let pod = data.start().await?;
    let run = start_signed(&pod, &token("alice", "agent_operator")?).await?;
    let Maintenance::CreateKey(new) = new_key(KeyScope::default())? else { bail!("a key") };
    let report = maintain(&pod.pod, Maintenance::CreateKey(NewKey { owner: UserId::new("admin")?, ..new })).await?;
    let (key, id) = (report["api_key"].as_str().context("a key")?, report["key"].as_str().context("an id")?);
    let client = pod.client(key)?;
    let mut events = client.run(&run).watch();
    ensure!(matches!(events.next().await, Some(Ok(_))), "the key may watch the run");
    maintain(&pod.pod, Maintenance::RevokeKey { key: id.parse()? }).await?;
    approve(&pod.pod, &run).await?;
    let watched = async {
        loop {
            match events.next().await {
                Some(Ok(Observation::Event(event))) => {
                    ensure!(!matches!(event.kind, RunEventKind::RunEnded { .. }), "{event:?}");
                }
                Some(Ok(Observation::Text { .. } | Observation::Restarted { .. })) => {}
                Some(Err(TransportError::Rejected(cause))) => return Ok(cause.code),
                other => bail!("{other:?}"),
            }
        }
    };
    assert_eq!(tokio::time::timeout(WAIT_MAX, watched).await??, ErrorCode::Unauthenticated);
    wait_for_status(&pod.pod, &run, "success").await?;
    pod.pod.shutdown().await;
    Ok(())
}

/// Starts a run that waits for an approval, as the user of a token.
async fn start_signed(pod: &ServedPod, token: &str) -> Result<RunId> {
    let started = pod.client(token)?.workflow(SIGNED).input("text", "x").detach().reply().await?;
    ensure!(started.status == Status::Success, "{started:?}");
    let run: RunId = started.id.parse()?;
    wait_for_status(&pod.pod, &run, "waiting_approval").await?;
    Ok(run)
}

async fn run_status(pod: &Pod, run: &RunId) -> Option<String> {
    let client = pod.client(&UserId::new("admin").ok()?);
    let report = client.run_record(run.clone()).await.ok()?;
    report.outputs.get("run")?.get("status")?.as_str().map(str::to_owned)
}

async fn wait_for_status(pod: &Pod, run: &RunId, status: &str) -> Result<()> {
    wait_for_one_of(pod, run, &[status]).await
}

async fn wait_for_one_of(pod: &Pod, run: &RunId, statuses: &[&str]) -> Result<()> {
    let has_status =
        || async { run_status(pod, run).await.filter(|found| statuses.contains(&found.as_str())).map(drop) };
    wait_until(&statuses.join(" or "), WAIT_MAX, has_status).await
}

/// Approves the step of a run, once the pod has resumed the run.
async fn approve(pod: &Pod, run: &RunId) -> Result<()> {
    let (client, sign) = (pod.client(&UserId::new("admin")?), StepId::new("sign")?);
    let is_decided = || async {
        let approved = client.approve(run.clone(), sign.clone()).await.ok()?;
        let code = approved.error.as_ref().map(|cause| cause.code);
        (code != Some(ErrorCode::RunNotActive)).then_some(approved)
    };
    let approved = wait_until("the run is resumed", WAIT_MAX, is_decided).await?;
    ensure!(approved.error.is_none(), "{approved:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_a_tokens_user_survives_a_restart_and_is_stopped_by_a_revocation() -> Result<()> {
    let data = SingleData::new()?;
    let pod = data.start().await?;
    let token = token("alice", "agent_operator")?;
    let (first, second) = (start_signed(&pod, &token).await?, start_signed(&pod, &token).await?);
    pod.pod.shutdown().await;
    // The pod that starts now has never received the token.
    let mut pod = data.start().await?;
    pod.pod.recover();
    wait_for_status(&pod.pod, &first, "waiting_approval").await?;
    approve(&pod.pod, &first).await?;
    wait_for_status(&pod.pod, &first, "success").await?;
    wait_for_status(&pod.pod, &second, "waiting_approval").await?;
    maintain(&pod.pod, Maintenance::RevokeSubject { subject: subject("alice")? }).await?;
    approve(&pod.pod, &second).await?;
    wait_for_one_of(&pod.pod, &second, &["failed", "denied"]).await?;
    let report = pod.pod.client(&UserId::new("admin")?).run_record(second).await?;
    ensure!(format!("{:?}", report.outputs).contains("unauthenticated"), "{report:?}");
    let refused = pod.client(&token)?.workflow(SIGNED).input("text", "x").reply().await.err();
    assert_eq!(refused.and_then(|error| error.code()), Some(ErrorCode::Unauthenticated));
    maintain(&pod.pod, Maintenance::ReinstateSubject { subject: subject("alice")? }).await?;
    assert_eq!(pod.echo_over_http(&token).await?, 200);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_text_of_a_key_is_in_its_report_and_nowhere_else() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("GREENROOM_LOG", "trace");
    terminal.set_variable("GREENROOM_HTTP_ADDR", "off");
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let created =
        terminal.run(&["keys", "create", "--owner", "operator", "--name", "planted"]).await?.expect_success()?;
    let (key, id) = (created["api_key"].as_str().context("a key")?, created["key"].as_str().context("an id")?);
    ensure!(key.starts_with("grk_"), "{created:#}");
    let listed = terminal.run(&["keys", "list"]).await?;
    ensure!(listed.out.contains(id) && !listed.out.contains(key), "{listed:?}");
    let audit = terminal.run(&["audit", "list"]).await?;
    ensure!(audit.out.contains("create_key") && !audit.out.contains(key), "{audit:?}");
    terminal.run(&["keys", "revoke", id]).await?.expect_success()?;
    let listed = terminal.run(&["keys", "list"]).await?.expect_success()?;
    assert_eq!(listed["keys"][0]["status"], "revoked");
    let unknown = terminal.run(&["keys", "revoke", "k_0000000000000000"]).await?.expect_error(2)?;
    assert_eq!(unknown["code"], "unknown_record");
    up.terminate()?;
    let ended = up.wait().await?;
    ensure!(!ended.err.contains(key) && !ended.out.contains(key), "the log has the key");
    for entry in std::fs::read_dir(terminal.data_dir())? {
        let path = entry?.path();
        if path.is_file() {
            let content = std::fs::read(&path)?;
            let has_key = content.windows(key.len()).any(|bytes| bytes == key.as_bytes());
            ensure!(!has_key, "{} has the key", path.display());
        }
    }
    Ok(())
}
