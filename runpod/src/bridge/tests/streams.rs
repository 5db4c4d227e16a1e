//! Streams: the events of a run without a gap and without a duplicate, tokens, the progress of a call, and the drain.

use greenroom_client::{Observation, Progress, TransportError};
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{Cause, Credential, ErrorCode, FrameId, PodId, StepId, Values};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{Fixture, WAIT_MAX, event, nth_event, reply};

const EVENTS: &str = "/v1/runs/run_1/events";

fn started(seq: u64) -> Observation {
    event(seq, RunEventKind::RunStarted { steps: 1 })
}

fn ended(seq: u64) -> Observation {
    event(seq, RunEventKind::RunEnded { reply: Box::new(reply(Values::new(), None)) })
}

fn text(text: &str) -> Observation {
    let step = StepKey { step: StepId::new("first").unwrap(), index: None };
    Observation::Text { id: FrameId::default(), step, text: text.to_owned() }
}

/// The numbers of the events of a stream.
fn numbers(body: &str) -> Vec<&str> {
    body.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

#[tokio::test]
async fn a_watch_that_is_lost_continues_after_the_newest_event_of_its_reader() {
    let fixture = Fixture::start();
    fixture.script.watches.lock().unwrap().extend([
        vec![Ok(started(1)), Ok(started(2)), Err(TransportError::ConnectionLost)],
        // Another pod repeats what it does not know that the reader has.
        vec![
            Ok(started(2)),
            Ok(started(3)),
            Ok(text("draft")),
            Ok(Observation::Restarted { id: FrameId::default(), step: None }),
        ],
    ]);
    fixture.script.watches.lock().unwrap()[1].push(Ok(ended(4)));
    let response = fixture.get(EVENTS).await;
    assert_eq!((response.status, numbers(&response.body)), (200, vec!["1.0", "2.0", "3.0", "4.0"]), "{response:?}");
    assert!(response.body.starts_with("retry: "), "{response:?}");
    assert!(response.body.contains("\nevent: run_started\ndata: {") && response.body.contains("\nevent: run_ended\n"));
    assert!(response.body.contains("event: delta\ndata: {") && response.body.contains("\"draft\""), "{response:?}");
    assert!(response.body.contains("event: restarted\n") && response.has_header("content-type: text/event-stream"));
    assert_eq!(watched_after(&fixture), ["0", "2.0"]);
}

#[tokio::test]
async fn several_events_of_one_journal_entry_are_all_passed_on() {
    let fixture = Fixture::start();
    let restarted =
        |n| nth_event(2, n, RunEventKind::StepRestarted { step: StepId::new("first").unwrap(), index: None });
    fixture.script.watches.lock().unwrap().extend([
        vec![Ok(started(1)), Ok(started(2)), Ok(restarted(1)), Err(TransportError::ConnectionLost)],
        vec![Ok(restarted(1)), Ok(restarted(2)), Ok(ended(3))],
    ]);
    assert_eq!(numbers(&fixture.get(EVENTS).await.body), ["1.0", "2.0", "2.1", "2.2", "3.0"]);
    assert_eq!(watched_after(&fixture), ["0", "2.1"]);
}

/// The numbers after which the run was watched.
fn watched_after(fixture: &Fixture) -> Vec<String> {
    fixture.script.watched.lock().unwrap().iter().map(|watch| watch.after.to_string()).collect()
}

#[tokio::test]
async fn a_reader_that_returns_names_the_last_event_and_one_that_has_all_is_not_to_return() {
    let fixture = Fixture::start();
    fixture.script.watches.lock().unwrap().push_back(vec![Ok(ended(8))]);
    let returned = fixture.send(&format!("GET {EVENTS}?after=3"), &["Last-Event-ID: 7.1"], "").await;
    assert_eq!((returned.status, numbers(&returned.body)), (200, vec!["8.0"]));
    assert_eq!(fixture.script.watched.lock().unwrap().pop().unwrap().after.to_string(), "7.1");
    assert_eq!(fixture.send(&format!("GET {EVENTS}"), &["Last-Event-ID: 8.0"], "").await.status, 204);
    assert_eq!(fixture.send(&format!("GET {EVENTS}"), &["Last-Event-ID: x"], "").await.status, 400);
}

#[tokio::test]
async fn a_watch_that_is_refused_has_a_status_and_one_that_fails_ends_with_an_error() {
    let fixture = Fixture::start();
    let unknown = || TransportError::Rejected(Cause::new(ErrorCode::UnknownRun, "none"));
    fixture.script.watches.lock().unwrap().extend([vec![Err(unknown())], vec![Ok(started(1)), Err(unknown())]]);
    let refused = fixture.get(EVENTS).await;
    assert_eq!((refused.status, refused.code()), (404, "unknown_run".to_owned()));
    let failed = fixture.get(EVENTS).await;
    assert_eq!((failed.status, numbers(&failed.body)), (200, vec!["1.0"]));
    assert!(failed.body.contains("\nevent: error\ndata: {") && failed.body.contains("unknown_run"), "{failed:?}");
}

#[tokio::test]
async fn a_token_opens_the_events_of_its_run_at_every_bridge() {
    let (first, second) = (Fixture::start(), Fixture::start());
    let path = "POST /v1/runs/run_1/events-token";
    let issued = first.send(path, &["Authorization: ApiKey planted-key"], "").await;
    assert_eq!((issued.status, &issued.json()["expires_in_s"]), (201, &json!(60)), "{issued:?}");
    assert!(issued.has_header("cache-control: no-store") && !issued.body.contains("planted-key"));
    let url = issued.json()["url"].as_str().unwrap().to_owned();
    second.script.watches.lock().unwrap().push_back(vec![Ok(ended(1))]);
    assert_eq!(second.get(&url).await.status, 200);
    let watch = second.script.watched.lock().unwrap().pop().unwrap();
    assert_eq!(watch.credential, Some(Credential::ApiKey("planted-key".into())));
    assert_eq!(second.get(&url.replace("run_1", "run_2")).await.status, 401);
    assert_eq!(second.get(&format!("{EVENTS}?token=forged")).await.status, 401);
    let both = second.send(&format!("GET {url}"), &["Authorization: ApiKey k"], "").await;
    assert_eq!(both.status, 400);
    let elsewhere = second.get(&url.replace("/events", "")).await;
    assert_eq!(elsewhere.status, 400, "no other route takes a token");
    let denied = Cause::new(ErrorCode::PolicyDenied, "no");
    first.script.replies.lock().unwrap().push_back(Ok(reply(Values::new(), Some(denied))));
    assert_eq!(first.send(path, &[], "").await.status, 403);
}

#[tokio::test]
async fn the_progress_of_a_call_is_a_stream_if_its_caller_accepts_one() {
    let fixture = Fixture::start();
    let headers = ["Accept: text/html, text/event-stream;q=0.9"];
    *fixture.script.progress.lock().unwrap() = vec![
        Progress::Accepted { pod: PodId::new("pod").unwrap(), run: None },
        Progress::Text("a\nb".into()),
        Progress::Restarted,
        Progress::Reply(Box::new(reply(Values::new(), None))),
    ];
    let streamed = fixture.send("POST /v1/agents/a/execute", &headers, r#"{"inputs":{}}"#).await;
    assert_eq!(streamed.status, 200, "{streamed:?}");
    let names: Vec<&str> = streamed.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["accepted", "delta", "restarted", "reply"]);
    assert!(streamed.body.contains(r#"data: {"text":"a\nb"}"#), "{streamed:?}");
    let refusal = reply(Values::new(), Some(Cause::new(ErrorCode::UnknownAgent, "none")));
    *fixture.script.progress.lock().unwrap() = vec![Progress::Reply(Box::new(refusal))];
    let refused = fixture.send("POST /v1/agents/a/execute", &headers, r#"{"inputs":{}}"#).await;
    assert_eq!((refused.status, refused.code()), (404, "unknown_agent".to_owned()));
}

#[tokio::test]
async fn a_drain_ends_streams_and_idle_connections_and_accepts_no_others() {
    let mut fixture = Fixture::start();
    *fixture.script.is_endless.lock().unwrap() = true;
    fixture.script.watches.lock().unwrap().push_back(vec![Ok(started(1))]);
    let mut stream = fixture.connect().await;
    stream.write_all(format!("GET {EVENTS} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = [0; 4_096];
    let count = stream.read(&mut bytes).await.unwrap();
    assert!(bytes[..count].starts_with(b"HTTP/1.1 200 OK"));
    drop(fixture.stop.take());
    let mut rest = Vec::new();
    tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    let served = tokio::time::timeout(WAIT_MAX, fixture.served.join_next()).await.unwrap();
    assert_eq!(served.unwrap().unwrap(), Ok(()));
    assert!(tokio::net::TcpStream::connect(fixture.addr).await.is_err());
}
