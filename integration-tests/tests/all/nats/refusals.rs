//! Messages that are refused: each has a reply with a code, a metric, and no effect.

use anyhow::Result;
use greenroom_protocol::{ErrorCode, Frame, Status};
use serde_json::json;

use super::fixture::{Caller, ECHO, GUEST_KEY, OTHER_TENANT_KEY, WAIT_MAX, shared_url, start};
use super::{pod_and_caller, start_signed};
use greenroom_integration_tests::wait::wait_until;

const BODY: &str = r#"{"inputs":{"text":"x"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_credential_or_with_an_unknown_one_is_denied_and_counted() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_credentials").await?;
    let subject = format!("agents.{ECHO}.execute");
    let anonymous = caller.without_headers();
    for denied in [
        anonymous.clone(),
        caller.with_key("planted-unknown-key"),
        anonymous.with("Authorization", "Basic YTpi"),
        anonymous.with("Authorization", "Delegation planted"),
        anonymous.with("Authorization", "ApiKey"),
        anonymous.with("Authorization", ""),
    ] {
        assert_eq!(denied.code(&subject, BODY).await?, ErrorCode::Unauthenticated, "{:?}", denied.headers);
    }
    assert!(pod.shows("policy_denials{code=\"unauthenticated\"} 6"), "{}", pod.pod.metrics().render());
    assert!(pod.shows("nats_requests{outcome=\"denied\"} 6"), "{}", pod.pod.metrics().render());
    // The key is accepted by either scheme.
    let bearer = anonymous.with("Authorization", "Bearer planted-admin-key");
    assert_eq!(bearer.echo("x").await?.status, Status::Success);
    assert_eq!(caller.with_key(GUEST_KEY).code(&subject, BODY).await?, ErrorCode::PolicyDenied);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_another_tenant_is_neither_shown_nor_watched_nor_cancelled() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_tenants").await?;
    let run = start_signed(&caller).await?;
    let other = caller.with_key(OTHER_TENANT_KEY);
    for rest in [format!("runs.{run}.get"), format!("runs.{run}.cancel"), format!("runs.{run}.resume")] {
        let code = other.code(&rest, "").await?;
        assert!(matches!(code, ErrorCode::PolicyDenied | ErrorCode::UnknownRun), "{rest}: {code}");
    }
    let frames = other.frames(&format!("runs.{run}.events"), &json!({})).await?;
    assert!(matches!(frames.as_slice(), [Frame::Refused { .. }]), "{frames:?}");
    let report = caller.request(&format!("runs.{run}.get"), &json!({})).await?;
    assert_eq!(report.outputs["run"]["status"], "waiting_approval");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_or_a_header_that_cannot_be_read_is_rejected() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_garbage").await?;
    let agent = format!("agents.{ECHO}.execute");
    for (rest, body) in [
        (agent.as_str(), "{"),
        (agent.as_str(), "\0\u{1}garbage"),
        (agent.as_str(), "[]"),
        (agent.as_str(), r#"{"inputs":{},"surplus":1}"#),
        (agent.as_str(), r#"{"inputs":{},"key":"internal"}"#),
        (agent.as_str(), r#"{"inputs":{"text":"a","text":"b"}}"#),
        (agent.as_str(), r#"{"inputs":{"text":18446744073709551616}}"#),
        ("runs.run_1.signal", r#"{"signal":"approve","step":"a","step":"b"}"#),
        (agent.as_str(), r#"{"inputs":{},"version":"internal"}"#),
        ("requests", r#"{"version":99,"request":{"verb":"query","query":"agents"}}"#),
        ("requests", r#"{"request":{"verb":"query","query":"agents"}}"#),
        ("runs.run_1.signal", r#"{"signal":"explode"}"#),
        ("runs.run_1.cancel", r#"{"surplus":1}"#),
        ("artifacts.upload", r#"{"name":"../x","media_type":"text/plain"}"#),
    ] {
        assert_eq!(caller.code(rest, body).await?, ErrorCode::InvalidRequest, "{rest} {body}");
    }
    for (name, value) in [
        ("Greenroom-Deadline", "tomorrow"),
        ("Greenroom-Timeout", "-1"),
        ("Greenroom-Version", "99"),
        ("Greenroom-Frames", "yes"),
        ("Idempotency-Key", "a key with spaces"),
        ("traceparent", "00-zz"),
    ] {
        assert_eq!(caller.with(name, value).code(&agent, BODY).await?, ErrorCode::InvalidRequest, "{name}: {value}");
    }
    let both = r#"{"version":1,"deadline":"2100-01-01T00:00:00Z","request":{"verb":"query","query":"agents"}}"#;
    let doubled = caller.with("Greenroom-Deadline", "2100-01-01T00:00:00Z");
    assert_eq!(doubled.code("requests", both).await?, ErrorCode::InvalidRequest);
    assert!(pod.shows("nats_requests{outcome=\"rejected\"} 21"), "{}", pod.pod.metrics().render());
    assert_eq!(caller.echo("still served").await?.status, Status::Success);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_id_or_a_wildcard_in_a_subject_is_rejected() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_subjects").await?;
    for id in ["*", "a*b", ">x", "a%b", "%2E%2", "\u{e9}t\u{e9}", "a|b"] {
        let code = caller.code(&format!("agents.{id}.execute"), BODY).await?;
        assert_eq!(code, ErrorCode::InvalidRequest, "{id}");
    }
    let long = "a".repeat(300);
    assert_eq!(caller.code(&format!("agents.{long}.execute"), BODY).await?, ErrorCode::InvalidRequest);
    // A dot of an id is escaped, and the id is looked up then.
    assert_eq!(caller.code("agents.no%2Eagent.execute", BODY).await?, ErrorCode::UnknownAgent);
    assert!(pod.shows("nats_requests{outcome=\"rejected\"} 9"), "{}", pod.pod.metrics().render());
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_has_passed_or_passes_ends_the_request() -> Result<()> {
    let (pod, caller) = pod_and_caller("t_deadline").await?;
    let agent = format!("agents.{ECHO}.execute");
    for (name, value) in [("Greenroom-Deadline", "2001-01-01T00:00:00Z"), ("Greenroom-Deadline", "978307200000")] {
        assert_eq!(caller.with(name, value).code(&agent, BODY).await?, ErrorCode::TimedOut, "{value}");
    }
    let silent = format!("agents.{}.execute", super::fixture::SILENT);
    assert_eq!(caller.with("Greenroom-Timeout", "300").code(&silent, BODY).await?, ErrorCode::TimedOut);
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_never_published_where_the_caller_may_not_publish() -> Result<()> {
    let url = shared_url()?;
    let pod = start(&url, "t_inboxes").await?;
    let caller = Caller::connect(&url, "t_inboxes").await?;
    let mut foreign = caller.client.subscribe("orders.new").await?;
    for inbox in ["orders.new", "t_inboxes.internal.wake", "t_inboxes.v1.requests"] {
        let headers = caller.headers.clone();
        let subject = caller.subject("catalogue.agents.list");
        caller.client.publish_with_reply_and_headers(subject, inbox, headers, "".into()).await?;
    }
    let is_counted = || async { pod.shows("nats_dropped{message=\"unrepliable\"} 3").then_some(()) };
    wait_until("the messages are dropped", WAIT_MAX, is_counted).await?;
    assert_eq!(caller.echo("x").await?.status, Status::Success);
    let nothing = futures::FutureExt::now_or_never(futures::StreamExt::next(&mut foreign));
    assert!(nothing.is_none(), "{nothing:?}");
    pod.pod.shutdown().await;
    Ok(())
}
