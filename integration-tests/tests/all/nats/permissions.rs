//! The permissions of `docs/nats.conf` on a real server: a customer uses the service and reads nothing of others. Beyond
//! them: whoever may publish the cluster's own traffic changes nothing without its secret.

use anyhow::Result;
use async_nats::jetstream::stream::Config;
use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Status;
use serde_json::json;

use super::fixture::{Caller, NatsPod, SIGNED, WAIT_MAX, start, start_with};
use super::start_signed;

const CONFIGURATION: &str = include_str!("../../../../docs/nats.conf");

async fn server_and_pod() -> Result<(NatsServer, NatsPod)> {
    let server = NatsServer::start_with(CONFIGURATION).await?;
    let pod = start(&server.url_of("pod", "change-me-pod"), "greenroom").await?;
    Ok((server, pod))
}

async fn connect(server: &NatsServer, user: &str) -> Result<Client> {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), format!("change-me-{user}"));
    Ok(options.custom_inbox_prefix(format!("_INBOX_{user}")).connect(server.url()).await?)
}

/// A customer with the key of the administrator of the default tenant.
async fn customer(server: &NatsServer, user: &str) -> Result<Caller> {
    let client = connect(server, user).await?;
    let caller = Caller { client, prefix: "greenroom".to_owned(), headers: HeaderMap::new() };
    Ok(caller.with_key(super::fixture::ADMIN_KEY))
}

/// Waits until the server has processed what the client has sent before: it processes the request after it.
async fn settle(caller: &Caller) -> Result<()> {
    assert_eq!(caller.echo("settled").await?.status, Status::Success);
    Ok(())
}

fn has_received(subscriber: &mut Subscriber) -> bool {
    matches!(subscriber.next().now_or_never(), Some(Some(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_uses_the_service_and_reads_no_message_of_others() -> Result<()> {
    let (server, pod) = server_and_pod().await?;
    let (alice, bob) = (customer(&server, "alice").await?, customer(&server, "bob").await?);
    let mut foreign = Vec::new();
    for subject in
        [">", "greenroom.>", "greenroom.v1.>", "greenroom.internal.>", "_INBOX.>", "_INBOX_alice.>", "$SRV.>"]
    {
        foreign.push((subject, bob.client.subscribe(subject).await?));
    }
    settle(&bob).await?;
    // Requests, replies, frames, announcements and discovery pass the server meanwhile.
    assert_eq!(alice.echo("secret of alice").await?.status, Status::Success);
    let run = start_signed(&alice).await?;
    let mut watch = alice.open(&format!("runs.{run}.events"), &json!({})).await?;
    watch.next().await?;
    alice.request(&format!("runs.{run}.signal"), &json!({ "signal": "approve", "step": "sign" })).await?;
    while watch.next().await?.is_some() {}
    assert_eq!(bob.echo("of bob").await?.status, Status::Success);
    for (subject, subscriber) in &mut foreign {
        assert!(!has_received(subscriber), "bob reads {subject}");
    }
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_reads_no_session_and_no_frame_of_others_and_sends_none() -> Result<()> {
    let (server, pod) = server_and_pod().await?;
    let (bob, between_pods) = (customer(&server, "bob").await?, customer(&server, "pod").await?);
    let session = "greenroom.internal.session.pod-1.00000000000000000000000000000001";
    let subjects = [session, "greenroom.internal.session.pod-1.dial", "_INBOX.frames.1", "_INBOX_alice.frames.1"];
    let (mut of_bob, mut of_pods) = (Vec::new(), Vec::new());
    for subject in subjects {
        of_bob.push(bob.client.subscribe(subject).await?);
        of_pods.push(between_pods.client.subscribe(subject).await?);
    }
    settle(&bob).await?;
    settle(&between_pods).await?;
    for subject in subjects {
        bob.client.publish(subject, "forged".into()).await?;
    }
    settle(&bob).await?;
    settle(&between_pods).await?;
    assert!(!of_pods.iter_mut().any(has_received), "bob sends something between pods");
    for subject in subjects {
        between_pods.client.publish(subject, "a frame or a chunk".into()).await?;
    }
    settle(&between_pods).await?;
    settle(&bob).await?;
    assert!(of_pods.iter_mut().all(has_received) && !of_bob.iter_mut().any(has_received));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_publishes_nothing_but_requests() -> Result<()> {
    let (server, pod) = server_and_pod().await?;
    let (alice, watcher) = (customer(&server, "alice").await?, customer(&server, "pod").await?);
    let mut replies = watcher.client.subscribe("_INBOX_bob.>").await?;
    let mut internal = watcher.client.subscribe("greenroom.internal.wake").await?;
    settle(&watcher).await?;
    for subject in ["greenroom.internal.wake", "greenroom.internal.hello", "_INBOX_bob.x", "greenroom.v2.x"] {
        alice.client.publish(subject, "forged".into()).await?;
    }
    // The connection is still used: the request after them has a reply.
    assert_eq!(alice.echo("x").await?.status, Status::Success);
    assert!(!has_received(&mut replies) && !has_received(&mut internal));
    assert!(connect_with_wrong_password(&server).await.is_err());
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_neither_reads_nor_changes_what_jetstream_stores() -> Result<()> {
    const STREAM: &str = "stored";
    const SUBJECT: &str = "greenroom.internal.stored";
    let store = tempfile::tempdir()?;
    let configuration = format!("{CONFIGURATION}\njetstream {{\n  store_dir: {:?}\n}}\n", store.path());
    let server = NatsServer::start_with(&configuration).await?;
    let pod = start(&server.url_of("pod", "change-me-pod"), "greenroom").await?;
    let (alice, between_pods) = (customer(&server, "alice").await?, customer(&server, "pod").await?);
    let jetstream = async_nats::jetstream::new(between_pods.client.clone());
    let config = Config { name: STREAM.to_owned(), subjects: vec![SUBJECT.to_owned()], ..Config::default() };
    let stream = jetstream.create_stream(config).await?;
    jetstream.publish(SUBJECT, "a text of the pods".into()).await?.await?;

    let inbox = alice.client.new_inbox();
    let mut received = Vec::new();
    for subject in [inbox.as_str(), "$JS.API.>", "$JS.EVENT.>", SUBJECT] {
        received.push(alice.client.subscribe(subject.to_owned()).await?);
    }
    for (api, body) in [
        ("INFO", ""),
        ("STREAM.NAMES", ""),
        ("STREAM.INFO.stored", ""),
        ("STREAM.MSG.GET.stored", r#"{"seq":1}"#),
        ("DIRECT.GET.stored", r#"{"seq":1}"#),
        ("CONSUMER.CREATE.stored", r#"{"stream_name":"stored","config":{"deliver_subject":"_INBOX_alice.x"}}"#),
        ("STREAM.CREATE.taken", r#"{"name":"taken","subjects":["greenroom.v1.>"]}"#),
        ("STREAM.PURGE.stored", ""),
        ("STREAM.DELETE.stored", ""),
    ] {
        alice.client.publish_with_reply(format!("$JS.API.{api}"), inbox.clone(), body.into()).await?;
    }
    alice.client.publish(SUBJECT, "forged".into()).await?;
    settle(&alice).await?;
    // The server replies to the pods after it has processed what came before.
    assert_eq!(stream.get_info().await?.state.messages, 1, "nothing is added or removed");
    assert!(jetstream.get_stream("taken").await.is_err(), "no stream takes the requests");
    assert!(!received.iter_mut().any(has_received), "alice receives something of JetStream");
    pod.pod.shutdown().await;
    Ok(())
}

async fn connect_with_wrong_password(server: &NatsServer) -> Result<Client> {
    let options = ConnectOptions::with_user_and_password("alice".to_owned(), "wrong".to_owned());
    Ok(options.connect(server.url()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_the_secret_changes_nothing_by_what_it_publishes() -> Result<()> {
    let server = NatsServer::start().await?;
    let pod = start(&server.url(), "greenroom").await?;
    let foreign = async_nats::connect(server.url()).await?;
    let mut announcements = foreign.subscribe("greenroom.internal.pods").await?;
    let own = announcements.next().await.expect("the pod announces itself");
    let store = json!({ "cluster": "greenroom", "store": "another", "pod": "evil", "is_serving": true }).to_string();
    let mut forged = HeaderMap::new();
    forged.insert("Greenroom-Signature", "00".repeat(32));
    let replayed = own.headers.clone().expect("an announcement is signed");
    let before = pod.pod.metrics().render();
    for subject in ["pods", "hello", "wake", "wake.messages"] {
        let subject = format!("greenroom.internal.{subject}");
        foreign.publish(subject.clone(), store.clone().into()).await?;
        foreign.publish_with_headers(subject.clone(), forged.clone(), store.clone().into()).await?;
        // The signature of another body, and that of another subject.
        foreign.publish_with_headers(subject, replayed.clone(), store.clone().into()).await?;
    }
    foreign.publish_with_headers("greenroom.internal.wake", replayed.clone(), own.payload.clone()).await?;
    let is_counted = || async { pod.shows("nats_dropped{message=\"unsigned\"} 13").then_some(()) };
    wait_until("each of them is dropped", WAIT_MAX, is_counted).await?;
    // The pod's own announcement, sent again, is one of its own database.
    foreign.publish_with_headers("greenroom.internal.pods", replayed, own.payload).await?;
    let caller = Caller::connect(&server.url(), "greenroom").await?;
    assert_eq!(caller.echo("x").await?.status, Status::Success);
    assert!(pod.pod.readiness().unready_cause().is_none());
    assert!(before.contains("nats_wake_ups{event=\"received\"} 0") && pod.shows("nats_wake_ups{event=\"received\"} 0"));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_user_is_rejected_is_not_ready_and_shows_no_password() -> Result<()> {
    let server = NatsServer::start_with(CONFIGURATION).await?;
    let url = server.url_of("pod", "planted-wrong-password");
    let pod = start_with(&url, "greenroom", |_| {}).await?;
    let cause = pod.pod.readiness().unready_cause().expect("the pod is not ready");
    assert!(!cause.to_string().contains("planted-wrong-password"), "{cause}");
    assert!(pod.shows("nats_connected 0") && pod.shows("pod_ready 0"), "{}", pod.pod.metrics().render());
    let alice = customer(&server, "alice").await?;
    let error = alice.message(&format!("workflows.{SIGNED}.run"), "{}").await.err().map(|error| format!("{error:?}"));
    assert!(error.is_some_and(|text| text.contains("no responders")), "nobody receives requests");
    pod.pod.shutdown().await;
    Ok(())
}
